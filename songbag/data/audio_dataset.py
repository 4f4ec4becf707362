"""Audio files as a dataset: frames come from the cache, or are decoded when asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from songbag.audio.audio_file import AudioReport, Source, local_source
from songbag.audio.cache import DamagedFramesError, Index, Receipt, read_frames
from songbag.audio.extract import decode_rows, extract, extract_all
from songbag.audio.features import Frames
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
from songbag.data.song_table import require_files
from songbag.errors import AudioError
from songbag.parallel.pool import Workers
from songbag.settings import Limits, Recipe, Sound
from songbag.storage.remote import AnyPath


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

    def load(self, recipe: Recipe, progress: Progress = no_progress) -> MemoryDataset:
        """Extract what the cache lacks and return bags in memory, songs that failed apart."""
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

    def grouped_by(self, column: str) -> Self:
        return replace(self, songs=grouped_by(self.songs, column))


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

        return decoded(), lambda: Recording(
            report.samples, report.level_db, tuple(report.warnings())
        )


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
    return Bag(
        song=song,
        features=frames,
        starts=window_starts(receipt.samples, recipe.sound, recipe.windows),
        level_db=receipt.level_db,
        samples=receipt.samples,
        warnings=receipt.warnings,
    )
