"""Answers of a large collection as a folder of Parquet files, resumable part by part.

::

    answers/songs/part-00003-<hash>.parquet      a row a song, as in predictions.csv
    answers/windows/part-00003-<hash>.parquet    a row a window, if wanted

A part is written whole when its last song is answered, its windows first; the hash is of
its songs, their files and the model. What is there is not made again; parts of other
songs or another model are removed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from songbag.data.song_table import Song
from songbag.errors import SettingsError
from songbag.inference import tables
from songbag.inference.model_file import ModelFile
from songbag.inference.predict import answer_all
from songbag.parallel.pool import Workers
from songbag.settings import Limits
from songbag.storage.csv_files import Row
from songbag.storage.files import write_bytes
from songbag.storage.remote import AnyPath, prefetch_stamps
from songbag.tasks.predict import Predicted, columns, song_key, withheld

if TYPE_CHECKING:
    import pyarrow

_TEXT = frozenset({"id", "status", "reason", "predicted", "warnings"})
_WHOLE = frozenset({"windows", "window"})


@dataclass(frozen=True)
class Partitioned:
    """Where answers go, how many songs a part has, and how sure an answer must be."""

    folder: AnyPath
    songs: int
    windows: bool = False
    confidence: float = 0.0

    def file(self, kind: str, name: str) -> AnyPath:
        """Return the file of a part's songs or windows."""
        return self.folder / kind / f"{name}.parquet"


def predict_partitions(
    songs: Sequence[Song],
    model_path: Path,
    model: ModelFile,
    cache: AnyPath,
    out: Partitioned,
    limits: Limits | None = None,
    workers: Workers = None,
) -> Iterator[bool]:
    """Write all parts that are not there; yield for every song, in order, if it failed."""
    _require_pyarrow()
    prefetch_stamps(song.path for song in songs)
    parts = [songs[first : first + out.songs] for first in range(0, len(songs), out.songs)]
    own = columns(model.card.labels, songs)
    names = [_name(number, part, model, out, own) for number, part in enumerate(parts)]
    _remove_others(out, names)
    there = [out.file("songs", name).exists() for name in names]
    todo = [song for part, done in zip(parts, there, strict=True) if not done for song in part]
    answers = answer_all(todo, model_path, cache, limits, workers)
    labels = model.card.labels
    base = tables.song_columns(labels)
    for name, part, done in zip(names, parts, there, strict=True):
        if done:
            yield from _failures(out.file("songs", name))
            continue
        found = []
        for song in part:
            answer = next(answers)
            rows = answer.window_rows(labels) if out.windows else []
            found.append(
                withheld(
                    Predicted(tables.with_own(answer.row(labels), song.extra), rows), out.confidence
                )
            )
            yield found[-1].failed
        if out.windows:
            windows = [row for one in found for row in one.windows]
            _write(out.file("windows", name), windows, tables.window_columns(labels))
        _write(out.file("songs", name), [one.row for one in found], base, own[len(base) :])


def _name(
    number: int, songs: Sequence[Song], model: ModelFile, out: Partitioned, own: Sequence[str]
) -> str:
    digest = hashlib.blake2b(msgspec.json.encode((out.windows, out.confidence, own)), digest_size=8)
    for song in songs:
        digest.update(msgspec.json.encode((song_key(song, model), song.extra)))
    return f"part-{number:05d}-{digest.hexdigest()}"


def _remove_others(out: Partitioned, names: Sequence[str]) -> None:
    for kind in ("songs", "windows"):
        for file in (out.folder / kind).glob("part-*.parquet"):
            if file.stem not in names:
                file.unlink()


def _failures(file: AnyPath) -> list[bool]:
    from pyarrow import parquet

    statuses = parquet.read_table(BytesIO(file.read_bytes()), columns=["status"]).column("status")
    return [status.as_py() == "failed" for status in statuses]


def _write(
    file: AnyPath, rows: Sequence[Row], known: Sequence[str], own: Sequence[str] = ()
) -> None:
    import pyarrow
    from pyarrow import parquet

    fields = [(name, _kind(name)) for name in known] + [(name, pyarrow.string()) for name in own]
    columns = [pyarrow.array([row.get(name) for row in rows], kind) for name, kind in fields]
    table = pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields))
    out = BytesIO()
    parquet.write_table(table, out, compression="zstd")
    write_bytes(file, out.getvalue())


def _kind(name: str) -> "pyarrow.DataType":
    import pyarrow

    if name in _TEXT:
        return pyarrow.string()
    return pyarrow.int64() if name in _WHOLE else pyarrow.float64()


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise SettingsError(
            "-o writes Parquet, which needs pyarrow: pip install 'songbag[parquet]', or take --csv."
        ) from None
