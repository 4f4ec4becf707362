"""The dataset of songs that every task takes, whatever the songs came from.

Four makers give one: audio files (`songbag.data.audio_dataset`), arrays of samples
(`songbag.data.waveform_dataset`), tables and arrays of windows (`songbag.data.window_table`), and
packed collections (`songbag.data.packed`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from songbag.audio.features import Frames
from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.packed_files import frames_checksum
from songbag.data.song import Song, grouped_by, label_names
from songbag.errors import AudioError, SongTableError
from songbag.metrics.label_kinds import LabelKind, kind_of
from songbag.parallel.pool import Workers
from songbag.settings import Recipe, Sound, Windows

COPY_WEIGHT = 0.25  # of a song's own
Selection: TypeAlias = Sequence[bool] | NDArray[np.bool_]
T = TypeVar("T")


class Progress(Protocol):
    """Passes items on and shows how many of ``total`` are done (see `Console.track`)."""

    def __call__(self, items: Iterable[T], total: int) -> Iterable[T]: ...


def no_progress(items: Iterable[T], total: int) -> Iterable[T]:
    """Return the items as they are, showing nothing."""
    return items


@dataclass(frozen=True)
class Recording:
    """Facts about the recording that reading a song gave (see `Bag`)."""

    samples: int
    level_db: float | None = None
    warnings: tuple[str, ...] = ()


class SongInput(Protocol):
    """One song as prediction reads it: alone, and perhaps in another process."""

    @property
    def song(self) -> Song: ...

    @property
    def windows(self) -> Bag | None:
        """The bag of a song that comes as windows, which has no frames."""

    @property
    def decodes(self) -> bool:
        """Whether reading it means decoding a file."""

    def frames(self, sound: Sound) -> tuple[Iterator[Frames], Callable[[], Recording]]:
        """Return blocks of rows (n, values), and a function for when they are exhausted.

        Rows are frames, or the cells that the sound's encoder makes of them. Where the song cannot
        be read, this or the blocks raise `AudioError`.
        """


@dataclass(frozen=True)
class BagInput:
    """A song whose bag is at hand (see `SongInput`)."""

    song: Song
    bag: Bag
    decodes: bool = False

    @property
    def windows(self) -> Bag | None:
        """The bag, where it holds windows."""
        return self.bag if self.bag.starts is None else None

    def frames(self, sound: Sound) -> tuple[Iterator[Frames], Callable[[], Recording]]:
        """Return the bag's frames."""
        bag = self.bag
        return iter([bag.features]), lambda: Recording(bag.samples, bag.level_db, bag.warnings)


@dataclass(frozen=True)
class Failure:
    """A song that could not be read, with a short machine-readable reason and a sentence.

    As a `SongInput` it fails again.
    """

    song: Song
    reason: str
    message: str
    windows: None = None
    decodes: bool = False

    def frames(self, sound: Sound) -> tuple[Iterator[Frames], Callable[[], Recording]]:
        """Raise the error that reading the song gave."""
        raise AudioError(self.reason, self.message)


class SongDataset(ABC):
    """Songs with labels and groups; features come when a recipe asks for them."""

    songs: Sequence[Song]  # those that can be read, as far as that is known
    origin: str  # where they come from, for messages
    failures: Sequence[Failure]  # songs that could not be read
    remarks: Sequence[str]  # what a user should know about the table or folder
    workers: Workers = 1  # who reads the songs; 1: this process
    checked: bool = True  # no recordings to report on, or it was done when they were packed

    @abstractmethod
    def load(self, recipe: Recipe, progress: Progress = no_progress) -> "BagDataset":
        """Return the songs with a recipe's features, or refuse features of other settings."""

    @abstractmethod
    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        """Return one input for prediction a song, in order, failed songs too."""

    def everyone(self) -> Sequence[Song]:
        """Return all songs in the order of `inputs`, failed ones too."""
        return self.songs

    def with_songs(self, songs: Sequence[Song]) -> Self:
        """Return the same recordings with other statements about the songs."""
        raise SongTableError(
            f"{self.origin}: its labels are fixed. Change them where they come from."
        )

    def subset(self, selected: Selection) -> Self:
        """Return the selected songs, without the failed ones."""
        return self.with_songs(list(compress(self.songs, selected)))

    @abstractmethod
    def grouped_by(self, column: str) -> Self:
        """Return the same songs, grouped by a column instead of the artist."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, sorted: the order of every probability column."""
        return tuple(label_names(self.songs))

    @property
    def multilabel(self) -> bool:
        """Whether a song may have several labels."""
        return any(song.multilabel for song in self.songs)

    @property
    def kind(self) -> LabelKind:
        """How many labels a song may have."""
        return kind_of(self.multilabel)


