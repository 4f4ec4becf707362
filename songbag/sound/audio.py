"""Files to mono float32 samples, in blocks, whatever is wrong with the file.

Decoding goes packet by packet so that one damaged packet costs that packet and not the
rest of the song (soundfile and librosa lose more than half of a healthy variable-rate
mp3 without an index header). Nothing but the named file is ever opened: playlists, URLs
and nested containers are refused by FFmpeg's own whitelists.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from songbag.errors import AudioError
from songbag.settings import Limits

Samples = NDArray[np.float32]
Native = Iterator[tuple[int, Samples]]  # blocks at a file's own rate (Hz), which may change

# What a folder is searched for. A table may name any file: the content decides.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".wma", ".mka"}
)
_CONTAINERS = "mp3,flac,ogg,wav,w64,aiff,mov,mp4,m4a,3gp,3g2,mj2,aac,matroska,webm,asf"
_NATIVE_BLOCK = 1 << 17  # samples gathered before downmixing: bounds both memory and overhead
_LOUDEST = 100.0  # 40 dB above full scale: nothing that was ever recorded is louder
_FULL_SCALE = 0.999  # of full scale: as loud as a 16-bit file gets


@dataclass
class AudioReport:
    """What was found while a file was read; filled by `read_blocks`.

    Attributes
    ----------
    codec, native_rate (Hz), channels
        As found in the stream.
    claimed_seconds : float or None
        Length by the file's header; None when the header does not say.
    decoded_seconds : float
        Length decoded from the file, before ``start`` and ``end`` are applied.
    packets, bad_packets, bad_samples : int
        Packets read, packets that did not decode, samples that were not finite or absurd.
    samples : int
        Samples given out, at the requested rate.
    level_db : float
        Root mean square level of what was given out, dB of full scale.
    sample_format : str
        FFmpeg's name of the decoded samples: "s16", "s32", "fltp", ...
    clipped : int or None
        Samples at full scale over all channels; counted only where it was set to 0 before.
    """

    codec: str = ""
    native_rate: int = 0
    channels: int = 0
    claimed_seconds: float | None = None
    decoded_seconds: float = 0.0
    packets: int = 0
    bad_packets: int = 0
    bad_samples: int = 0
    samples: int = 0
    level_db: float = -100.0
    stopped_early: bool = False
    sample_format: str = ""
    clipped: int | None = None

    def warnings(self) -> list[str]:
        """Say in words what a listener should know about this file."""
        found = []
        if self.bad_packets:
            found.append(f"damaged: {self.bad_packets} of {self.packets} packets did not decode")
        claim = self.claimed_seconds
        if claim and not self.stopped_early and self.decoded_seconds < 0.98 * claim - 0.1:
            found.append(f"truncated: {self.decoded_seconds:.1f} s of the {claim:.1f} s it claims")
        if self.bad_samples:
            found.append(f"damaged: {self.bad_samples} samples were not finite and became silence")
        if self.level_db < -80:
            found.append("silent: its level is below -80 dB of full scale")
        return found


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
    native = _cut(_mono(_decoded(path, report, limits or Limits()), report), span, report)
    energy = 0.0
    for block in _resampled(watch(native) if watch else native, sample_rate):
        report.samples += len(block)
        energy += float(np.sum(np.square(block, dtype=np.float64)))
        yield block
    _refuse_nothing(path, span, report)
    report.level_db = 10 * float(np.log10(energy / report.samples + 1e-10))


def read_waveform(
    path: str | Path, sample_rate: int, span: tuple[float, float | None] = (0.0, None)
) -> tuple[Samples, AudioReport]:
    """Return a whole file as one mono waveform, and what was found in it."""
    report = AudioReport()
    blocks = list(read_blocks(path, sample_rate, report, span))
    return np.concatenate(blocks), report


def _refuse_nothing(
    path: str | Path, span: tuple[float, float | None], report: AudioReport
) -> None:
    if report.decoded_seconds == 0:
        raise AudioError(
            "not_audio", f"{path}: no audio could be decoded from it; is it an audio file?"
        )
    if report.samples == 0:
        raise AudioError(
            "outside",
            f"{path}: it is {report.decoded_seconds:.1f} s long, so nothing lies between "
            f"start {span[0]:g} s and end {span[1]}. Correct the song's start and end.",
        )
    if report.bad_samples > 0.01 * report.decoded_seconds * report.native_rate:
        raise AudioError(
            "bad_samples",
            f"{path}: {report.bad_samples} samples are infinite, not a number or louder than "
            "+40 dB of full scale; it does not hold sound.",
        )


# --- decoding ---------------------------------------------------------------------------


def _decoded(
    path: str | Path, report: AudioReport, limits: Limits
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Yield (native rate, samples (channels, n)) frame by frame, past damaged packets."""
    with open_file(path) as file, _container(path, file) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        report.codec = stream.codec_context.name
        report.claimed_seconds = _claimed_seconds(container, stream, file)
        counted: dict[int, int] = {}  # exact samples per rate: seconds would drift
        native_samples = 0
        for frame in _frames(container, stream, report):
            rate, channels = frame.sample_rate, frame.layout.nb_channels
            if rate <= 0 or channels <= 0 or frame.samples <= 0:
                continue
            counted[rate] = counted.get(rate, 0) + frame.samples
            native_samples += frame.samples * channels
            report.native_rate, report.channels = rate, channels
            report.sample_format = frame.format.name
            report.decoded_seconds = sum(count / each for each, count in counted.items())
            _refuse_too_long(path, report.decoded_seconds, native_samples, limits)
            values = frame.to_ndarray()
            planar = values if frame.format.is_planar else values.reshape(-1, channels).T
            yield rate, planar


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, report: AudioReport
) -> Iterator[av.AudioFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, ValueError, EOFError):
            report.bad_packets += 1
            return
        if packet is None:
            return
        report.packets += 1
        try:
            yield from packet.decode()
        except (av.error.FFmpegError, ValueError, EOFError):
            report.bad_packets += 1


