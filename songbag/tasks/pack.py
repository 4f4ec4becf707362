"""Songs to a packed collection: extract what the cache lacks, then write shards and manifest.

What a shard is called says what is in it, and a shard takes its name when it is whole. So
a stopped run goes on behind the last shard, and ends with the bytes of an undisturbed one.
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
from songbag.data.dataset import bag_of
from songbag.data.packed import Packed
from songbag.data.packed_manifest import (
    FORMAT,
    SHARD,
    Collection,
    Entry,
    own_name,
    require_arrow,
    write_collection,
    write_manifest,
)
from songbag.data.shards import (
    DamagedShardError,
    Frames,
    Shard,
    frames_checksum,
    read_shard,
    write_shard,
)
from songbag.data.song_table import Song, SongTable, require_files
from songbag.data.unpacking import hear_packed
from songbag.errors import AudioError, SongTableError
from songbag.settings import Limits, Recipe
from songbag.storage.files import remove_stale_temporaries
from songbag.tasks.check import remarks

SHARD_BYTES = 1 << 28
_SHARD_NAME = re.compile(r"frames-\d{5}-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class Packing:
    """What was packed: the folder, its shards and bytes, and songs that failed."""

    folder: Path
    songs: int
    shards: int
    bytes: int
    failed: int


def pack_songs(
    table: SongTable,
    recipe: Recipe,
    folder: Path,
    cache: Path,
    console: Console,
    limits: Limits | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    verify: bool = False,
) -> Packing:
    """Write the songs of a table, as a recipe hears them, into a folder of shards.

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
    require_arrow()
    require_files(table)
    for remark in table.remarks:
        console.say(remark)
    limits = limits or Limits()
    sources = [song.source(recipe.excerpt) for song in table.songs]
    made = extract_all(sources, recipe.sound, cache, limits, workers)
    receipts = list(console.track(made, len(sources)))
    work = _Work(table.songs, receipts, recipe, folder, cache, limits, verify)
    folder.mkdir(parents=True, exist_ok=True)
    shards = work.write(console, shard_bytes)
    names = {shard.path.name for shard in shards}
    manifest = write_manifest(folder, _columns(table.songs, receipts, work.places, shards, recipe))
    entries = tuple(Entry(file=s.path.name, rows=s.rows, checksum=s.checksum) for s in shards)
    about = Collection(
        format=FORMAT,
        songbag=version("songbag"),
        recipe=recipe.name,
        sound=recipe.sound,
        excerpt=recipe.excerpt,
        multilabel=table.multilabel,
        songs=len(table.songs),
        manifest=manifest,
        shards=entries,
    )
    write_collection(folder, about)
    _tidy(folder, names)
    _report(table.songs, receipts, folder, recipe, console)
    total = sum(shard.path.stat().st_size for shard in shards)
    failed = sum(receipt.status == "failed" for receipt in receipts)
    return Packing(folder, len(receipts) - failed, len(shards), total, failed)


@dataclass
class _Work:
    songs: Sequence[Song]
    receipts: list[Receipt]
    recipe: Recipe
    folder: Path
    cache: Path
    limits: Limits
    verify: bool

    def write(self, console: Console, shard_bytes: int) -> list[Shard]:
        """Write what is not there yet; ``places`` then says which songs are in which shard."""
        while True:
            self.places = _dealt(self.receipts, self.recipe, shard_bytes)
            total = sum(map(len, self.places))
            try:
                with console.bar("Packing", total) as advance:
                    shards = []
                    for number, places in enumerate(self.places):
                        shards.append(self._shard(number, places))
                        advance(sum(map(len, self.places[: number + 1])))
                    return shards
            except AudioError:  # a song has gone since; its receipt says so now
                continue

    def _shard(self, number: int, places: Sequence[int]) -> Shard:
        about = [(self.receipts[place].key, self.receipts[place].samples) for place in places]
        key = hashlib.blake2b(msgspec.json.encode(about), digest_size=8).hexdigest()
        path = self.folder / SHARD.format(number, key)
        counts = [_frames(self.receipts[place], self.recipe) for place in places]
        try:
            found = read_shard(path)
            if not self.verify or _intact(found, counts):
                return found
        except DamagedShardError:
            pass  # not there yet, or cut short by something else than us
        return write_shard(path, counts, self.receipts[places[0]].bands, self._songs(places))

    def _songs(self, places: Sequence[int]) -> Iterator[Frames]:
        for place in places:
            song, receipt = self.songs[place], self.receipts[place]
            source = song.source(self.recipe.excerpt)
            try:
                bag = bag_of(song, source, receipt, self.recipe, self.cache, self.limits)
                if bag.samples != receipt.samples:
                    raise AudioError("changed", f"{song.path}: changed while it was packed")
            except AudioError as error:
                gone = Receipt(status="failed", reason=error.reason, message=str(error))
                self.receipts[place] = gone
                raise
            yield bag.features


