"""Songs that are trained on with their sound changed, too: augmentation before the encoder.

A network that has heard a song over a telephone, too loud and amid applause knows it again. The
copies are heard once and cached, as songs are; they are only trained on.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.bag import Bag
from songbag.data.dataset import (
    BagDataset,
    BagInput,
    Failure,
    Progress,
    Selection,
    SongDataset,
    SongInput,
    no_progress,
)
from songbag.data.song import Song
from songbag.settings import Recipe, Sound, Windows

TRAINED_ON = ("telephone", "6 dB louder, clipped", "applause")


@dataclass(frozen=True)
class AugmentedDataset(BagDataset):
    """Songs, and copies of them with their sound changed, which `augmented` has and nothing else.

    ``heard`` holds ``size`` songs, then the copies, each with the id of its song.
    """

    heard: BagDataset
    size: int
    origin: str
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()

    @property
    def songs(self) -> Sequence[Song]:  # type: ignore[override]
        return self.heard.songs[: self.size]

    @property
    def augmented(self) -> BagDataset:
        return self.heard

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        return self.heard[: self.size][index]

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.heard[: self.size])

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> Self:
        return self

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        return [*(BagInput(bag.song, bag) for bag in self), *self.failures]

    def everyone(self) -> Sequence[Song]:
        return [*self.songs, *(failure.song for failure in self.failures)]

    def grouped_by(self, column: str) -> Self:
        return replace(self, heard=self.heard.grouped_by(column))

    def subset(self, selected: Selection) -> Self:
        kept = {song.id for song in compress(self.songs, selected)}
        heard = self.heard.subset([song.id in kept for song in self.heard.songs])
        return replace(self, heard=heard, size=len(kept), failures=())

    def cut(self, sound: Sound, windows: Windows) -> Self:
        return replace(self, heard=self.heard.cut(sound, windows))

    def without_features(self) -> Iterable[Bag]:
        return islice(self.heard.without_features(), self.size)

    def checksums(self) -> Iterable[bytes]:
        return islice(self.heard.checksums(), self.size)

    def shards(self) -> NDArray[np.int64]:
        return self.heard.shards()[: self.size]


def with_copies(
    songs: SongDataset, own: BagDataset, recipe: Recipe, console: Console
) -> BagDataset:
    """Return songs of audio files, loaded as ``own``, with as many copies as the recipe wants.

    Which change a copy has follows from the id of its song, so it is found in the cache again.
    Songs of other datasets are returned as they are, and that is said.
    """
    if not recipe.augment:
        return own
    if not isinstance(songs, AudioDataset):
        console.say("trained without changed copies of songs: their audio files are not at hand")
        return own
    copies = [
        replace(song, change=TRAINED_ON[(_number(song) + turn) % len(TRAINED_ON)])
        for turn in range(recipe.augment)
        for song in own.songs
    ]
    heard = songs.with_songs([*own.songs, *copies]).load(recipe, console.track)
    size = sum(not song.change for song in heard.songs)
    return AugmentedDataset(heard, size, own.origin, own.failures, own.remarks)


def _number(song: Song) -> int:
    return hashlib.blake2b(song.id.encode(), digest_size=1).digest()[0]
