"""Packed collections as a dataset: bags and songs are made when they are asked for.

Memory grows by the manifest's columns only, some 100 bytes a song; frames are views of files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.dataset import (
    BagDataset,
    BagInput,
    Failure,
    Progress,
    Selection,
    SongInput,
    no_progress,
)
from songbag.data.packed_files import (
    FACTS,
    MANIFEST,
    Collection,
    DamagedShardError,
    Frames,
    frames_checksum,
    read_collection,
    read_shard,
    users_name,
)
from songbag.data.song import Song
from songbag.data.table_files import require_pyarrow
from songbag.errors import SettingsError, SongTableError, suggestion
from songbag.settings import Recipe, Sound, Windows

Rows = NDArray[np.int64]
_CATEGORIES = ("label", "artist", "split", "status", "reason")  # few different values
_SONG_COLUMNS = ("id", "path", "label", "artist", "split", "start", "end")
_BAG_COLUMNS = ("id", "label", "artist", "start", "end", "samples", "level_db", "warnings")
_SONGS_PER_BATCH = 1024  # songs made from the manifest at once


class PackedFolder:
    """An opened collection: the columns of its manifest, and its shards as they are needed."""

    def __init__(self, folder: Path) -> None:
        require_pyarrow("packed collections")
        self.folder = folder
        self.about: Collection = read_collection(folder)
        self._columns: dict[str, Any] = {}
        self._shards: dict[int, Frames] = {}
        self._checked = np.zeros(self.about.songs, dtype=np.bool_)

    def manifest(self) -> Any:
        """Return songs.parquet, opened."""
        from pyarrow.parquet import ParquetFile

        return ParquetFile(self.folder / MANIFEST, read_dictionary=_CATEGORIES, memory_map=True)

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array, read once."""
        if name not in self._columns:
            with self.manifest() as file:
                self._columns[name] = file.read([name], use_threads=False)[name].combine_chunks()
        return self._columns[name]

    def cell(self, name: str, row: int) -> Any:
        """Return one cell of a column."""
        return self.column(name)[row].as_py()

    def rows(self, status: str) -> Rows:
        """Return the rows of songs with a status, "ok" or "failed"."""
        return np.flatnonzero(self.column("status").to_numpy(zero_copy_only=False) == status)

    @cached_property
    def own_columns(self) -> dict[str, str]:
        """The user's columns: what each is called in the manifest, and what by the user."""
        with self.manifest() as file:
            names = file.schema_arrow.names
        return {name: users_name(name) for name in names if name not in FACTS}

    def frames(self, row: int) -> Frames:
        """Return the frames (frames, bands) of a song, checked when they are first read."""
        shard, first, count = (self.cell(name, row) for name in ("shard", "first", "frames"))
        if shard not in self._shards:
            entry = self.about.shards[shard]
            try:
                read = read_shard(self.folder / entry.file)
            except DamagedShardError as error:
                raise self._damaged(shard, str(error)) from None
            if (read.checksum, read.rows) != (entry.checksum, entry.rows):
                raise self._damaged(shard, "its header is not what was packed")
            self._shards[shard] = read.map()
        frames = self._shards[shard][first : first + count]
        if not self._checked[row]:
            if frames_checksum(frames) != self.cell("checksum", row):
                song = self.cell("id", row)
                raise self._damaged(shard, f"the frames of song '{song}' are not what was packed")
            self._checked[row] = True
        return frames

    def _damaged(self, shard: int, problem: str) -> SongTableError:
        return SongTableError(
            f"{self.folder / self.about.shards[shard].file}: {problem}. Repeat the songbag pack "
            "command with --verify: it makes damaged shards again, and the others stay."
        )


@dataclass(frozen=True)
class PackedSongs(Sequence[Song]):
    """Songs of some rows of a collection, in ascending order."""

    packed: PackedFolder
    rows: Rows
    group_by: str = "artist"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        with self.packed.manifest() as file:
            # All groups of rows but the last are equally large.
            group, place = divmod(int(self.rows[index]), file.metadata.row_group(0).num_rows)
            table = file.read_row_group(group, self._columns, use_threads=False)
        return next(self._songs(table.slice(place, 1)))

    def __iter__(self) -> Iterator[Song]:
        begin = 0
        with self.packed.manifest() as file:
            columns = self._columns
            for batch in file.iter_batches(_SONGS_PER_BATCH, columns=columns, use_threads=False):
                first, last = np.searchsorted(self.rows, [begin, begin + batch.num_rows])
                if first < last:
                    yield from self._songs(batch.take(self.rows[first:last] - begin))
                begin += batch.num_rows

    @property
    def _columns(self) -> list[str]:
        return [*_SONG_COLUMNS, "content", *self.packed.own_columns]

    def _songs(self, table: Any) -> Iterator[Song]:
        for cells in table.to_pylist():
            yield Song(
                **{name: cells[name] for name in _SONG_COLUMNS},
                extra={users: cells[name] for name, users in self.packed.own_columns.items()},
                group_by=self.group_by,
                multilabel=self.packed.about.multilabel,
                content=cells["content"] or "",
            )