def _frames(receipt: Receipt, recipe: Recipe) -> int:
    return 1 + receipt.samples // recipe.sound.hop_length


def _dealt(receipts: Sequence[Receipt], recipe: Recipe, most: int) -> list[list[int]]:
    """Return the places of the songs of each shard: in order, as many as fit."""
    shards: list[list[int]] = []
    room = 0
    for place, receipt in enumerate(receipts):
        if receipt.status == "failed":
            continue
        size = 4 * receipt.bands * _frames(receipt, recipe)
        if size > room:
            shards.append([])
            room = most
        shards[-1].append(place)
        room -= size
    return shards


def _intact(shard: Shard, counts: Sequence[int]) -> bool:
    frames, ends = shard.map(), np.cumsum(counts).tolist()
    pieces = zip(counts, ends, shard.checksums, strict=True)
    return all(frames_checksum(frames[end - n : end]) == one for n, end, one in pieces)


def _columns(
    songs: Sequence[Song],
    receipts: Sequence[Receipt],
    dealt: Sequence[Sequence[int]],
    shards: Sequence[Shard],
    recipe: Recipe,
) -> dict[str, list[Any]]:
    """Return the manifest's columns: a song that failed has a reason and no frames."""
    lying: dict[int, tuple[int, int, int, bytes]] = {}
    for number, (places, shard) in enumerate(zip(dealt, shards, strict=True)):
        first = 0
        for place, checksum in zip(places, shard.checksums, strict=True):
            count = _frames(receipts[place], recipe)
            lying[place] = (number, first, count, checksum)
            first += count
    columns: dict[str, list[Any]] = defaultdict(list)
    own = dict.fromkeys(name for song in songs for name in song.extra)
    for place, (song, receipt) in enumerate(zip(songs, receipts, strict=True)):
        ok = place in lying
        for name in ("id", "label", "artist", "split", "start", "end"):
            columns[name].append(getattr(song, name))
        columns["path"].append(os.path.abspath(song.path))
        for name in ("status", "reason", "message", "warnings"):
            columns[name].append(getattr(receipt, name))
        where = lying.get(place, (None,) * 4)
        for name, value in zip(("shard", "first", "frames", "checksum"), where, strict=True):
            columns[name].append(value)
        for name in ("samples", "level_db"):
            columns[name].append(getattr(receipt, name) if ok else None)
        columns["content"].append(Path(receipt.key).stem.partition("-")[0] or None)
        for name in own:
            columns[own_name(name)].append(song.extra.get(name))
    return columns


def _tidy(folder: Path, names: set[str]) -> None:
    """Remove shards of an earlier packing into the same folder."""
    remove_stale_temporaries(folder)
    for file in folder.iterdir():
        if _SHARD_NAME.fullmatch(file.name) and file.name not in names:
            file.unlink()


def _report(
    songs: Sequence[Song],
    receipts: Sequence[Receipt],
    folder: Path,
    recipe: Recipe,
    console: Console,
) -> None:
    for song, receipt in zip(songs, receipts, strict=True):
        if receipt.status == "failed":
            console.say(f"left out: {song.id}: {receipt.message}")
        for warning in receipt.warnings:
            console.say(f"warning: {song.id}: {warning}")
    if all(song.label for song in songs):
        for remark in remarks(hear_packed(folder, recipe)):
            console.say(remark)


def verify_packed(folder: Path, console: Console) -> int:
    """Read every song of a packed collection and return how many there are.

    Raises
    ------
    SongTableError
        The damaged songs, with their shards.
    """
    packed, damaged = Packed(folder), list[str]()
    rows = packed.heard()
    for row in console.track(rows.tolist(), len(rows), "Verifying"):
        try:
            packed.frames(row)
        except SongTableError as error:
            damaged.append(str(error))
    if damaged:
        shown = "\n".join(damaged[:8])
        raise SongTableError(f"{folder}: {len(damaged)} of {len(rows)} songs are damaged\n{shown}")
    return len(rows)