def open_file(path: str | Path) -> BinaryIO:
    """Open a file for decoding, or raise `AudioError`: missing, unreadable or empty."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise AudioError("missing", f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise AudioError("unreadable", f"{path}: cannot be opened: {error}") from None
    if not file.read(1):
        file.close()
        raise AudioError("empty", f"{path}: the file is empty (0 bytes)")
    file.seek(0)
    return file


def _container(path: str | Path, file: BinaryIO) -> av.container.InputContainer:
    whitelist = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "pipe"}
    try:
        # An open file instead of a name, and "replace": a name could be a URL or a
        # playlist, and one Latin-1 byte in a tag must not cost the song.
        container = av.open(file, mode="r", metadata_errors="replace", options=whitelist)
    except (av.error.FFmpegError, ValueError, EOFError, MemoryError) as error:
        raise AudioError(
            "not_audio", f"{path}: not an audio file that can be read ({_short(error)})"
        ) from None
    if not container.streams.audio:
        container.close()
        raise AudioError("no_audio_stream", f"{path}: the file holds no audio stream")
    return container


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:80]


def _refuse_too_long(path: str | Path, seconds: float, samples: int, limits: Limits) -> None:
    if seconds > limits.hours * 3600 or samples > limits.native_samples:
        raise AudioError(
            "too_long",
            f"{path}: longer than the limit of {limits.hours:g} h "
            f"({limits.native_samples:.0e} samples over all channels). "
            "Raise it with --max-hours if this is a real recording.",
        )


def _claimed_seconds(
    container: av.container.InputContainer, stream: av.AudioStream, file: BinaryIO
) -> float | None:
    if stream.codec_context.name.startswith("mp3") and not _has_length_header(file):
        return None  # FFmpeg would guess it from the first frame's bit rate
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _has_length_header(file: BinaryIO) -> bool:
    """Tell whether an mp3 carries a Xing, Info or VBRI frame, behind any ID3v2 tag."""
    position = file.tell()
    file.seek(0)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3" and len(head) == 10:
        tag = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
    file.seek(tag)
    first = file.read(4096)
    file.seek(position)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


# --- from native frames to blocks -------------------------------------------------------


def _mono(
    frames: Iterable[tuple[int, NDArray[np.generic]]], report: AudioReport
) -> Iterator[tuple[int, Samples]]:
    """Gather frames of one kind, average the channels, make every sample finite."""
    waiting: list[NDArray[np.generic]] = []
    kind: tuple[int, int, np.dtype[np.generic]] | None = None
    count = 0
    for rate, values in frames:
        if kind != (rate, len(values), values.dtype) or count >= _NATIVE_BLOCK:
            if kind and waiting:
                yield kind[0], _downmix(np.concatenate(waiting, axis=1), report)
            waiting, count, kind = [], 0, (rate, len(values), values.dtype)
        waiting.append(values)
        count += values.shape[1]
    if kind and waiting:
        yield kind[0], _downmix(np.concatenate(waiting, axis=1), report)


def _downmix(values: NDArray[np.generic], report: AudioReport) -> Samples:
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / float(1 << (8 * values.dtype.itemsize - 1))
    if report.clipped is not None:
        report.clipped += int(np.count_nonzero(np.abs(values) >= _FULL_SCALE))
    mono = values.mean(axis=0, dtype=np.float32) if len(values) > 1 else values[0]
    mono = np.asarray(mono, dtype=np.float32)
    good = np.abs(mono) <= _LOUDEST  # False for NaN too
    if not good.all():
        report.bad_samples += int(np.count_nonzero(~good))
        mono = np.where(good, mono, np.float32(0))
    return mono


def _cut(
    blocks: Iterable[tuple[int, Samples]],
    span: tuple[float, float | None],
    report: AudioReport,
) -> Iterator[tuple[int, Samples]]:
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


def _resampled(blocks: Iterable[tuple[int, Samples]], sample_rate: int) -> Iterator[Samples]:
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


# --- writing ----------------------------------------------------------------------------

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
    """Write a mono or (channels, samples) waveform; the name's ending chooses the format.

    Opus is always written at 48 kHz, as its format demands.
    """
    ending = Path(path).suffix.lower()
    if ending not in _CODECS:
        raise ValueError(f"cannot write '{ending}'; known: {', '.join(_CODECS)}")
    codec, sample_format = _CODECS[ending]
    planes = np.ascontiguousarray(np.atleast_2d(waveform), dtype=np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    rate = 48_000 if codec == "libopus" else sample_rate
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
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