@dataclass(frozen=True)
class PackedDataset(BagDataset):
    """Songs of a packed collection; ``rows`` are of those that could be read, ascending."""

    packed: PackedFolder
    rows: Rows
    windows: Windows = field(default_factory=Windows)
    group_by: str = "artist"
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()

    @classmethod
    def open(cls, folder: Path) -> "PackedDataset":
        """Open a packed collection; one that is damaged or not finished is refused."""
        packed = PackedFolder(folder)
        lost = packed.rows("failed")
        reasons, messages = (
            packed.column(name).take(lost).to_pylist() for name in ("reason", "message")
        )
        failures = list(map(Failure, PackedSongs(packed, lost), reasons, messages))
        return cls(packed, packed.rows("ok"), failures=failures)

    @property
    def origin(self) -> str:  # type: ignore[override]
        return str(self.packed.folder)

    @property
    def songs(self) -> PackedSongs:  # type: ignore[override]
        return PackedSongs(self.packed, self.rows, self.group_by)

    @property
    def multilabel(self) -> bool:
        return self.packed.about.multilabel

    @property
    def sound(self) -> Sound:
        """The settings its frames were made with."""
        return self.packed.about.sound

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> "PackedDataset":
        about = self.packed.about
        ours, theirs = _listener(recipe.sound), _listener(about.sound)
        if ours != theirs and (about.sound.encoding or recipe.sound.encoding):
            raise SettingsError(
                f"{self.packed.folder}: packed with {theirs}, and here it is {ours}. Give "
                "--encoder as it was packed, or pack the songs again."
            )
        for name in ("sound", "excerpt"):
            ours, theirs = getattr(recipe, name), getattr(about, name)
            if ours != theirs:
                differences = [
                    f"{name}.{key} is {getattr(theirs, key)} there, {getattr(ours, key)} here"
                    for key in theirs.__struct_fields__
                    if getattr(ours, key) != getattr(theirs, key)
                ]
                raise SettingsError(
                    f"{self.packed.folder}: packed for the recipe '{about.recipe}', and "
                    f"'{recipe.name}' hears songs in another way ({'; '.join(differences)}). Take "
                    "the settings it was packed with, or pack the songs for this recipe."
                )
        return replace(self, windows=recipe.windows)

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        bags = iter(self.load(recipe))
        failures = {failure.song.id: failure for failure in self.failures}
        return (
            replace(failures[song.id], song=song)
            if song.id in failures
            else BagInput(song, next(bags))
            for song in self.everyone()
        )

    def everyone(self) -> PackedSongs:
        lost = self.packed.rows("failed") if self.failures else np.zeros(0, dtype=np.int64)
        return PackedSongs(self.packed, np.union1d(self.rows, lost), self.group_by)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index], failures=())
        row = int(self.rows[index])
        return self._bag(row, self.packed.frames(row))

    def __iter__(self) -> Iterator[Bag]:
        return (self[index] for index in range(len(self)))

    def subset(self, selected: Selection) -> Self:
        return replace(self, rows=self.rows[np.flatnonzero(selected)], failures=())

    def grouped_by(self, column: str) -> Self:
        known = {"artist", *self.packed.own_columns.values()}
        if column not in known:
            raise SongTableError(f"no column '{column}' to group by.{suggestion(column, known)}")
        return replace(self, group_by=column)

    def cut(self, sound: Sound, windows: Windows) -> Self:
        return replace(self, windows=windows)

    def without_features(self) -> Iterable[Bag]:
        nothing = np.zeros((0, self.sound.bands), dtype=np.float32)
        return (self._bag(row, nothing) for row in self.rows.tolist())

    def checksums(self) -> Iterable[bytes]:
        return (self.packed.cell("checksum", row) for row in self.rows.tolist())

    def shards(self) -> NDArray[np.int64]:
        return np.asarray(self.packed.column("shard").take(self.rows), dtype=np.int64)

    def _bag(self, row: int, features: Frames) -> Bag:
        # The song as far as the columns in memory know it: the manifest is not read for a bag.
        cells = {name: self.packed.cell(name, row) for name in _BAG_COLUMNS}
        song = Song(
            id=cells["id"],
            path="",
            label=cells["label"],
            artist=cells["artist"],
            multilabel=self.packed.about.multilabel,
            start=cells["start"] or 0.0,
            end=cells["end"],
        )
        return Bag(
            song=song,
            features=features,
            starts=window_starts(cells["samples"], self.sound, self.windows),
            level_db=cells["level_db"],
            samples=cells["samples"],
            warnings=tuple(cells["warnings"] or ()),
            labelled_share=song.labelled_share(cells["samples"] / self.sound.sample_rate),
        )


def _listener(sound: Sound) -> str:
    """Return in words which encoder listens, so that two that differ differ in them."""
    encoding = sound.encoding
    if encoding is None:
        return f"no encoder ({sound.sample_rate} Hz)"
    about = f"{sound.sample_rate} Hz, {encoding.values} values, graph {encoding.hash[:8]}"
    return f"encoder '{encoding.name}' ({about})"