class BagDataset(SongDataset, Sequence[Bag]):
    """A dataset whose features are at hand: a sequence of one bag a song.

    `MemoryDataset` holds them; others map them from files, or change what another one has.
    """

    @property
    def augmented(self) -> "BagDataset":
        """The songs, and after them copies with their sound changed, where there are any."""
        return self

    @abstractmethod
    def subset(self, selected: Selection) -> Self:
        """Return the selected songs, without the failed ones."""

    @abstractmethod
    def cut(self, sound: Sound, windows: Windows) -> Self:
        """Return the songs with window starts by other settings (see `window_starts`)."""

    @abstractmethod
    def without_features(self) -> Iterable[Bag]:
        """Return bags whose features need not be read; their shape says nothing."""

    @abstractmethod
    def checksums(self) -> Iterable[bytes]:
        """Return a checksum of each song's features."""

    @abstractmethod
    def shards(self) -> NDArray[np.int64]:
        """Return the number of the file in which each song's features lie."""


def trust(bags: Sequence[Bag]) -> NDArray[np.float64]:
    """Return how much each bag counts in training, (songs,): 1, or less.

    Down to a half where only a share of its sound was labelled; a copy with its sound changed
    counts `COPY_WEIGHT` times as much.
    """
    shares = np.array([(1 + bag.labelled_share) / 2 for bag in _facts(bags)])
    return shares * np.where(as_they_are(bags), 1, COPY_WEIGHT)


def as_they_are(bags: Sequence[Bag]) -> NDArray[np.bool_]:
    """Return which bags are songs as they are, (songs,), and not copies with another sound."""
    return np.array([not bag.song.change for bag in _facts(bags)])


def _facts(bags: Sequence[Bag]) -> Iterable[Bag]:
    return bags.without_features() if isinstance(bags, BagDataset) else bags


@dataclass(frozen=True)
class MemoryDataset(BagDataset):
    """Bags in memory: songs whose frames were read, or windows of a table."""

    bags: Sequence[Bag]
    origin: str = "the songs"
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()
    columns: tuple[str, ...] = ()  # names of a table's features, where they are known
    songs: Sequence[Song] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "songs", [bag.song for bag in self.bags])

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, bags=self.bags[index], failures=())
        return self.bags[index]

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.bags)

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> "MemoryDataset":
        return self

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        """Return one input a song, in order; failed songs last."""
        return [*(BagInput(bag.song, bag) for bag in self.bags), *self.failures]

    def everyone(self) -> Sequence[Song]:
        return [*self.songs, *(failure.song for failure in self.failures)]

    def subset(self, selected: Selection) -> Self:
        return replace(self, bags=list(compress(self.bags, selected)), failures=())

    def grouped_by(self, column: str) -> Self:
        return self.with_songs(grouped_by(self.songs, column))

    def with_songs(self, songs: Sequence[Song]) -> Self:
        """Return the same features with other statements about the songs."""
        bags = [replace(bag, song=song) for bag, song in zip(self.bags, songs, strict=True)]
        return replace(self, bags=bags)

    def cut(self, sound: Sound, windows: Windows) -> Self:
        bags = [
            bag
            if bag.starts is None
            else replace(bag, starts=window_starts(bag.samples, sound, windows))
            for bag in self.bags
        ]
        return replace(self, bags=bags)

    def without_features(self) -> Iterable[Bag]:
        return self.bags

    def checksums(self) -> Iterable[bytes]:
        return (frames_checksum(bag.features) for bag in self.bags)

    def shards(self) -> NDArray[np.int64]:
        return np.zeros(len(self.bags), dtype=np.int64)  # all are in memory
