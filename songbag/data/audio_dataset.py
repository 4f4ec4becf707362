"""Audio files as a dataset: frames come from the cache, or are decoded when asked for."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from songbag.audio.audio_file import AudioReport, Source, local_source
from songbag.audio.cache import DamagedFramesError, Index, Receipt, read_frames
from songbag.audio.extract import extract, extract_all
from songbag.audio.features import Frames
from songbag.audio.sandbox import decode_in_sandbox
from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.dataset import (
    Failure,
    MemoryDataset,
    Progress,
    Recording,
    SongDataset,
    SongInput,
    no_progress,
)
from songbag.data.song import Song, grouped_by
from songbag.data.song_table import SongTable, require_files
from songbag.errors import AudioError
from songbag.parallel.pool import Workers
from songbag.settings import Limits, Recipe, Sound
from songbag.storage.remote import AnyPath


@dataclass(frozen=True)
class AudioDataset(SongDataset):
    """Songs in audio files, as a folder, a table or a list of paths names them.

    Attributes
    ----------
    songs : sequence of Song
    origin : str
    cache : path
        Folder of extracted frames.
    limits : Limits
        What decoding one file may cost.
    workers : int, engine or None
        Who decodes: so many processes, a cluster, or one process a core.
    remarks : sequence of str
    """

    songs: Sequence[Song]
    origin: str
    cache: AnyPath
    limits: Limits = field(default_factory=Limits)
    workers: Workers = None
    remarks: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    checked: bool = False

    @classmethod
    def of_table(
        cls, table: SongTable, cache: AnyPath, limits: Limits | None = None, workers: Workers = None
    ) -> "AudioDataset":
        """Return the songs of a table."""
        limits = limits or Limits()
        return cls(table.songs, table.origin, cache, limits, workers, tuple(table.remarks))

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> MemoryDataset:
        """Extract what the cache lacks and return bags in memory, songs that failed apart.

        Raises
        ------
        SongTableError
            Files are missing.
        """
        require_files(self.songs, self.origin)
        sources = [song.source(recipe.excerpt) for song in self.songs]
        receipts = extract_all(sources, recipe.sound, self.cache, self.limits, self.workers)
        bags, failures = list[Bag](), list[Failure]()
        finished = list(progress(receipts, len(self.songs)))
        for song, source, receipt in zip(self.songs, sources, finished, strict=True):
            try:
                bags.append(read_bag(song, source, receipt, recipe, self.cache, self.limits))
            except AudioError as error:
                failures.append(Failure(song, error.reason, str(error)))
        return MemoryDataset(bags, self.origin, failures, self.remarks)

    def inputs(self, recipe: Recipe) -> Sequence[SongInput]:
        """Return one input a song: its cached frames, else its file."""
        sources = [song.source(recipe.excerpt) for song in self.songs]
        receipts = Index(self.cache, recipe.sound).lookup(sources)
        return [
            AudioInput(song, source, receipt, self.cache, self.limits)
            for song, source, receipt in zip(self.songs, sources, receipts, strict=True)
        ]

    def everyone(self) -> Sequence[Song]:
        """Return all songs."""
        return self.songs

    def grouped_by(self, column: str) -> "AudioDataset":
        """Return the same songs, grouped by a column instead of the artist."""
        return replace(self, songs=grouped_by(self.songs, column))


@dataclass(frozen=True)
class AudioInput:
    """A song in an audio file (see `SongInput`).

    Attributes
    ----------
    receipt : Receipt or None
        What the cache knows of the file.
    """

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
        """Return the cached frames; where there are none, decode the file in a stream.

        Nothing is stored then, so a collection of any size needs no disk.
        """
        if self.receipt is not None and self.receipt.status == "ok":
            key = self.receipt.key
            try:  # joined as text where possible: pathlib takes as long as reading
                frames, receipt = read_frames(
                    os.path.join(self.cache, key)
                    if isinstance(self.cache, Path)
                    else self.cache / key
                )
                recording = Recording(receipt.samples, receipt.level_db, receipt.warnings)
                return iter([frames]), lambda: recording
            except DamagedFramesError:
                pass  # decoded instead
        report = AudioReport()

        def decoded() -> Iterator[Frames]:
            with local_source(self.source, self.limits) as source:
                yield from decode_in_sandbox(source, sound, report, self.limits)

        def recording_read() -> Recording:
            return Recording(report.samples, report.level_db, tuple(report.warnings()))

        return decoded(), recording_read


def read_bag(
    song: Song, source: Source, receipt: Receipt, recipe: Recipe, cache: AnyPath, limits: Limits
) -> Bag:
    """Return the bag of an extracted song, extracting it again where the cache was damaged.

    Raises
    ------
    AudioError
        The song could not be extracted, or its file cannot be read any more.
    """
    if receipt.status == "ok":
        try:
            frames, receipt = read_frames(cache / receipt.key)
        except DamagedFramesError:
            receipt = extract(source, recipe.sound, cache, limits)
            if receipt.status == "ok":
                frames, receipt = read_frames(cache / receipt.key)
    if receipt.status == "failed":
        raise AudioError(receipt.reason, receipt.message)
    return Bag(
        song=song,
        features=frames,
        starts=window_starts(receipt.samples, recipe.sound, recipe.windows),
        level_db=receipt.level_db,
        samples=receipt.samples,
        warnings=receipt.warnings,
    )
