"""Predict a collection: rows as songs finish, and the same command goes on after a stop.

While it runs, finished rows lie in ``<results>.journal``, one checked line a song, keyed
by id, file size, modification time, part heard and model. The results file appears whole
at the end and the journal goes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from songbag.audio.cache import file_stamp
from songbag.data.song_table import Song
from songbag.errors import SettingsError
from songbag.inference import tables
from songbag.inference.model_file import Card, ModelFile
from songbag.inference.predict import answer_all
from songbag.parallel.pool import Workers
from songbag.settings import Limits
from songbag.storage.csv_files import Row
from songbag.storage.files import append_line, open_journal, read_journal, write_bytes
from songbag.storage.remote import AnyPath, prefetch_stamps


@dataclass(frozen=True)
class Predicted:
    """One song's row and window rows, ready for any output."""

    row: Row
    windows: list[Row]

    @property
    def failed(self) -> bool:
        """Whether the song got no answer."""
        return bool(self.row["status"] == "failed")


def predict_collection(
    songs: Sequence[Song],
    model_path: Path,
    model: ModelFile,
    cache: AnyPath,
    results: Path | None = None,
    limits: Limits | None = None,
    workers: Workers = None,
) -> Iterator[Predicted]:
    """Yield every song's rows, in order, taking from the journal what is already there.

    Parameters
    ----------
    results : Path or None
        File the caller will write; its journal is beside it. None keeps no journal.
    """
    prefetch_stamps(song.path for song in songs)
    keys = [song_key(song, model) for song in songs]
    journal = None if results is None else results.with_name(f"{results.name}.journal")
    done = {} if journal is None else {line["key"]: line for line in read_journal(journal)}
    todo = [song for song, key in zip(songs, keys, strict=True) if key not in done]
    answers = answer_all(todo, model_path, cache, limits, workers)
    labels = model.card.labels
    file: FileIO | None = None
    if journal is not None:
        file = open_journal(journal)
    try:
        for song, key in zip(songs, keys, strict=True):
            if key in done:
                yield Predicted(done[key]["row"], done[key]["windows"])
                continue
            answer = next(answers)
            found = Predicted(
                tables.with_own(answer.row(labels), song.extra), answer.window_rows(labels)
            )
            if file is not None:
                append_line(file, {"key": key, "row": found.row, "windows": found.windows})
            yield found
    finally:
        if file is not None:
            file.close()


def required_confidence(card: Card, precision: float) -> float:
    """Return the confidence below which an answer is withheld to reach a precision.

    Raises
    ------
    SettingsError
        The model was not calibrated, or never reached that precision.
    """
    from songbag.metrics.calibration import confidence_for

    if not card.precision:
        raise SettingsError(
            "--precision needs a calibrated model with one label a song: train it with "
            "--recipe auto or fast, or take a model of songbag crossval."
        )
    found = confidence_for(card.precision, precision)
    if found is None:
        most = max(point[3] for point in card.precision)
        raise SettingsError(
            f"--precision {precision:g}: on songs held out, even the surest answers of this "
            f"model do not reach that with certainty; at most {most:.2f} can be asked."
        )
    return found[0]


def withheld(found: Predicted, confidence: float) -> Predicted:
    """Return the song without an answer if that would be less sure than ``confidence``."""
    if not confidence or found.failed or found.row["confidence"] >= confidence:
        return found
    reason = f"less sure than {confidence:.3f}"
    return replace(found, row=found.row | {"status": "unsure", "reason": reason, "predicted": None})


def finish(results: Path) -> None:
    """Remove the journal of results that have been written."""
    results.with_name(f"{results.name}.journal").unlink(missing_ok=True)


def song_key(song: Song, model: ModelFile) -> str:
    """Return what changes whenever the song's answer could."""
    part = (song.id, song.path, song.start, song.end, file_stamp(song.path), model.hash)
    return hashlib.blake2b(msgspec.json.encode(part), digest_size=12).hexdigest()


def columns(labels: Sequence[str], songs: Sequence[Song]) -> list[str]:
    """Return the columns of the results: answers first, the user's own columns last."""
    base = tables.song_columns(labels)
    own = dict.fromkeys(name for song in songs for name in song.extra)
    return base + [name for name in own if name not in base]


def write_json_rows(path: Path, found: Sequence[Predicted], windows: bool) -> None:
    """Write answers as a JSON list, each with its windows if wanted."""
    rows: list[dict[str, Any]] = [
        one.row | ({"windows_detail": one.windows} if windows else {}) for one in found
    ]
    write_bytes(path, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
