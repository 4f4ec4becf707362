"""Read audio files as mono float32 samples, block by block and at any rate, and write them."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from songbag.audio.audio_file import AudioReport, Source, refuse_nothing
from songbag.audio.decode import Blocks, Channels, native_blocks
from songbag.audio.meter import Meter
from songbag.errors import AudioError
from songbag.settings import Limits

Samples = NDArray[np.float32]
Waveform: TypeAlias = tuple[Any, int]  # samples, and how many there are a second
Native = Iterator[tuple[int, Samples]]  # blocks at a file's own rate (Hz), which may change

_COUNTING_RATE = 8000  # Hz at which a file is decoded to learn its length
_LOUDEST = 100.0  # 40 dB above full scale: no recording is louder
MOST_CHANNELS = 32  # of an array of samples

# --- reading ---


def read_blocks(
    path: str | Path,
    sample_rate: int,
    report: AudioReport,
    span: tuple[float, float | None] = (0.0, None),
    limits: Limits | None = None,
    watch: Callable[[Native], Native] | None = None,
) -> Iterator[Samples]:
    """Yield an audio file as mono blocks (samples,), float32, about [-1, 1], at ``sample_rate`` Hz.

    Parameters
    ----------
    path, sample_rate
        Resampled with soxr HQ: the same samples however the input is cut into blocks.
    report : AudioReport
        Filled while reading; complete once the iterator is exhausted.
    span : (start, end)
        Seconds to return; end None reads to the end of the file. What is before ``start`` is
        decoded and dropped, because seeking in damaged files is a guess.
    watch : callable
        Passes on the mono blocks before they are resampled, to measure them.

    Raises
    ------
    AudioError
        Missing, empty, not audio, beyond the limits, or nothing decoded. ``reason`` says which.
    """
    decoded = _cut(native_blocks(path, report, limits or Limits()), span, report)
    meter, energy = Meter(), 0.0
    native = _mix(decoded, meter, report)
    for block in _resample(watch(native) if watch else native, sample_rate):
        report.samples += len(block)
        energy += float(np.add.reduce(np.square(block)))  # pairwise: float32 is exact enough
        yield block
    refuse_nothing(path, span, report)
    report.level_db = 10 * float(np.log10(energy / report.samples + 1e-10))
    report.rate, report.sound = sample_rate, meter.facts()


def excerpt_span(source: Source, limits: Limits) -> tuple[float, float | None]:
    """Return (start, end) in seconds of a source with its excerpt applied; end None: to the end.

    A middle excerpt needs the length of the sound. Headers may state a wrong one, so the file
    is decoded once to count its samples.
    """
    start, end, seconds = source.start, source.end, source.excerpt.seconds
    if seconds is None:
        return start, end
    if source.excerpt.place == "middle":
        report = AudioReport()
        for _ in read_blocks(source.path, _COUNTING_RATE, report, (start, end), limits):
            pass
        start += max(0.0, (report.samples / _COUNTING_RATE - seconds) / 2)
    return start, start + seconds if end is None else min(end, start + seconds)


def _mix(blocks: Blocks, meter: Meter, report: AudioReport) -> Native:
    """Yield the mean of the channels of every block, and measure them and their mean."""
    for rate, channels in blocks:
        planes, mono = downmix(channels, report)
        meter.add(rate, planes, mono)
        yield rate, mono


def downmix(channels: Channels, report: AudioReport) -> tuple[list[Samples], Samples]:
    """Return the channels, and their mean, (samples,) each, with full scale at 1.

    Samples that are not finite or absurdly loud become 0 and are counted in ``report``.
    """
    planes = [_scaled(channel) for channel in channels]
    mono = planes[0]
    if len(planes) > 1:  # channel by channel: three times as fast as the mean over an axis
        mono = mono + planes[1]  # not in place: it may be the decoder's memory
        for plane in planes[2:]:
            mono += plane
        mono /= np.float32(len(planes))
    if channels[0].dtype.kind in "iu":
        return planes, mono
    if max(mono.max(), -mono.min()) <= _LOUDEST:  # False for NaN too
        return planes, mono
    good = np.abs(mono) <= _LOUDEST
    report.bad_samples += int(np.count_nonzero(~good))
    zero = np.float32(0)
    return [np.where(good, plane, zero) for plane in planes], np.where(good, mono, zero)


def _scaled(channel: NDArray[np.generic]) -> Samples:
    """Return a channel with full scale at 1; the same array where that is so already."""
    scaled: Samples = channel.astype(np.float32, copy=False)
    if channel.dtype == np.uint8:
        return (scaled - np.float32(128)) / np.float32(128)
    if np.issubdtype(channel.dtype, np.integer):
        scaled *= np.float32(1 / (1 << (8 * channel.dtype.itemsize - 1)))  # power of two: exact
    return scaled


def _cut(blocks: Blocks, span: tuple[float, float | None], report: AudioReport) -> Blocks:
    """Yield what lies between ``start`` and ``end``; stop decoding at ``end``."""
    start, end = span
    seconds = 0.0
    for rate, channels in blocks:
        length = len(channels[0])
        first = max(0, round((start - seconds) * rate))
        last = length if end is None else min(length, round((end - seconds) * rate))
        if last > first:
            yield rate, [channel[first:last] for channel in channels]
        seconds += length / rate
        if end is not None and seconds >= end:
            report.stopped_early = True
            return


def _resample(blocks: Native, sample_rate: int) -> Iterator[Samples]:
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


# --- writing ---

_CODECS = {
    ".wav": ("pcm_s16le", "s16"),
    ".flac": ("flac", "s16"),
    ".opus": ("libopus", "flt"),
    ".webm": ("libopus", "flt"),
    ".mp3": ("libmp3lame", "fltp"),
    ".m4a": ("aac", "fltp"),
}


def write_waveform(
    path: str | Path, waveform: Samples, sample_rate: int, bit_rate: int = 128_000
) -> None:
    """Write a waveform, (samples,) or (channels, samples), of one or two channels, full scale at 1.

    The ending of the name chooses the format: .wav, .flac, .opus, .webm, .mp3 or .m4a. Opus is
    written at 48 kHz whatever the rate, as its format demands; ``bit_rate`` is of lossy formats.

    Examples
    --------
    >>> write_waveform("silence.flac", np.zeros((2, 22050), np.float32), 22050)
    """
    ending = Path(path).suffix.lower()
    if ending not in _CODECS:
        raise ValueError(f"cannot write '{ending}'; known: {', '.join(_CODECS)}")
    codec, sample_format = _CODECS[ending]
    planes = np.ascontiguousarray(np.atleast_2d(waveform), dtype=np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    rate = 48_000 if codec == "libopus" else sample_rate
    with av.open(str(path), "w") as container:
        options = {"compression_level": "7"} if codec == "libmp3lame" else {}  # in half the time
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        stream.codec_context.open()
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(sample_format, layout, rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def write_samples(path: Path, waveform: Waveform) -> None:
    """Write samples as a WAV file of float32.

    Raises
    ------
    AudioError
        The samples or their rate are none; ``reason`` says which.
    """
    samples, rate = waveform
    array = np.asarray(samples)
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2) or array.size == 0:
        raise AudioError("no_samples", f"an array of {array.dtype} and shape {array.shape}")
    if not (0 < rate < 1 << 31 and rate == int(rate)):
        raise AudioError("no_rate", f"a rate of {rate} Hz is none")
    planes = array[:, None] if array.ndim == 1 else array
    if planes.shape[1] > planes.shape[0]:
        planes = planes.T  # (channels, samples), as torchaudio gives them
    if planes.shape[1] > MOST_CHANNELS:
        raise AudioError(
            "no_samples", f"shape {array.shape} has more than {MOST_CHANNELS} channels"
        )
    if array.dtype.kind == "f":
        values = planes.astype(np.float32)
        if np.nanmax(np.abs(values), initial=0) > _LOUDEST:
            raise AudioError(
                "too_loud",
                f"floating-point samples reach {np.nanmax(np.abs(values)):g}, and full scale is 1. "
                "Divide integers that were made floats by their full scale.",
            )
    else:
        scale = 1 << (8 * array.dtype.itemsize - 1)
        middle = scale if array.dtype.kind == "u" else 0
        values = ((planes.astype(np.float64) - middle) / scale).astype(np.float32)
    data, width = values.tobytes(), 4 * planes.shape[1]
    about = struct.pack("<HHIIHH", 3, planes.shape[1], int(rate), int(rate) * width, width, 32)
    body = b"fmt " + struct.pack("<I", 16) + about + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body) + len(data)) + b"WAVE" + body + data)
