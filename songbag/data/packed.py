"""Packed collections as a dataset: bags and songs are made when they are asked for.

Memory grows with the collection by the columns of its manifest only, some 100 bytes a song.
Frames are views of mapped files, and each song is checked against its checksum when it is
first read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.dataset import (
    BagDataset,
    BagInput,
    FailedInput,
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
_SONGS_PER_BATCH = 1024  # songs made from the manifest at once


class PackedFolder:
    """An opened collection: the columns of its manifest, and its shards as they are needed.

    Attributes
    ----------
    folder : Path
    about : Collection
    """

    def __init__(self, folder: Path) -> None:
        require_pyarrow("packed collections")
        self.folder = folder
        self.about: Collection = read_collection(folder)
        self._columns: dict[str, Any] = {}
        self._shards: dict[int, Frames] = {}
        self._checked = np.zeros(self.about.songs, dtype=np.bool_)

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array, read once."""
        if name not in self._columns:
            from pyarrow import parquet

            with parquet.ParquetFile(
                self.folder / MANIFEST, read_dictionary=_CATEGORIES, memory_map=True
            ) as file:
                self._columns[name] = file.read([name], use_threads=False)[name].combine_chunks()
        return self._columns[name]

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers, 0 where a song failed."""
        key = f"{name} as numbers"
        if key not in self._columns:
            self._columns[key] = self.column(name).fill_null(0).to_numpy(zero_copy_only=False)
        values: NDArray[Any] = self._columns[key]
        return values

    def rows(self, status: str) -> Rows:
        """Return the rows of songs with a status, "ok" or "failed"."""
        import pyarrow.compute

        mask = pyarrow.compute.equal(self.column("status").cast("string"), status)
        return np.flatnonzero(mask.to_numpy(zero_copy_only=False))

    @cached_property
    def own_columns(self) -> list[str]:
        """The user's columns, by their names in the manifest."""
        from pyarrow import parquet

        names = parquet.read_schema(self.folder / MANIFEST).names
        return [name for name in names if name not in FACTS]

    def songs(self, rows: Rows, group_by: str = "artist") -> Iterator[Song]:
        """Yield the songs of ascending rows; the manifest is read batch by batch."""
        from pyarrow import parquet

        names = [*_SONG_COLUMNS, *self.own_columns]
        begin = 0
        with parquet.ParquetFile(self.folder / MANIFEST, read_dictionary=_CATEGORIES) as file:
            for batch in file.iter_batches(_SONGS_PER_BATCH, columns=names, use_threads=False):
                first, last = np.searchsorted(rows, [begin, begin + batch.num_rows])
                if first < last:
                    yield from self._songs_of(batch.take(rows[first:last] - begin), group_by)
                begin += batch.num_rows

    def song(self, row: int, group_by: str = "artist") -> Song:
        """Return one song; only its part of the manifest is read."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.folder / MANIFEST) as file:
            group, first = 0, 0
            while row >= first + file.metadata.row_group(group).num_rows:
                first += file.metadata.row_group(group).num_rows
                group += 1
            names = [*_SONG_COLUMNS, *self.own_columns]
            table = file.read_row_group(group, names, use_threads=False).slice(row - first, 1)
        return next(self._songs_of(table, group_by))

    def _songs_of(self, table: Any, group_by: str) -> Iterator[Song]:
        own = [users_name(name) for name in self.own_columns]
        names = [*_SONG_COLUMNS, *self.own_columns]
        columns = [column.to_pylist() for column in table.select(names).columns]
        for values in zip(*columns, strict=True):
            yield Song(
                **dict(zip(_SONG_COLUMNS, values, strict=False)),
                extra=dict(zip(own, values[len(_SONG_COLUMNS) :], strict=True)),
                group_by=group_by,
                multilabel=self.about.multilabel,
            )

    def frames(self, row: int) -> Frames:
        """Return the frames (frames, bands) of a song, checked when they are first read.

        Raises
        ------
        SongTableError
            They are not what was packed.
        """
        shard = int(self.numbers("shard")[row])
        if shard not in self._shards:
            entry = self.about.shards[shard]
            try:
                read = read_shard(self.folder / entry.file)
            except DamagedShardError as error:
                self._refuse(shard, str(error))
            if (read.checksum, read.rows) != (entry.checksum, entry.rows):
                self._refuse(shard, "its header is not what was packed")
            self._shards[shard] = read.map()
        first = int(self.numbers("first")[row])
        frames = self._shards[shard][first : first + int(self.numbers("frames")[row])]
        if not self._checked[row]:
            if frames_checksum(frames) != self.column("checksum")[row].as_py():
                song = self.column("id")[row].as_py()
                self._refuse(shard, f"the frames of song '{song}' are not what was packed")
            self._checked[row] = True
        return frames

    def _refuse(self, number: int, problem: str) -> None:
        file = self.folder / self.about.shards[number].file
        raise SongTableError(
            f"{file}: {problem}. Repeat the songbag pack command with --verify: it makes damaged "
            "shards again, and the others stay."
        )


_SONG_COLUMNS = ("id", "path", "label", "artist", "split", "start", "end")


@dataclass(frozen=True)
class PackedSongs(Sequence[Song]):
    """Songs of some rows of a collection.

    Attributes
    ----------
    packed : PackedFolder
    rows : ndarray of int64, shape (songs,)
        Ascending.
    group_by : str
        Column that must not stand on two sides of a split.
    """

    packed: PackedFolder
    rows: Rows
    group_by: str = "artist"

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Song: ...

    @overload
    def __getitem__(self, index: slice) -> "PackedSongs": ...

    def __getitem__(self, index: int | slice) -> "Song | PackedSongs":
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return self.packed.song(int(self.rows[index]), self.group_by)

    def __iter__(self) -> Iterator[Song]:
        return self.packed.songs(self.rows, self.group_by)


@dataclass(frozen=True)
class PackedDataset(BagDataset):
    """Songs of a packed collection.

    Attributes
    ----------
    packed : PackedFolder
    rows : ndarray of int64, shape (songs,)
        Of the songs that could be read, ascending.
    windows : Windows
    group_by : str
        Column whose value must not stand on two sides of a split.
    failures : sequence of Failure
    """

    packed: PackedFolder
    rows: Rows
    windows: Windows = field(default_factory=Windows)
    group_by: str = "artist"
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()

    @classmethod
    def open(cls, folder: Path) -> "PackedDataset":
        """Open a packed collection.

        Raises
        ------
        SongTableError
            The folder is damaged, or not packed to the end; pyarrow is not installed.
        """
        packed = PackedFolder(folder)
        lost = packed.rows("failed")
        reasons, messages = (
            packed.column(name).take(lost).to_pylist() for name in ("reason", "message")
        )
        failures = list(map(Failure, PackedSongs(packed, lost), reasons, messages))
        return cls(packed, packed.rows("ok"), failures=failures)

    @property
    def origin(self) -> str:  # type: ignore[override]
        """The folder."""
        return str(self.packed.folder)

    @property
    def songs(self) -> PackedSongs:  # type: ignore[override]
        """The songs that could be read."""
        return PackedSongs(self.packed, self.rows, self.group_by)

    @property
    def multilabel(self) -> bool:
        """Whether a song may have several labels."""
        return self.packed.about.multilabel

    @property
    def sound(self) -> Sound:
        """The settings its frames were made with."""
        return self.packed.about.sound

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> "PackedDataset":
        """Return the songs cut into a recipe's windows.

        Raises
        ------
        SettingsError
            The frames were made with other settings than the recipe's.
        """
        about = self.packed.about
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
        """Return one input a song in the order of the manifest, failed songs too."""
        dataset = self.load(recipe)
        failures = {failure.song.id: failure for failure in self.failures}
        bags = iter(dataset)

        def inputs() -> Iterator[SongInput]:
            for song in self.everyone():
                if failure := failures.get(song.id):
                    yield FailedInput(song, failure.reason, failure.message)
                else:
                    yield BagInput(song, next(bags))

        return inputs()

    def everyone(self) -> PackedSongs:
        """Return all songs in the order of the manifest, failed songs too."""
        lost = self.packed.rows("failed") if self.failures else np.zeros(0, dtype=np.int64)
        return PackedSongs(self.packed, np.union1d(self.rows, lost), self.group_by)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Bag: ...

    @overload
    def __getitem__(self, index: slice) -> "PackedDataset": ...

    def __getitem__(self, index: int | slice) -> "Bag | PackedDataset":
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index], failures=())
        row = int(self.rows[index])
        return self._bag(row, self.packed.frames(row))

    def __iter__(self) -> Iterator[Bag]:
        return (self[index] for index in range(len(self)))

    def subset(self, selected: Selection) -> "PackedDataset":
        """Return the selected songs, without the failed ones."""
        return replace(self, rows=self.rows[np.flatnonzero(selected)], failures=())

    def grouped_by(self, column: str) -> "PackedDataset":
        """Return the same songs, grouped by a column instead of the artist.

        Raises
        ------
        SongTableError
            There is no such column.
        """
        known = {"artist", *map(users_name, self.packed.own_columns)}
        if column not in known:
            raise SongTableError(f"no column '{column}' to group by.{suggestion(column, known)}")
        return replace(self, group_by=column)

    def cut(self, sound: Sound, windows: Windows) -> "PackedDataset":
        """Return the songs with window starts by other settings."""
        return replace(self, windows=windows)

    def without_features(self) -> Iterable[Bag]:
        """Return bags whose features are left on the disk."""
        nothing = np.zeros((0, self.sound.bands), dtype=np.float32)
        return (self._bag(int(row), nothing) for row in self.rows)

    def checksums(self) -> Iterable[bytes]:
        """Return the checksum of each song's frames that the manifest states."""
        column = self.packed.column("checksum")
        return (column[int(row)].as_py() for row in self.rows)

    def shards(self) -> NDArray[np.int64]:
        """Return the number of the shard in which each song's frames lie."""
        return self.packed.numbers("shard")[self.rows].astype(np.int64)

    def _bag(self, row: int, features: Frames) -> Bag:
        # The song as far as the columns in memory know it: the manifest is not read for a bag.
        cell, samples = self.packed.column, int(self.packed.numbers("samples")[row])
        song = Song(
            id=cell("id")[row].as_py(),
            path="",
            label=cell("label")[row].as_py(),
            artist=cell("artist")[row].as_py(),
            multilabel=self.packed.about.multilabel,
        )
        return Bag(
            song=song,
            features=features,
            starts=window_starts(samples, self.sound, self.windows),
            level_db=float(self.packed.numbers("level_db")[row]),
            samples=samples,
            warnings=tuple(cell("warnings")[row].as_py() or ()),
        )
