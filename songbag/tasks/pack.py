"""The frames of many songs in files: in the cache, packed into a collection, as plain Parquet."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from songbag.audio.cache import Receipt, content_of
from songbag.audio.extract import extract_all
from songbag.audio.windows import repeat_frames, start_seconds, window_frames
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset, read_bag
from songbag.data.bag import Bag
from songbag.data.packed import PackedDataset, PackedFolder
from songbag.data.packed_files import (
    FORMAT,
    SHARD,
    Collection,
    DamagedShardError,
    Entry,
    Frames,
    Shard,
    is_packed,
    own_name,
    read_shard,
    write_collection,
    write_manifest,
    write_shard,
)
from songbag.data.song_table import require_files
from songbag.data.table_files import require_pyarrow
from songbag.errors import AudioError, SettingsError, SongTableError
from songbag.settings import Recipe
from songbag.storage.files import Row, atomic_write, remove_stale_temporaries
from songbag.tasks.check import report_problems

RECEIPT_COLUMNS = ("id", "status", "reason", "seconds", "level_db", "frames", "warnings")
_SONGS_AT_ONCE = 16  # in a row group of Parquet: what a reader must read to get one song
_SHARD_NAME = re.compile(r"frames-\d{5}-[0-9a-f]{16}\.safetensors")


# --- the cache --------------------------------------------------------------------------


def extract_dataset(dataset: AudioDataset, recipe: Recipe) -> Iterator[Row]:
    """Fill the cache; yield a row of `RECEIPT_COLUMNS` for every song, in order."""
    sources = dataset.sources(recipe)
    receipts = extract_all(sources, recipe.sound, dataset.cache, dataset.limits, dataset.workers)
    for song, receipt in zip(dataset.songs, receipts, strict=True):
        ok = receipt.status == "ok"
        yield {
            "id": song.id,
            "status": receipt.status,
            "reason": receipt.reason,
            "seconds": receipt.samples / recipe.sound.sample_rate if ok else None,
            "level_db": receipt.level_db if ok else None,
            "frames": receipt.key,
            "warnings": "; ".join(receipt.warnings) if ok else receipt.message,
        }


# --- a collection -----------------------------------------------------------------------


@dataclass(frozen=True)
class PackedReport:
    """What was packed: the folder, its shards and bytes, and songs that failed."""

    folder: Path
    songs: int
    shards: int
    bytes: int
    failed: int


def pack_songs(
    dataset: AudioDataset,
    recipe: Recipe,
    folder: Path,
    console: Console,
    shard_bytes: int = 1 << 28,
    verify: bool = False,
) -> PackedReport:
    """Write the songs of a dataset, with the frames of a recipe, into a folder of shards.

    A shard has at most ``shard_bytes`` of frames; a longer song has one for itself. Its name
    tells what is in it, and it gets its name when it is whole: a stopped run continues behind
    the last shard, and ends with the bytes of an undisturbed one. With ``verify`` shards that
    are there already are read, and damaged ones made again.
    """
    require_pyarrow("packed collections")
    require_files(dataset.songs, dataset.origin)
    for remark in dataset.remarks:
        console.say(remark)
    packer = _Packer(dataset, recipe, folder, verify, console)
    folder.mkdir(parents=True, exist_ok=True)
    shards = packer.write_shards(shard_bytes)
    entries = tuple(Entry(file=s.path.name, rows=s.rows, checksum=s.checksum) for s in shards)
    about = Collection(
        format=FORMAT,
        songbag=version("songbag"),
        recipe=recipe.name,
        sound=recipe.sound,
        excerpt=recipe.excerpt,
        multilabel=dataset.multilabel,
        songs=len(dataset.songs),
        manifest=write_manifest(folder, packer.manifest_columns(shards)),
        shards=entries,
    )
    write_collection(folder, about)
    remove_stale_temporaries(folder)
    names = {shard.path.name for shard in shards}
    for file in folder.iterdir():  # shards of an earlier packing into the same folder
        if _SHARD_NAME.fullmatch(file.name) and file.name not in names:
            file.unlink()
    labelled = all(song.label for song in dataset.songs)
    report_problems(PackedDataset.open(folder).load(recipe), console, labelled)
    failed = sum(receipt.status == "failed" for receipt in packer.receipts)
    total = sum(shard.path.stat().st_size for shard in shards)
    return PackedReport(folder, len(packer.receipts) - failed, len(shards), total, failed)


class _Packer:
    """One packing: the receipts of its songs, and which songs are in which shard."""

    def __init__(
        self, dataset: AudioDataset, recipe: Recipe, folder: Path, verify: bool, console: Console
    ) -> None:
        self.dataset, self.recipe, self.folder = dataset, recipe, folder
        self.verify, self.console = verify, console
        self.shards: list[list[int]] = []  # of each shard, its songs' places in the dataset
        self.sources = dataset.sources(recipe)
        receipts = extract_all(
            self.sources, recipe.sound, dataset.cache, dataset.limits, dataset.workers
        )
        self.receipts: list[Receipt] = list(console.track(receipts, len(self.sources)))

    def write_shards(self, shard_bytes: int) -> list[Shard]:
        """Write the shards that are not there yet, and return all."""
        while True:
            self.shards = self._assign_songs(shard_bytes)
            counts = np.cumsum([len(places) for places in self.shards]).tolist()
            try:
                with self.console.bar("Packing", counts[-1] if counts else 0) as advance:
                    written = []
                    for number, places in enumerate(self.shards):
                        written.append(self._shard(number, places))
                        advance(counts[number])
                    return written
            except AudioError:  # a song has gone since, as its receipt says now
                continue

    def _assign_songs(self, shard_bytes: int) -> list[list[int]]:
        """Return the places of the songs of each shard: in order, as many as fit."""
        shards: list[list[int]] = []
        room = 0
        for place, receipt in enumerate(self.receipts):
            if receipt.status == "failed":
                continue
            size = 4 * receipt.bands * self._frame_count(receipt)
            if size > room:
                shards.append([])
                room = shard_bytes
            shards[-1].append(place)
            room -= size
        return shards

    def _frame_count(self, receipt: Receipt) -> int:
        return 1 + receipt.samples // self.recipe.sound.step

    def _shard(self, number: int, places: Sequence[int]) -> Shard:
        receipts = [self.receipts[place] for place in places]
        contents = msgspec.json.encode([(one.key, one.samples) for one in receipts])
        key = hashlib.blake2b(contents, digest_size=8).hexdigest()
        path = self.folder / SHARD.format(number, key)
        counts = [self._frame_count(receipt) for receipt in receipts]
        try:
            shard = read_shard(path)
            if not self.verify or shard.is_intact(counts):
                return shard
        except DamagedShardError:
            pass  # not there yet, or cut short by another program
        return write_shard(path, counts, receipts[0].bands, self._read_frames(places))

    def _read_frames(self, places: Sequence[int]) -> Iterator[Frames]:
        dataset = self.dataset
        for place in places:
            song, receipt = dataset.songs[place], self.receipts[place]
            try:
                source = self.sources[place]
                bag = read_bag(song, source, receipt, self.recipe, dataset.cache, dataset.limits)
                if bag.samples != receipt.samples:
                    raise AudioError("changed", f"{song.path}: changed while it was packed")
            except AudioError as error:
                gone = Receipt(status="failed", reason=error.reason, message=str(error))
                self.receipts[place] = gone
                raise
            yield bag.features

    def manifest_columns(self, shards: Sequence[Shard]) -> dict[str, list[Any]]:
        """Return the manifest's columns: a song that failed has a reason and no frames."""
        songs, receipts = self.dataset.songs, self.receipts
        location: dict[int, tuple[int, int, int, bytes]] = {}
        for number, (places, shard) in enumerate(zip(self.shards, shards, strict=True)):
            first = 0
            for place, checksum in zip(places, shard.checksums, strict=True):
                count = self._frame_count(receipts[place])
                location[place] = (number, first, count, checksum)
                first += count
        columns: dict[str, list[Any]] = {
            "path": [os.path.abspath(song.path) for song in songs],
            "content": [content_of(one.key) or None for one in receipts],
        }
        for name in ("id", "label", "artist", "split", "start", "end"):
            columns[name] = [getattr(song, name) for song in songs]
        for name in ("status", "reason", "message", "warnings"):
            columns[name] = [getattr(receipt, name) for receipt in receipts]
        packed = [location.get(place) for place in range(len(songs))]
        for name in ("samples", "level_db"):
            columns[name] = [
                getattr(receipt, name) if where else None
                for receipt, where in zip(receipts, packed, strict=True)
            ]
        for part, name in enumerate(("shard", "first", "frames", "checksum")):
            columns[name] = [where[part] if where else None for where in packed]
        for name in dict.fromkeys(name for song in songs for name in song.extra):
            columns[own_name(name)] = [song.extra.get(name) for song in songs]
        return columns


