"""Songs of a packed collection: bags and songs made when they are asked for.

Nothing grows with the collection but the columns of its manifest, some 100 bytes a song.
Frames are views of mapped files: the system keeps in memory what is read often, and a song
is held against its checksum when it is first read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.packed_manifest import (
    FACTS,
    MANIFEST,
    Collection,
    read_collection,
    require_arrow,
    users_name,
)
from songbag.data.shards import DamagedShardError, Frames, frames_checksum, read_shard
from songbag.data.song_table import Song
from songbag.errors import SongTableError, suggestion
from songbag.settings import Sound, Windows

Rows = NDArray[np.int64]
_REPEATED = ("label", "artist", "split", "status", "reason")  # few different values
_AT_ONCE = 1024  # songs made in one go


class Packed:
    """An opened collection: the columns of its manifest, and its shards as they are needed."""

    def __init__(self, folder: Path) -> None:
        require_arrow()
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
                self.folder / MANIFEST, read_dictionary=_REPEATED, memory_map=True
            ) as file:
                self._columns[name] = file.read([name], use_threads=False)[name].combine_chunks()
        return self._columns[name]

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """Yield (first row, Arrow table) of all songs, some at a time; nothing is kept."""
        from pyarrow import parquet

        first = 0
        with parquet.ParquetFile(self.folder / MANIFEST, read_dictionary=_REPEATED) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=names, use_threads=False):
                yield first, batch
                first += batch.num_rows

    def row(self, row: int, names: Sequence[str]) -> Any:
        """Return one row as an Arrow table."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.folder / MANIFEST) as file:
            group, first = 0, 0
            while row >= first + file.metadata.row_group(group).num_rows:
                first += file.metadata.row_group(group).num_rows
                group += 1
            return file.read_row_group(group, names, use_threads=False).slice(row - first, 1)

    @cached_property
    def own_columns(self) -> list[str]:
        """The user's columns, by their names in the manifest."""
        from pyarrow import parquet

        names = parquet.read_schema(self.folder / MANIFEST).names
        return [name for name in names if name not in FACTS]

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers, 0 where a song failed."""
        key = f"{name} as numbers"
        if key not in self._columns:
            self._columns[key] = self.column(name).fill_null(0).to_numpy(zero_copy_only=False)
        found: NDArray[Any] = self._columns[key]
        return found

    def heard(self, ok: bool = True) -> Rows:
        """Return the rows of songs that could be heard, or of those that could not."""
        import pyarrow.compute

        mask = pyarrow.compute.equal(self.column("status").cast("string"), "ok")
        return np.flatnonzero(mask.to_numpy(zero_copy_only=False) == ok)

    def songs(self) -> "PackedSongs":
        """Return all songs, failed ones too."""
        return PackedSongs(self, np.arange(self.about.songs))

    def frames(self, row: int) -> Frames:
        """Return the frames (frames, bands) of a song, checked when they are first read.

        Raises
        ------
        SongTableError
            They are not what was packed.
        """
        shard = int(self.numbers("shard")[row])
        if shard not in self._shards:
            self._shards[shard] = self._mapped(shard)
        first = int(self.numbers("first")[row])
        found = self._shards[shard][first : first + int(self.numbers("frames")[row])]
        if not self._checked[row]:
            if frames_checksum(found) != self.column("checksum")[row].as_py():
                song = self.column("id")[row].as_py()
                self._refuse(shard, f"the frames of song '{song}' are not what was packed")
            self._checked[row] = True
        return found

    def _mapped(self, number: int) -> Frames:
        entry = self.about.shards[number]
        try:
            shard = read_shard(self.folder / entry.file)
        except DamagedShardError as error:
            self._refuse(number, str(error))
        if (shard.checksum, shard.rows) != (entry.checksum, entry.rows):
            self._refuse(number, "its header is not what was packed")
        return shard.map()

    def _refuse(self, number: int, found: str) -> None:
        file = self.folder / self.about.shards[number].file
        raise SongTableError(
            f"{file}: {found}. Repeat the songbag pack command with --verify: it makes damaged "
            "shards again, and the others stay."
        )


@dataclass(frozen=True)
class PackedBags(Sequence[Bag]):
    """Bags of some rows of a collection, cut by the window law.

    Attributes
    ----------
    packed : Packed
    rows : ndarray of int64, shape (songs,)
    windows : Windows
    """

    packed: Packed
    rows: Rows
    windows: Windows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Bag: ...

    @overload
    def __getitem__(self, place: slice) -> "PackedBags": ...

    def __getitem__(self, place: int | slice) -> "Bag | PackedBags":
        if isinstance(place, slice):
            return replace(self, rows=self.rows[place])
        row = int(self.rows[place])
        return self._bag(row, self.packed.frames(row))

    def __iter__(self) -> Iterator[Bag]:
        return (self[place] for place in range(len(self)))

    def bare(self) -> Iterator[Bag]:
        """Yield the bags without their features, which are left on the disk."""
        nothing = np.zeros((0, self.sound.bands), dtype=np.float32)
        return (self._bag(int(row), nothing) for row in self.rows)

    def checksums(self) -> Iterator[bytes]:
        """Yield the checksum of each song's frames (see `frames_checksum`)."""
        column = self.packed.column("checksum")
        return (column[int(row)].as_py() for row in self.rows)

    def take(self, places: Rows) -> "PackedBags":
        """Return the bags at some places."""
        return replace(self, rows=self.rows[places])

    @property
    def sound(self) -> Sound:
        """How they were heard."""
        return self.packed.about.sound

    def _bag(self, row: int, features: Frames) -> Bag:
        cell, samples = self.packed.column, int(self.packed.numbers("samples")[row])
        song, artist = cell("id")[row].as_py(), cell("artist")[row].as_py()
        return Bag(
            id=song,
            features=features,
            starts=window_starts(samples, self.sound, self.windows),
            label=cell("label")[row].as_py(),
            group=f"artist {artist}" if artist else f"song {song}",
            level_db=float(self.packed.numbers("level_db")[row]),
            samples=samples,
            warnings=tuple(cell("warnings")[row].as_py() or ()),
        )


