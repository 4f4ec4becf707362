"""Songs with audio become bags: frames from the cache, starts by the window law."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from songbag.bags import Bag
from songbag.errors import AudioError
from songbag.remote import Place
from songbag.settings import Limits, Recipe, Sound, Windows
from songbag.songs.table import Song, SongTable
from songbag.sound.cache import DamagedFramesError, Receipt, read_frames
from songbag.sound.extraction import extract, extract_all
from songbag.sound.source import Source
from songbag.sound.windows import window_starts

# Shows how far an iterable of known length is; the jobs pass a progress bar.
Track = Callable[[Iterable[Receipt], int], Iterable[Receipt]]


@dataclass(frozen=True)
class SongBags:
    """Bags and what is known of their songs, in the same order.

    Attributes
    ----------
    bags : list of Bag
    songs : list of Song
    origin : str
        Where they come from, for messages.
    failed : list of (Song, str, str)
        Songs that could not be heard, with reason and message.
    """

    bags: list[Bag]
    songs: list[Song]
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
        pairs = [pair for pair, on in zip(zip(self.bags, self.songs), keep, strict=True) if on]
        return SongBags([bag for bag, _ in pairs], [song for _, song in pairs], self.origin)


def hear(
    table: SongTable,
    recipe: Recipe,
    cache: Place,
    limits: Limits,
    workers: int | None,
    track: Track,
) -> SongBags:
    """Extract what the cache lacks and return bags, with starts on a grid of one frame."""
    sources = [song.source(recipe.excerpt) for song in table.songs]
    made = extract_all(sources, recipe.sound, cache, limits, workers)
    heard = SongBags([], [], table.origin)
    receipts = list(track(made, len(table.songs)))
    for song, source, receipt in zip(table.songs, sources, receipts, strict=True):
        if receipt.status == "failed":
            heard.failed.append((song, receipt.reason, receipt.message))
            continue
        try:
            heard.bags.append(_bag(song, source, receipt, recipe, cache, limits))
            heard.songs.append(song)
        except AudioError as error:  # its frames were damaged, and it has gone since
            heard.failed.append((song, error.reason, str(error)))
    return heard


def _bag(
    song: Song, source: Source, receipt: Receipt, recipe: Recipe, cache: Place, limits: Limits
) -> Bag:
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


def cut_on_grid(bags: Sequence[Bag], sound: Sound, windows: Windows) -> list[Bag]:
    """Return the same bags with starts on the grid of a network's time stride."""
    return [
        bag if bag.starts is None else bag.with_starts(window_starts(bag.samples, sound, windows))
        for bag in bags
    ]
