"""Vectors and tags of songs by an encoder alone: no labels, no training.

A song is heard in pieces as long as those that the encoder was trained on; the last one may be
shorter, down to half of that, and a shorter rest is left out. Its vector is the mean of their
vectors, its tags the mean of their tags. Memory does not grow with its length.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio.sandbox import reuse_decoder, stop_decoder
from songbag.data.dataset import SongDataset, SongInput
from songbag.data.song import Song
from songbag.data.table_files import require_pyarrow
from songbag.encoders.encoder import Encoder, Pieces, Rows
from songbag.encoders.known import find_encoder, remember
from songbag.errors import AudioError, SettingsError
from songbag.parallel.pool import in_order
from songbag.settings import Recipe, Sound
from songbag.storage.files import Row, atomic_write, write_csv
from songbag.storage.remote import AnyPath

_AT_ONCE = 1024  # rows of a Parquet file written at once
_TEXTS = ("id", "status", "reason", "warnings")


@dataclass(frozen=True)
class EncodedSong:
    """What an encoder says of a song: vectors, or probabilities of tags."""

    song: Song
    values: NDArray[np.float32]  # (rows, columns): one row, or one a piece; none if it failed
    starts: NDArray[np.float64]  # (rows,), seconds
    ends: NDArray[np.float64]
    reason: str = ""
    warnings: str = ""

    @classmethod
    def failure(cls, song: Song, reason: str, message: str) -> "EncodedSong":
        """Return what is known of a song that could not be read."""
        nowhere = np.zeros(0)
        return cls(song, np.zeros((0, 0), np.float32), nowhere, nowhere, reason, message)

    def rows(self, columns: Sequence[str], pieces: bool) -> list[Row]:
        """Return table rows, with start and end where they are ``pieces``; one if it failed."""
        about = {
            "id": self.song.id,
            "status": "failed" if self.reason else "ok",
            "reason": self.reason,
            "warnings": self.warnings,
        }
        if self.reason:
            return [about]
        return [
            {**about, **({"start": start, "end": end} if pieces else {})}
            | dict(zip(columns, values.tolist(), strict=True))
            for values, start, end in zip(self.values, self.starts, self.ends, strict=True)
        ]


def value_columns(encoder: Encoder, tags: bool) -> list[str]:
    """Return the names of the values: the tags, or v0, v1, ..."""
    if not tags:
        return [f"v{number}" for number in range(encoder.encoding.values)]
    if not encoder.tags:
        raise SettingsError(
            f"encoder '{encoder.encoding.name}' has no tags. Take --encoder musicnn, or songbag "
            "embed."
        )
    return list(encoder.tags)


def table_columns(columns: Sequence[str], pieces: bool) -> list[str]:
    """Return all columns of a table of `EncodedSong.rows`."""
    return ["id", "status", "reason", *(("start", "end") if pieces else ()), *columns, "warnings"]


def encode_songs(
    dataset: SongDataset, encoder: Encoder, tags: bool, pieces: bool
) -> Iterator[EncodedSong]:
    """Yield what an encoder says of every song, in order; failed songs with their reason."""
    cache = getattr(dataset, "cache", None)  # where other processes find an encoder of a file
    remember(encoder, cache)
    inputs = list(dataset.inputs(Recipe(name="encoder", sound=encoder.sound)))
    work = partial(encode_song, encoder.sound, encoder.piece, cache, tags, pieces)
    try:
        with closing(in_order(work, inputs, dataset.workers, _died)) as encoded:
            yield from encoded
    finally:
        stop_decoder()


def encode_song(
    sound: Sound, piece: int, cache: AnyPath | None, tags: bool, pieces: bool, song: SongInput
) -> EncodedSong:
    """Return what an encoder says of one song, in a process that finds the encoder by its sound."""
    reuse_decoder()  # in a worker of a pool it ends with the worker
    encoder = replace(find_encoder(sound, cache), piece=piece)
    seconds = encoder.piece * encoder.sound.step / encoder.sound.sample_rate
    try:
        rows, recording = song.frames(encoder.sound)
        values, total, count = list[Rows](), np.zeros(0), 0
        for vector in piece_vectors(rows, encoder):
            one = encoder.tag_probabilities(vector[None])[0] if tags else vector
            total, count = total + one if count else one.astype(np.float64), count + 1
            if pieces:
                values.append(one)
    except AudioError as error:
        return EncodedSong.failure(song.song, error.reason, str(error))
    facts = recording()
    length, warnings = facts.samples / encoder.sound.sample_rate, facts.warnings
    if 2 * length < seconds:
        text = f"short: {length:.1f} s, and the encoder was trained on pieces of {seconds:.1f} s"
        warnings += (text,)
    if not pieces:
        values = [(total / count).astype(np.float32)]
    starts = (seconds if pieces else 0.0) * np.arange(len(values), dtype=np.float64)
    ends = np.minimum(starts + (seconds if pieces else length), length)
    return EncodedSong(song.song, np.stack(values), starts, ends, "", "; ".join(warnings))


def piece_vectors(blocks: Iterable[Rows], encoder: Encoder) -> Iterator[Rows]:
    """Yield the vector (values,) of each piece of a song, from blocks of its rows (n, bands)."""
    pieces = Pieces(encoder)
    for block in blocks:
        yield from pieces.add(block)
    yield from pieces.end()


def _died(song: SongInput) -> EncodedSong:
    message = f"{song.song.path}: the process that read it died twice; leave the file out"
    return EncodedSong.failure(song.song, "worker_died", message)


def write_table(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write rows, as they come, to a .csv or .parquet file, whole or not at all."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"{path}: write a .csv or .parquet file.")
    if path.suffix.lower() == ".csv":
        write_csv(path, rows, columns)
        return
    require_pyarrow("Parquet files")
    import pyarrow
    from pyarrow import parquet

    kinds = {name: pyarrow.string() for name in _TEXTS} | {"start": pyarrow.float64()}
    kinds["end"] = pyarrow.float64()
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float32())) for name in columns])
    with atomic_write(path) as file, parquet.ParquetWriter(file, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
