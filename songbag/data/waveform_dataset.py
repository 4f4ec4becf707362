"""Songs as arrays of samples: the way in for who has decoded them already.

A song is written as a WAV file of float32, without loss, and read as any other file: the same
downmix, resampling, warnings and cache, in which it is found by its content.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from songbag.audio.waveform import MOST_CHANNELS, Waveform, write_samples
from songbag.data.audio_dataset import AudioDataset
from songbag.data.bag import Bag
from songbag.data.dataset import Failure, MemoryDataset, Progress, SongDataset, no_progress
from songbag.data.song import Song, grouped_by
from songbag.errors import AudioError, SongTableError
from songbag.parallel.pool import Workers
from songbag.settings import Limits, Recipe
from songbag.storage.files import default_folder
from songbag.storage.remote import AnyPath

_AT_ONCE = 32  # songs that lie on the disk at the same time


@dataclass(frozen=True)
class WaveformDataset(SongDataset):
    """Songs whose samples are in memory, one `Waveform` a song (see `waveforms_of`)."""

    songs: Sequence[Song]
    waveforms: Sequence[Waveform]
    origin: str = "the waveforms"
    cache: AnyPath = field(default_factory=default_folder)
    limits: Limits = field(default_factory=Limits)
    workers: Workers = None
    remarks: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    checked: bool = False

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> MemoryDataset:
        """Return the songs with a recipe's features, those that could not be read apart."""
        bags, failures = list[Bag](), list[Failure]()
        for place in progress(range(len(self.songs)), len(self.songs)):
            if place % _AT_ONCE == 0:
                loaded = self._load(range(len(self.songs))[place : place + _AT_ONCE], recipe)
                bags += loaded.bags
                failures += loaded.failures
        return MemoryDataset(bags, self.origin, failures, self.remarks)

    def _load(self, places: Sequence[int], recipe: Recipe) -> MemoryDataset:
        songs, failures = list[Song](), list[Failure]()
        with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
            for place in places:
                song = replace(self.songs[place], path=str(Path(folder, f"{place}.wav")))
                try:
                    write_samples(Path(song.path), self.waveforms[place])
                except AudioError as error:
                    failures.append(Failure(song, error.reason, str(error)))
                else:
                    songs.append(song)
            if not songs:
                return MemoryDataset([], self.origin, failures)
            of_files = AudioDataset(songs, self.origin, self.cache, self.limits, self.workers)
            loaded = of_files.load(recipe)
            bags = [replace(bag, song=replace(bag.song, path="")) for bag in loaded]
        return MemoryDataset(bags, self.origin, [*failures, *loaded.failures])

    def inputs(self, recipe: Recipe) -> Sequence[Any]:
        """Return one input a song, in order."""
        loaded = self.load(recipe)
        by_id = {one.song.id: one for one in loaded.inputs(recipe)}
        return [by_id[song.id] for song in self.songs]

    def grouped_by(self, column: str) -> Self:
        return self.with_songs(grouped_by(self.songs, column))

    def with_songs(self, songs: Sequence[Song]) -> Self:
        return replace(self, songs=songs)


def waveforms_of(songs: Any, sample_rate: int | None) -> list[Waveform] | None:
    """Return a waveform a song, None where ``songs`` are no samples.

    Parameters
    ----------
    songs
        Pairs (samples, rate), or with ``sample_rate`` arrays of samples or a matrix (songs,
        samples). Samples are (samples,), or with channels (samples, channels) or (channels,
        samples); floats between -1 and 1, or integers of their type's whole range; arrays of
        NumPy, or tensors.

    Raises
    ------
    SongTableError
        Samples without a rate, or a rate beside pairs.

    Examples
    --------
    >>> y = np.zeros(22050, np.float32)
    >>> [rate for _, rate in waveforms_of([(y, 22050)], None)]
    [22050]
    >>> len(waveforms_of(np.zeros((3, 8000)), 8000))
    3
    """
    if hasattr(songs, "columns") or isinstance(songs, SongDataset | str | Path):
        return None
    if _is_array(songs):
        return _of_array(np.asarray(songs), sample_rate)
    if isinstance(songs, tuple) and len(songs) == 2 and _is_array(songs[0]):
        return [_pair(songs, sample_rate)]
    if songs is None:
        raise SongTableError("there are no songs: None was given.")
    rows = songs if isinstance(songs, list | tuple) else []
    _refuse_wrong_pairs(rows)
    if not rows or not all(_is_array(row) or _is_pair(row) for row in rows):
        return None
    if all(map(_is_pair, rows)):
        return [_pair(row, sample_rate) for row in rows]
    if sample_rate is None:
        raise _without_rate()
    return [(row, sample_rate) for row in rows]


def is_one_waveform(songs: Any) -> bool:
    """Return whether ``songs`` are the samples of one song, alone."""
    if not _is_array(songs):
        return _is_pair(songs)
    return np.ndim(songs) == 1 and np.asarray(songs).dtype.kind in "fiu"


def _of_array(array: NDArray[Any], rate: int | None) -> list[Waveform] | None:
    if array.dtype.kind not in "fiu":
        return None
    if rate is None:
        raise _without_rate()
    if array.ndim == 1:
        return [(array, rate)]
    if array.ndim != 2 or array.shape[1] <= MOST_CHANNELS < array.shape[0]:
        raise SongTableError(
            f"an array of shape {array.shape} is no matrix (songs, samples). One song with "
            "channels is a pair: [(samples, rate)]."
        )
    return [(row, rate) for row in array]


def _pair(pair: Any, rate: int | None) -> Waveform:
    if rate is not None and rate != pair[1]:
        raise SongTableError(
            f"a song comes with a rate of {pair[1]} Hz, and sample_rate says {rate}. Give one."
        )
    return pair[0], pair[1]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


def _is_pair(value: Any) -> bool:
    is_pair = isinstance(value, tuple | list) and len(value) == 2 and _is_array(value[0])
    return is_pair and np.ndim(value[0]) > 0 and np.ndim(value[1]) == 0


def _refuse_wrong_pairs(rows: Sequence[Any]) -> None:
    """Refuse pairs that are not (samples, rate)."""
    for row in rows:
        if isinstance(row, tuple) and len(row) == 2 and any(map(_is_array, row)):
            if not _is_array(row[0]):
                raise SongTableError("a pair is (samples, rate); here the rate comes first.")
            if not isinstance(row[1], int | float | np.integer | np.floating):
                raise SongTableError(
                    f"the rate of a pair (samples, rate) is {row[1]!r}, no number."
                )


def _without_rate() -> SongTableError:
    return SongTableError(
        "these are samples, and nobody says how many there are a second. Give sample_rate=, or "
        "pairs (samples, rate)."
    )