def verify_packed(folder: Path, console: Console) -> int:
    """Return how many songs a packed collection has; a SongTableError names damaged ones."""
    packed, damaged = PackedFolder(folder), list[str]()
    rows = packed.rows("ok")
    for row in console.track(rows.tolist(), len(rows), "Verifying"):
        try:
            packed.frames(row)
        except SongTableError as error:
            damaged.append(str(error))
    if damaged:
        shown = "\n".join(damaged[:8])
        raise SongTableError(f"{folder}: {len(damaged)} of {len(rows)} songs are damaged\n{shown}")
    return len(rows)


# --- Parquet, for pandas, DuckDB or Spark -----------------------------------------------


def write_parquet(
    packed: Path, folder: Path, recipe: Recipe, content: str, console: Console
) -> int:
    """Write a packed collection as Parquet, one file a shard; return the number of files.

    A row is a window or a frame, as ``content`` says. Columns: id, label, group, start (seconds),
    feature (floats; of a window its frames one behind another, and the files' metadata ``shape``
    says frames x bands). The folder appears when it is whole; until then it is called
    ``<folder>.partial``, and the same call goes on there.

    Raises
    ------
    SettingsError
        The songs are not packed, or with another sound than the recipe's; ``folder`` exists.
    """
    if not is_packed(packed):
        raise SettingsError(
            f"{packed}: Parquet is written from a packed folder. First: songbag pack {packed} "
            "-o packed"
        )
    if folder.exists():
        raise SettingsError(f"{folder}: it exists. Remove it, or give another folder.")
    dataset = PackedDataset.open(packed).load(recipe)
    partial = folder.with_name(f"{folder.name}.partial")
    key = f"{dataset.packed.about.manifest[:8]}-{content}"
    if content == "windows":
        key += f"-{recipe.windows.seconds:g}-{recipe.windows.hop_seconds:g}"
    shards = dataset.shards()
    numbers = range(len(dataset.packed.about.shards))
    for number in console.track(numbers, len(numbers), "Writing"):
        file = partial / f"part-{number:05d}-{key}.parquet"
        if not file.exists():
            _write_part(file, dataset.subset(shards == number), recipe, content)
    for file in partial.iterdir():  # of a run with other songs or windows
        if key not in file.name or file.suffix != ".parquet":
            file.unlink()
    os.rename(partial, folder)
    return len(numbers)


