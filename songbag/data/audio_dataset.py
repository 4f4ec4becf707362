"""Audio files as a dataset: frames come from the cache, or are decoded when asked for."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import AudioReport, Source, local_source
from songbag.audio.cache import DamagedFramesError, Index, Receipt, content_of, read_frames
from songbag.audio.extract import decode_rows, extract, extract_all
from songbag.audio.features import Frames
from songbag.audio.windows import shortened, window_starts
from songbag.data.bag import Bag
from songbag.data.dataset import (
    BagDataset,
    BagInput,
    Failure,
    MemoryDataset,
    Progress,
    Recording,
    Selection,
    SongDataset,
    SongInput,
    no_progress,
)
from songbag.data.packed_files import frames_checksum
from songbag.data.song import Song, grouped_by
from songbag.data.song_table import require_files
from songbag.errors import AudioError, SongTableError
from songbag.parallel.pool import Workers
from songbag.settings import Limits, Recipe, Sound, Windows
from songbag.storage.remote import AnyPath, is_url

_SHOWN = 8  # failures named in an error
_END_SECONDS = 0.5  # by which a part may be drawn beyond the end of its recording
_MOST_BYTES = 1 << 29  # of frames that are read into memory at once


@dataclass(frozen=True)
class AudioDataset(SongDataset):
    """Songs in audio files, as a folder, a table or a list of paths names them.

    ``cache`` is the folder of extracted frames, ``limits`` what decoding one file may cost.
    """

    songs: Sequence[Song]
    origin: str
    cache: AnyPath
    limits: Limits = field(default_factory=Limits)
    workers: Workers = None
    remarks: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    checked: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)  # that were named (`find_columns`)
    strict: bool = False  # one song that cannot be read is an error

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> BagDataset:
        """Extract what the cache lacks, and return the songs, those that failed apart.

        Up to half a gigabyte of frames is read into memory; more stays in the cache.
        """
        if not any(is_url(song.path) or os.path.isfile(song.path) for song in self.songs):
            require_files(self.songs, self.origin)  # none: the table is of another place
        sources = self.sources(recipe)
        receipts = extract_all(sources, recipe.sound, self.cache, self.limits, self.workers)
        cached, failures = list[_Cached](), list[Failure]()
        finished = list(progress(receipts, len(self.songs)))
        for song, source, receipt in zip(self.songs, sources, finished, strict=True):
            if receipt.status == "ok":
                song = replace(song, content=content_of(receipt.key))
                cached.append(_Cached(song, source, receipt))
            else:
                failures.append(Failure(song, receipt.reason, receipt.message))
        if failures and self.strict:
            shown = "\n".join(f"  {one.song.id}: {one.message}" for one in failures[:_SHOWN])
            more = f"\n  and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
            count = len(failures)
            raise SongTableError(f"{self.origin}: {count} songs cannot be read\n{shown}{more}")
        remarks = [*self.remarks, *_end_remarks(cached, recipe)]
        songs = CachedDataset(cached, recipe, replace(self, remarks=remarks), failures)
        values = sum(one.receipt.samples // recipe.sound.step for one in cached)
        if 4 * values * recipe.sound.bands > _MOST_BYTES:
            return songs
        return songs.in_memory()

    def sources(self, recipe: Recipe) -> list[Source]:
        """Return what a training reads: parts of files are at least as long as a window.

        If most songs are parts of files, that is the window to which their lengths adapt the
        recipe (see `songbag.training.plan.adapt_recipe`).
        """
        windows = recipe.windows
        if recipe.adapt.short_windows:
            lengths = [np.inf if s.end is None else s.end - s.start for s in self.songs]
            windows = shortened(windows, float(np.median(lengths)))
        return [song.source(recipe.excerpt, windows.seconds) for song in self.songs]

    def inputs(self, recipe: Recipe) -> "Sequence[AudioInput]":
        """Return one input a song: its cached frames, else its file."""
        seconds = recipe.windows.seconds
        sources = [song.source(recipe.excerpt, seconds) for song in self.songs]
        receipts = Index(self.cache, recipe.sound).lookup(sources)
        return [
            AudioInput(song, source, receipt, self.cache, self.limits)
            for song, source, receipt in zip(self.songs, sources, receipts, strict=True)
        ]

    def grouped_by(self, column: str) -> Self:
        return self.with_songs(grouped_by(self.songs, column))

    def with_songs(self, songs: Sequence[Song]) -> Self:
        return replace(self, songs=songs)


@dataclass(frozen=True)
class AudioInput:
    """A song in an audio file (see `SongInput`), and what the cache knows of the file."""

    song: Song
    source: Source
    receipt: Receipt | None
    cache: AnyPath
    limits: Limits
    windows: None = None

    @property
    def decodes(self) -> bool:
        """Whether the cache does not hold its frames."""
        return self.receipt is None or self.receipt.status == "failed"

    def frames(self, sound: Sound) -> tuple[Iterator[Frames], Callable[[], Recording]]:
        """Return the cached frames; where there are none, decode the file and store nothing."""
        if self.receipt is not None and self.receipt.status == "ok":
            try:
                frames, receipt = read_frames(self.cache / self.receipt.key)
                recording = Recording(receipt.samples, receipt.level_db, receipt.warnings)
                return iter([frames]), lambda: recording
            except DamagedFramesError:
                pass  # decoded instead
        report = AudioReport()

        def decoded() -> Iterator[Frames]:
            with local_source(self.source, self.limits) as source:
                yield from decode_rows(source, sound, report, self.limits, self.cache)

        return decoded(), lambda: Recording(report.samples, report.level_db, report.warnings())


class _Cached(NamedTuple):
    """A song whose frames are in the cache."""

    song: Song
    source: Source
    receipt: Receipt


def _end_remarks(cached: Sequence[_Cached], recipe: Recipe) -> list[str]:
    """Return in words which songs state an end that lies behind that of their recording."""
    beyond = list[str]()
    for song, source, receipt in cached:
        end = source.start + receipt.samples / recipe.sound.sample_rate
        if song.end is not None and song.end - end > _END_SECONDS and not recipe.excerpt.seconds:
            beyond.append(f"{song.id} to {song.end:g} s, its recording ends at {end:.1f} s")
    if not beyond:
        return []
    more = f"; and {len(beyond) - 1} more" if len(beyond) > 1 else ""
    return [f"its stated end lies behind the recording's: {beyond[0]}{more}"]


@dataclass(frozen=True)
class CachedDataset(BagDataset):
    """Extracted songs whose frames are read from the cache each time they are asked for."""

    cached: Sequence[_Cached]
    recipe: Recipe
    origin_songs: AudioDataset
    failures: Sequence[Failure] = ()

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self.origin_songs.origin

    @property
    def remarks(self) -> Sequence[str]:  # type: ignore[override]
        return self.origin_songs.remarks

    @property
    def songs(self) -> Sequence[Song]:  # type: ignore[override]
        return [one.song for one in self.cached]

    def in_memory(self) -> MemoryDataset:
        """Return the same songs read; those that could not be, any more, apart."""
        bags, failures = list[Bag](), [*self.failures]
        for one in self.cached:
            try:
                bags.append(self._bag(one))
            except AudioError as error:
                failures.append(Failure(one.song, error.reason, str(error)))
        return MemoryDataset(bags, self.origin, failures, self.remarks)

    def __len__(self) -> int:
        return len(self.cached)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, cached=self.cached[index], failures=())
        return self._bag(self.cached[index])

    def __iter__(self) -> Iterator[Bag]:
        return map(self._bag, self.cached)

    def _bag(self, one: _Cached) -> Bag:
        at = self.origin_songs
        return read_bag(one.song, one.source, one.receipt, self.recipe, at.cache, at.limits)

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> Self:
        return self

    def inputs(self, recipe: Recipe) -> Iterable[SongInput]:
        return chain((BagInput(bag.song, bag) for bag in self), self.failures)

    def everyone(self) -> Sequence[Song]:
        return [*self.songs, *(failure.song for failure in self.failures)]

    def subset(self, selected: Selection) -> Self:
        return replace(self, cached=list(compress(self.cached, selected)), failures=())

    def grouped_by(self, column: str) -> Self:
        songs = grouped_by(self.songs, column)
        pairs = zip(self.cached, songs, strict=True)
        return replace(self, cached=[one._replace(song=song) for one, song in pairs])

    def cut(self, sound: Sound, windows: Windows) -> Self:
        return replace(self, recipe=msgspec.structs.replace(self.recipe, windows=windows))

    def without_features(self) -> Iterable[Bag]:
        nothing = np.zeros((0, self.recipe.sound.bands), dtype=np.float32)
        return (bag_of(one.song, one.receipt, nothing, self.recipe) for one in self.cached)

    def checksums(self) -> Iterable[bytes]:
        return (frames_checksum(bag.features) for bag in self)

    def shards(self) -> NDArray[np.int64]:
        return np.zeros(len(self.cached), dtype=np.int64)


def read_bag(
    song: Song, source: Source, receipt: Receipt, recipe: Recipe, cache: AnyPath, limits: Limits
) -> Bag:
    """Return the bag of an extracted song, extracting it again where the cache was damaged."""
    if receipt.status == "ok":
        try:
            frames, receipt = read_frames(cache / receipt.key)
        except DamagedFramesError:
            receipt = extract(source, recipe.sound, cache, limits)
            if receipt.status == "ok":
                frames, receipt = read_frames(cache / receipt.key)
    if receipt.status == "failed":
        raise AudioError(receipt.reason, receipt.message)
    return bag_of(song, receipt, frames, recipe)


def bag_of(song: Song, receipt: Receipt, frames: Frames, recipe: Recipe) -> Bag:
    """Return the bag of a song's frames."""
    return Bag(
        song=song,
        features=frames,
        starts=window_starts(receipt.samples, recipe.sound, recipe.windows),
        level_db=receipt.level_db,
        samples=receipt.samples,
        warnings=receipt.warnings,
        labelled_share=song.labelled_share(receipt.samples / recipe.sound.sample_rate),
    )
