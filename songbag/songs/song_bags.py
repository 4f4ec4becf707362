"""Songs with audio become bags: frames from the cache, starts by the window law."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from songbag.bags import Bag
from songbag.settings import Limits, Recipe, Sound, Windows
from songbag.songs.table import Song
from songbag.sound.cache import DamagedFramesError, Receipt, read_frames
from songbag.sound.extraction import extract, extract_all
from songbag.sound.source import Source
from songbag.sound.windows import window_starts

# Shows how far an iterable of known length is; the jobs pass a progress bar.
Track = Callable[[Iterable[Receipt], int], Iterable[Receipt]]


@dataclass(frozen=True)
class Heard:
    """Songs that became bags, and those that could not be heard.

    ``receipts`` has one entry a song, in order; ``bags`` only those with status "ok".
    """

    bags: list[Bag]
    songs: list[Song]
    receipts: list[Receipt]
    failed: list[tuple[Song, Receipt]]


def hear(
    songs: Sequence[Song],
    recipe: Recipe,
    cache: Path,
    limits: Limits,
    workers: int | None,
    track: Track,
) -> Heard:
    """Extract what the cache lacks and return bags, with starts on a grid of one frame."""
    sources = [song.source(recipe.excerpt) for song in songs]
    made = extract_all(sources, recipe.sound, cache, limits, workers)
    receipts = list(track(made, len(songs)))
    heard = Heard([], [], receipts, [])
    for song, source, receipt in zip(songs, sources, receipts, strict=True):
        if receipt.status == "failed":
            heard.failed.append((song, receipt))
            continue
        heard.songs.append(song)
        heard.bags.append(_bag(song, source, receipt, recipe, cache, limits))
    return heard


def _bag(
    song: Song, source: Source, receipt: Receipt, recipe: Recipe, cache: Path, limits: Limits
) -> Bag:
    try:
        frames, _ = read_frames(cache / receipt.key)
    except DamagedFramesError:
        receipt = extract(source, recipe.sound, cache, limits)
        frames, _ = read_frames(cache / receipt.key)
    return Bag(
        id=song.id,
        features=frames,
        starts=window_starts(receipt.samples, recipe.sound, recipe.windows),
        label=song.label,
        group=song.group,
        level_db=receipt.level_db,
        samples=receipt.samples,
    )


def cut_on_grid(bags: Sequence[Bag], sound: Sound, windows: Windows) -> list[Bag]:
    """Return the same bags with starts on the grid of a network's time stride."""
    return [bag.with_starts(window_starts(bag.samples, sound, windows)) for bag in bags]