def _write_part(file: Path, dataset: PackedDataset, recipe: Recipe, content: str) -> None:
    import pyarrow
    from pyarrow import parquet

    frames = window_frames(recipe.sound, recipe.windows) if content == "windows" else 1
    schema = pyarrow.schema(
        [
            ("id", pyarrow.string()),
            ("label", pyarrow.string()),
            ("group", pyarrow.string()),
            ("start", pyarrow.float64()),
            ("feature", pyarrow.list_(pyarrow.float32())),
        ],
        metadata={"shape": f"{frames}x{recipe.sound.bands}"},
    )
    with (
        atomic_write(file) as out,
        parquet.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for first in range(0, len(dataset), _SONGS_AT_ONCE):
            songs = [_rows(bag, recipe, content) for bag in dataset[first : first + _SONGS_AT_ONCE]]
            columns = [pyarrow.concat_arrays(parts) for parts in zip(*songs, strict=True)]
            writer.write_table(pyarrow.table(columns, schema))


def _rows(bag: Bag, recipe: Recipe, content: str) -> Iterator[Any]:
    """Yield the columns of one song's rows."""
    import pyarrow

    if content == "frames":
        starts, values = np.arange(len(bag.features)), bag.features
    else:
        assert bag.starts is not None
        starts, length = bag.starts, window_frames(recipe.sound, recipe.windows)
        places = starts[:, None] + np.arange(length)
        values = repeat_frames(bag.features, length)[places].reshape(len(starts), -1)
    for text in (bag.id, bag.label, bag.song.group):
        yield pyarrow.array([text] * len(values), pyarrow.string())
    yield pyarrow.array(start_seconds(starts, recipe.sound), pyarrow.float64())
    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    yield pyarrow.ListArray.from_arrays(ends, pyarrow.array(values.ravel(), pyarrow.float32()))
