"""Files to mono float32 samples, in blocks, at the rate that is asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soxr

from songbag.audio.audio_file import AudioReport as AudioReport, refuse_nothing
from songbag.audio.decode import Blocks, native_blocks
from songbag.audio.downmix import Samples as Samples, downmix
from songbag.settings import Limits

Native = Iterator[tuple[int, Samples]]  # blocks at a file's own rate (Hz), which may change

# What a folder is searched for. A table may name any file: the content decides.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".wma", ".mka"}
)


def read_blocks(
    path: str | Path,
    sample_rate: int,
    report: AudioReport,
    span: tuple[float, float | None] = (0.0, None),
    limits: Limits | None = None,
    watch: Callable[[Native], Native] | None = None,
) -> Iterator[Samples]:
    """Yield a file as mono blocks at ``sample_rate``.

    Parameters
    ----------
    path : path of one audio file
    sample_rate : int
        Hz of the blocks. Resampled with soxr HQ, which gives the same samples however
        the input is cut into blocks.
    report : AudioReport
        Filled while reading; complete once the iterator is exhausted.
    span : (start, end)
        Seconds of the file to give out; end None reads to its end. Everything before
        ``start`` is decoded and dropped, because seeking in damaged files is a guess.
    limits : Limits
        Decoding stops with an error beyond them.
    watch : callable
        Passes on the mono blocks before they are resampled, to look at them.

    Yields
    ------
    ndarray, shape (samples,), float32
        About [-1, 1]; louder only where the file is.

    Raises
    ------
    AudioError
        Missing, empty, not audio, too long, or nothing decoded. ``reason`` says which.
    """
    native = _cut(_mono(native_blocks(path, report, limits or Limits()), report), span, report)
    energy = 0.0
    for block in _resampled(watch(native) if watch else native, sample_rate):
        report.samples += len(block)
        energy += _energy(block)
        yield block
    refuse_nothing(path, span, report)
    report.level_db = 10 * float(np.log10(energy / report.samples + 1e-10))


def read_waveform(
    path: str | Path, sample_rate: int, span: tuple[float, float | None] = (0.0, None)
) -> tuple[Samples, AudioReport]:
    """Return a whole file as one mono waveform, and what was found in it."""
    report = AudioReport()
    blocks = list(read_blocks(path, sample_rate, report, span))
    return np.concatenate(blocks), report


def _energy(block: Samples) -> float:
    """Return the sum of squares; numpy adds pairwise, which single precision is enough for."""
    return float(np.add.reduce(np.square(block)))


def _mono(blocks: Blocks, report: AudioReport) -> Native:
    """Average the channels, make every sample finite."""
    for rate, channels in blocks:
        yield rate, downmix(channels, report)


def _cut(blocks: Native, span: tuple[float, float | None], report: AudioReport) -> Native:
    """Keep what lies between ``start`` and ``end``; stop decoding at ``end``."""
    start, end = span
    seconds = 0.0
    for rate, block in blocks:
        first = max(0, round((start - seconds) * rate))
        last = len(block) if end is None else min(len(block), round((end - seconds) * rate))
        if last > first:
            yield rate, block[first:last]
        seconds += len(block) / rate
        if end is not None and seconds >= end:
            report.stopped_early = True
            return


def _resampled(blocks: Native, sample_rate: int) -> Iterator[Samples]:
    """Resample, starting anew where a (concatenated) file changes its rate."""
    stream: soxr.ResampleStream | None = None
    current = 0
    nothing = np.zeros(0, dtype=np.float32)
    for rate, block in blocks:
        if rate != current:
            if stream is not None:
                yield stream.resample_chunk(nothing, last=True)
            current = rate
            same = rate == sample_rate
            stream = None if same else soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
        yield block if stream is None else stream.resample_chunk(block)
    if stream is not None:
        yield stream.resample_chunk(nothing, last=True)
