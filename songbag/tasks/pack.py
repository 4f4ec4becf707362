"""Pack songs into a collection: extract what the cache lacks, write shards and manifest.

A shard's name tells what is in it, and a shard gets its name when it is whole. So a stopped
run continues behind the last shard, and ends with the bytes of an undisturbed one.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from songbag.audio.cache import Receipt
from songbag.audio.extract import extract_all
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset, read_bag
from songbag.data.packed import PackedDataset, PackedFolder
from songbag.data.packed_files import (
    FORMAT,
    SHARD,
    Collection,
    DamagedShardError,
    Entry,
    Frames,
    Shard,
    own_name,
    read_shard,
    write_collection,
    write_manifest,
    write_shard,
)
from songbag.data.song_table import require_files
from songbag.data.table_files import require_pyarrow
from songbag.errors import AudioError, SongTableError
from songbag.settings import Recipe
from songbag.storage.files import remove_stale_temporaries
from songbag.tasks.check import remarks

SHARD_BYTES = 1 << 28
_SHARD_NAME = re.compile(r"frames-\d{5}-[0-9a-f]{16}\.safetensors")


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
    shard_bytes: int = SHARD_BYTES,
    verify: bool = False,
) -> PackedReport:
    """Write the songs of a dataset, with the frames of a recipe, into a folder of shards.

    Parameters
    ----------
    shard_bytes : int
        Most bytes of frames in one shard; a longer song has one for itself.
    verify : bool
        Read shards that are there already, and make damaged ones again.

    Raises
    ------
    SongTableError
        Files are missing, or pyarrow is.
    """
    require_pyarrow("packed collections")
    require_files(dataset.songs, dataset.origin)
    for remark in dataset.remarks:
        console.say(remark)
    packer = _Packer(dataset, recipe, folder, verify)
    packer.extract(console)
    folder.mkdir(parents=True, exist_ok=True)
    shards = packer.write_shards(console, shard_bytes)
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
    packer.report(console)
    failed = sum(receipt.status == "failed" for receipt in packer.receipts)
    total = sum(shard.path.stat().st_size for shard in shards)
    return PackedReport(folder, len(packer.receipts) - failed, len(shards), total, failed)


class _Packer:
    """One packing: the receipts of its songs, and which songs are in which shard."""

    def __init__(self, dataset: AudioDataset, recipe: Recipe, folder: Path, verify: bool) -> None:
        self.dataset, self.recipe, self.folder, self.verify = dataset, recipe, folder, verify
        self.sources = [song.source(recipe.excerpt) for song in dataset.songs]
        self.receipts: list[Receipt] = []
        self.shards: list[list[int]] = []  # of each shard, its songs' places in the dataset

    def extract(self, console: Console) -> None:
        """Put the frames of all songs into the cache."""
        dataset = self.dataset
        receipts = extract_all(
            self.sources, self.recipe.sound, dataset.cache, dataset.limits, dataset.workers
        )
        self.receipts = list(console.track(receipts, len(self.sources)))

    def write_shards(self, console: Console, shard_bytes: int) -> list[Shard]:
        """Write the shards that are not there yet, and return all."""
        while True:
            self.shards = self._assign_songs(shard_bytes)
            counts = np.cumsum([len(places) for places in self.shards]).tolist()
            try:
                with console.bar("Packing", counts[-1] if counts else 0) as advance:
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
        return 1 + receipt.samples // self.recipe.sound.hop_length

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
        location: dict[int, tuple[int, int, int, bytes]] = {}
        for number, (places, shard) in enumerate(zip(self.shards, shards, strict=True)):
            first = 0
            for place, checksum in zip(places, shard.checksums, strict=True):
                count = self._frame_count(self.receipts[place])
                location[place] = (number, first, count, checksum)
                first += count
        songs = self.dataset.songs
        columns: dict[str, list[Any]] = defaultdict(list)
        own = dict.fromkeys(name for song in songs for name in song.extra)
        for place, (song, receipt) in enumerate(zip(songs, self.receipts, strict=True)):
            packed = place in location
            for name in ("id", "label", "artist", "split", "start", "end"):
                columns[name].append(getattr(song, name))
            columns["path"].append(os.path.abspath(song.path))
            for name in ("status", "reason", "message", "warnings"):
                columns[name].append(getattr(receipt, name))
            where = location.get(place, (None,) * 4)
            for name, value in zip(("shard", "first", "frames", "checksum"), where, strict=True):
                columns[name].append(value)
            for name in ("samples", "level_db"):
                columns[name].append(getattr(receipt, name) if packed else None)
            columns["content"].append(Path(receipt.key).stem.partition("-")[0] or None)
            for name in own:
                columns[own_name(name)].append(song.extra.get(name))
        return columns

    def report(self, console: Console) -> None:
        """Say which songs were left out, and what is doubtful about the others."""
        for song, receipt in zip(self.dataset.songs, self.receipts, strict=True):
            if receipt.status == "failed":
                console.say(f"left out: {song.id}: {receipt.message}")
            for warning in receipt.warnings:
                console.say(f"warning: {song.id}: {warning}")
        if all(song.label for song in self.dataset.songs):
            for remark in remarks(PackedDataset.open(self.folder).load(self.recipe)):
                console.say(remark)


def verify_packed(folder: Path, console: Console) -> int:
    """Read every song of a packed collection and return how many there are.

    Raises
    ------
    SongTableError
        The damaged songs, with their shards.
    """
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
