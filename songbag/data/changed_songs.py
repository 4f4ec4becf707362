"""Songs that are trained on with their sound changed, too: augmentation before the encoder.

A model that has learnt from songs by telephone, too loud and amid applause knows them so. Copies
are decoded and encoded once and cached, as songs are; they are only trained on.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress, islice
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
from songbag.settings import Excerpt, Recipe, Sound, Windows

COPY_SECONDS = 20.0  # of a song's middle: more was not better
TRAINED_ON = ("telephone", "6 dB louder, clipped", "applause")


@dataclass(frozen=True)
class AugmentedDataset(BagDataset):
    """Songs; `augmented` has copies of them, too, with their sound changed.

    ``everything`` holds ``size`` songs, then the copies, each with the id of its song.
    """

    everything: BagDataset
    size: int
    origin: str
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()

    @property
    def songs(self) -> Sequence[Song]:  # type: ignore[override]
        return self.everything.songs[: self.size]

    @property
    def augmented(self) -> BagDataset:
        return self.everything

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.everything[: self.size][index]
        return self.everything[range(self.size)[index]]

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.everything[: self.size])

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> Self:
        return self

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        return chain((BagInput(bag.song, bag) for bag in self), self.failures)

    def everyone(self) -> Sequence[Song]:
        return [*self.songs, *(failure.song for failure in self.failures)]

    def grouped_by(self, column: str) -> Self:
        return replace(self, everything=self.everything.grouped_by(column))

    def subset(self, selected: Selection) -> Self:
        ids = {song.id for song in compress(self.songs, selected)}
        everything = self.everything.subset([song.id in ids for song in self.everything.songs])
        return replace(self, everything=everything, size=len(ids), failures=())

    def cut(self, sound: Sound, windows: Windows) -> Self:
        return replace(self, everything=self.everything.cut(sound, windows))

    def without_features(self) -> Iterable[Bag]:
        return islice(self.everything.without_features(), self.size)

    def checksums(self) -> Iterable[bytes]:
        return islice(self.everything.checksums(), self.size)

    def shards(self) -> NDArray[np.int64]:
        return self.everything.shards()[: self.size]


def with_copies(
    songs: SongDataset, own: BagDataset, recipe: Recipe, console: Console
) -> BagDataset:
    """Return songs of audio files, loaded as ``own``, with as many copies as the recipe wants.

    Which change a copy has follows from the id of its song, so it is in the cache the next time.
    Songs of other datasets are returned as they are, and that is said.
    """
    if not recipe.augment:
        return own
    if not isinstance(songs, AudioDataset):
        console.say("trained without changed copies of songs: their audio files are not at hand")
        return own
    draws = [hashlib.blake2b(song.id.encode(), digest_size=1).digest()[0] for song in own.songs]
    part = recipe.excerpt
    if part.seconds is None:
        part = Excerpt(max(COPY_SECONDS, recipe.windows.seconds), "middle")
    copies = [
        replace(song, change=TRAINED_ON[(number + turn) % len(TRAINED_ON)], excerpt=part)
        for turn in range(recipe.augment)
        for song, number in zip(own.songs, draws, strict=True)
    ]
    copied = "a copy" if recipe.augment == 1 else f"{recipe.augment} copies"
    console.say(
        f"to train on, too: {copied} of each song by telephone, too loud or amid applause, made "
        "here; your files stay as they are"
    )
    everything = songs.with_songs([*own.songs, *copies]).load(recipe, console.track)
    size = sum(not song.change for song in everything.songs)
    if lost := everything.failures:
        count, one = len(lost), lost[0]
        console.say(f"{count} copies could not be read, such as of {one.song.id}: {one.message}")
    return AugmentedDataset(everything, size, own.origin, own.failures, own.remarks)
