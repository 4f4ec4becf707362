"""Songs with audio become bags: frames from the cache, starts by the window law."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from songbag.audio.cache import DamagedFramesError, Receipt, read_frames
from songbag.audio.extract import extract, extract_all
from songbag.audio.source import Source
from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.packed import PackedBags, PackedSongs
from songbag.data.shards import frames_checksum
from songbag.data.song_table import Song, SongTable, grouped_by
from songbag.errors import AudioError
from songbag.settings import Limits, Recipe, Sound, Windows
from songbag.storage.remote import AnyPath

# Shows how far an iterable of known length is; the jobs pass a progress bar.
Track = Callable[[Iterable[Receipt], int], Iterable[Receipt]]


@dataclass(frozen=True)
class SongBags:
    """Bags and what is known of their songs, in the same order.

    Attributes
    ----------
    bags : sequence of Bag
        A list, or bags that are read from a packed collection when they are asked for.
    songs : sequence of Song
    origin : str
        Where they come from, for messages.
    failed : list of (Song, str, str)
        Songs that could not be heard, with reason and message.
    """

    bags: Sequence[Bag]
    songs: Sequence[Song]
    origin: str
    failed: list[tuple[Song, str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.bags)

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.bags)

    def __getitem__(self, index: int) -> Bag:
        return self.bags[index]

    def table(self) -> SongTable:
        """Return the songs that were heard."""
        return SongTable(self.songs, self.origin)

    def part(self, keep: Sequence[bool]) -> "SongBags":
        """Return the songs marked in ``keep``, without the failed ones."""
        if isinstance(self.bags, PackedBags) and isinstance(self.songs, PackedSongs):
            places = np.flatnonzero(keep)
            return SongBags(self.bags.take(places), self.songs.take(places), self.origin)
        return SongBags(chosen(self.bags, keep), list(compress(self.songs, keep)), self.origin)

    def grouped_by(self, column: str) -> "SongBags":
        """Return the same songs, grouped by a column instead of the artist."""
        if isinstance(self.songs, PackedSongs):
            return replace(self, songs=self.songs.grouped_by(column))
        return replace(self, songs=grouped_by(self.songs, column))


def hear(
    table: SongTable,
    recipe: Recipe,
    cache: AnyPath,
    limits: Limits,
    workers: int | None,
    track: Track,
) -> SongBags:
    """Extract what the cache lacks and return bags, with starts on a grid of one frame."""
    sources = [song.source(recipe.excerpt) for song in table.songs]
    made = extract_all(sources, recipe.sound, cache, limits, workers)
    bags, songs, failed = list[Bag](), list[Song](), list[tuple[Song, str, str]]()
    receipts = list(track(made, len(table.songs)))
    for song, source, receipt in zip(table.songs, sources, receipts, strict=True):
        if receipt.status == "failed":
            failed.append((song, receipt.reason, receipt.message))
            continue
        try:
            bags.append(bag_of(song, source, receipt, recipe, cache, limits))
            songs.append(song)
        except AudioError as error:  # its frames were damaged, and it has gone since
            failed.append((song, error.reason, str(error)))
    return SongBags(bags, songs, table.origin, failed)


def bag_of(
    song: Song, source: Source, receipt: Receipt, recipe: Recipe, cache: AnyPath, limits: Limits
) -> Bag:
    """Return the bag of an extracted song, extracting it again where the cache was damaged.

    Raises
    ------
    AudioError
        It was, and the file cannot be heard any more.
    """
    try:
        frames, receipt = read_frames(cache / receipt.key)
    except DamagedFramesError:
        receipt = extract(source, recipe.sound, cache, limits)
        if receipt.status == "failed":
            raise AudioError(receipt.reason, receipt.message) from None
        frames, receipt = read_frames(cache / receipt.key)
    return Bag(
        id=song.id,
        features=frames,
        starts=window_starts(receipt.samples, recipe.sound, recipe.windows),
        label=song.label,
        group=song.group,
        level_db=receipt.level_db,
        samples=receipt.samples,
        warnings=receipt.warnings,
    )


def chosen(bags: Sequence[Bag], keep: Sequence[bool] | NDArray[np.bool_]) -> Sequence[Bag]:
    """Return the bags marked in ``keep``."""
    if isinstance(bags, PackedBags):
        return bags.take(np.flatnonzero(keep))
    return list(compress(bags, keep))


def bare(bags: Sequence[Bag]) -> Iterable[Bag]:
    """Return bags for all that is known of them but features, which stay where they are."""
    return bags.bare() if isinstance(bags, PackedBags) else bags


def checksums(bags: Sequence[Bag]) -> Iterable[bytes]:
    """Return a checksum of the features of each bag."""
    if isinstance(bags, PackedBags):
        return bags.checksums()
    return (frames_checksum(bag.features) for bag in bags)


def shards_of(bags: Sequence[Bag]) -> NDArray[np.int64]:
    """Return the shard in which each bag lies: all in one, where they are in memory."""
    if isinstance(bags, PackedBags):
        return bags.packed.numbers("shard")[bags.rows].astype(np.int64)
    return np.zeros(len(bags), dtype=np.int64)


def cut_on_grid(bags: Sequence[Bag], sound: Sound, windows: Windows) -> Sequence[Bag]:
    """Return the same bags with starts on the grid of a network's time stride."""
    if isinstance(bags, PackedBags):
        return replace(bags, windows=windows)
    return [
        bag if bag.starts is None else bag.with_starts(window_starts(bag.samples, sound, windows))
        for bag in bags
    ]
