"""Predict a collection of any size: rows as songs finish, resumable after a stop.

A CSV or JSON file has a journal beside it until it is written whole, one checked line a song.
A folder of Parquet files gets one part after the other.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import msgspec

from songbag.audio.cache import file_stamp
from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import SongDataset
from songbag.data.song import Song
from songbag.data.table_files import require_pyarrow
from songbag.errors import SettingsError
from songbag.inference.model_file import TYPICALITY, Card, Model
from songbag.inference.predict import predict
from songbag.inference.predictions import (
    SongPrediction,
    song_columns,
    song_row,
    window_columns,
    window_rows,
    withhold,
    write_parquet_rows,
)
from songbag.metrics.calibration import confidence_for
from songbag.metrics.typicality import Typicality, require_enough
from songbag.storage.files import Row, append_line, open_journal, read_journal
from songbag.storage.remote import AnyPath, prefetch_stamps


@dataclass(frozen=True)
class PredictedRows:
    """A song's row of predictions.csv and its rows of windows.csv."""

    row: Row
    windows: list[Row]

    @classmethod
    def of(cls, item: SongPrediction, labels: Sequence[str]) -> "PredictedRows":
        return cls(song_row(item, labels), window_rows(item, labels))

    @property
    def failed(self) -> bool:
        return bool(self.row["status"] == "failed")

    def withheld(self, rules: "Withholding") -> "PredictedRows":
        """Return the rows without a label where the rules do not let it be given."""
        return replace(self, row=withhold(self.row, rules.confidence, rules.unknown))


@dataclass(frozen=True)
class Withholding:
    """Which labels are not given: see `songbag.inference.predictions.withhold`."""

    confidence: float = 0.0
    unknown: float = 0.0

    @classmethod
    def of(
        cls, model: Model, precision: float | None = None, unknown: float | None = None
    ) -> "Withholding":
        """Return what is withheld to reach a precision, and at a level of unknown songs.

        By default that is the level the model was trained with.

        Raises
        ------
        SettingsError
            The model cannot tell, or not at this precision or level.
        """
        confidence = 0.0 if precision is None else required_confidence(model.card, precision)
        return cls(confidence, unknown_level(model, unknown))


def predict_rows(
    model: Model, dataset: SongDataset, results: Path | None = None
) -> Iterator[PredictedRows]:
    """Yield every song's rows, in order, taking from the journal what is already there.

    For songs in audio files the journal lies beside ``results``, the file the caller will write.
    """
    songs, labels = dataset.everyone(), model.card.labels
    if results is None or not isinstance(dataset, AudioDataset):
        yield from (PredictedRows.of(item, labels) for item in predict(model, dataset))
        return
    prefetch_stamps(song.path for song in songs)
    keys = [song_key(song, model) for song in songs]
    path = journal_path(results)
    finished = {line["key"]: line for line in read_journal(path)}
    todo = [song for song, key in zip(songs, keys, strict=True) if key not in finished]
    predictions = predict(model, replace(dataset, songs=todo))
    with open_journal(path) as journal:
        for key in keys:
            if key in finished:
                yield PredictedRows(finished[key]["row"], finished[key]["windows"])
                continue
            rows = PredictedRows.of(next(predictions), labels)
            append_line(journal, {"key": key, "row": rows.row, "windows": rows.windows})
            yield rows


def journal_path(results: Path) -> Path:
    """Return where the journal of a results file lies."""
    return results.with_name(f"{results.name}.journal")


def required_confidence(card: Card, precision: float) -> float:
    """Return the confidence below which a label is withheld to reach a precision."""
    if not card.precision:
        raise SettingsError(
            "--precision needs a calibrated model with one label a song: train it with "
            "--recipe auto or fast, or take a model of songbag crossval --keep-models."
        )
    reached = confidence_for(card.precision, precision)
    if reached is None:
        most = max(point[3] for point in card.precision)
        raise SettingsError(
            f"--precision {precision:g}: on songs held out, even the surest answers of this "
            f"model do not reach that with certainty; at most {most:.2f} can be asked."
        )
    return reached[0]


def unknown_level(model: Model, level: float | None) -> float:
    """Return the typicality up to which songs are unknown; by default the model's own."""
    if level is None:
        return model.card.unknown
    if not level:
        return 0.0
    if not model.card.unknown:
        raise SettingsError(
            "this model cannot tell which songs are unknown. Train it with --unknown (in Python "
            "unknown=0.05)."
        )
    typicality = Typicality.from_part(model.parts[TYPICALITY])
    require_enough(typicality.calibration_songs, level)
    return level


def song_key(song: Song, model: Model) -> str:
    """Return what changes whenever the song's prediction could."""
    part = (song.id, song.path, song.start, song.end, file_stamp(song.path), model.hash)
    return hashlib.blake2b(msgspec.json.encode(part), digest_size=12).hexdigest()


@dataclass(frozen=True)
class Partition:
    """A folder of Parquet parts, of so many songs each, perhaps with their windows.

    Labels are withheld by ``rules``.
    """

    folder: AnyPath
    songs: int
    windows: bool = False
    rules: Withholding = Withholding()

    def file(self, kind: str, name: str) -> AnyPath:
        return self.folder / kind / f"{name}.parquet"

    def part_name(
        self, number: int, songs: Sequence[Song], model: Model, columns: Sequence[str]
    ) -> str:
        """Return a part's name, another one wherever its content could differ."""
        settings = msgspec.json.encode(
            (self.windows, self.rules.confidence, self.rules.unknown, columns)
        )
        digest = hashlib.blake2b(settings, digest_size=8)
        for song in songs:
            digest.update(msgspec.json.encode((song_key(song, model), song.extra)))
        return f"part-{number:05d}-{digest.hexdigest()}"


def predict_parts(model: Model, dataset: AudioDataset, out: Partition) -> Iterator[bool]:
    """Write all parts that are not there; yield for every song, in order, if it failed.

    A part, songs/part-00003-<hash>.parquet, is written whole when its last song is predicted,
    its windows first. The hash is of its songs, their files and the model; parts of other songs
    or another model are removed.
    """
    require_pyarrow("Parquet files")
    from pyarrow import parquet

    songs, labels = dataset.songs, model.card.labels
    prefetch_stamps(song.path for song in songs)
    parts = [songs[first : first + out.songs] for first in range(0, len(songs), out.songs)]
    base, columns = song_columns(labels), song_columns(labels, songs)
    names = [out.part_name(k, part, model, columns) for k, part in enumerate(parts)]
    for kind in ("songs", "windows"):
        for file in (out.folder / kind).glob("part-*.parquet"):
            if file.stem not in names:
                file.unlink()
    written = [out.file("songs", name).exists() for name in names]
    todo = [song for part, there in zip(parts, written, strict=True) if not there for song in part]
    predictions = predict(model, replace(dataset, songs=todo))
    for name, part, there in zip(names, parts, written, strict=True):
        if there:
            data = BytesIO(out.file("songs", name).read_bytes())
            statuses = parquet.read_table(data, columns=["status"])["status"].to_pylist()
            yield from (status == "failed" for status in statuses)
            continue
        rows = []
        for _ in part:
            rows.append(PredictedRows.of(next(predictions), labels).withheld(out.rules))
            yield rows[-1].failed
        if out.windows:
            windows = [window for song in rows for window in song.windows]
            write_parquet_rows(out.file("windows", name), windows, window_columns(labels))
        user_columns = columns[len(base) :]
        write_parquet_rows(out.file("songs", name), [song.row for song in rows], base, user_columns)