@dataclass(frozen=True)
class PackedSongs(Sequence[Song]):
    """Songs of some rows of a collection.

    Attributes
    ----------
    packed : Packed
    rows : ndarray of int64, shape (songs,)
    group_by : str
        Column that must not stand on two sides of a split.
    """

    packed: Packed
    rows: Rows
    group_by: str = "artist"

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Song: ...

    @overload
    def __getitem__(self, place: slice) -> "PackedSongs": ...

    def __getitem__(self, place: int | slice) -> "Song | PackedSongs":
        if isinstance(place, slice):
            return replace(self, rows=self.rows[place])
        row = int(self.rows[place])
        return next(self._songs(self.packed.row(row, self._names())))

    def __iter__(self) -> Iterator[Song]:
        for begin, table in self.packed.blocks(self._names()):
            first, last = np.searchsorted(self.rows, [begin, begin + table.num_rows])
            if first < last:
                yield from self._songs(table.take(self.rows[first:last] - begin))

    def take(self, places: Rows) -> "PackedSongs":
        """Return the songs at some places."""
        return replace(self, rows=self.rows[places])

    def grouped_by(self, column: str) -> "PackedSongs":
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

    def _names(self) -> list[str]:
        own = self.packed.own_columns
        return ["id", "path", "label", "artist", "split", "start", "end", *own]

    def _songs(self, table: Any) -> Iterator[Song]:
        own = [users_name(name) for name in self.packed.own_columns]
        columns = [column.to_pylist() for column in table.select(self._names()).columns]
        for song, path, label, artist, split, start, end, *extra in zip(*columns, strict=True):
            yield Song(
                id=song,
                path=path,
                label=label,
                artist=artist,
                split=split,
                start=start,
                end=end,
                extra=dict(zip(own, extra, strict=True)),
                group_by=self.group_by,
                multilabel=self.packed.about.multilabel,
            )
