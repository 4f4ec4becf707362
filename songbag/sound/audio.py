"""Files to mono float32 samples, in blocks, whatever is wrong with the file.

Decoding goes packet by packet so that one damaged packet costs that packet and not the
rest of the song (soundfile and librosa lose more than half of a healthy variable-rate
mp3 without an index header). Nothing but the named file is ever opened: playlists, URLs
and nested containers are refused by FFmpeg's own whitelists.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soxr

from songbag.errors import AudioError
from songbag.settings import Limits
from songbag.sound.audiofile import (
    AudioReport as AudioReport,
    has_length_header,
    is_wav,
    ogg_is_cut,
    open_file,
    refuse_nothing,
    refuse_rate,
    refuse_too_long,
    refuse_too_slow,
    wav_seconds,
)
from songbag.sound.downmix import Samples as Samples, downmix, joined

_Kind = tuple[int, str, int]  # rate (Hz), format and channels of decoded frames
_Decoded = Iterator[tuple[_Kind, av.AudioFrame]]
Native = Iterator[tuple[int, Samples]]  # blocks at a file's own rate (Hz), which may change

# What a folder is searched for. A table may name any file: the content decides.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".wma", ".mka"}
)
_CONTAINERS = "mp3,flac,ogg,wav,w64,aiff,mov,mp4,m4a,3gp,3g2,mj2,aac,matroska,webm,asf"
_DAMAGE = (av.error.FFmpegError, ValueError, EOFError)
_NATIVE_BLOCK = 1 << 17  # samples gathered before downmixing: bounds both memory and overhead
_FRAMES = 1024  # decoded frames gathered at most, however few samples they hold
_LOOK = 32  # packets between two looks at the time
# FFmpeg reads half of a plain wav to find out whether other sound is disguised in it, and
# the rest in packets of 4 KB.
_WAV = {"probesize": "65536", "max_size": "65536"}


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


# --- decoding ---------------------------------------------------------------------------


def _decoded(path: str | Path, report: AudioReport, limits: Limits) -> _Decoded:
    """Yield decoded frames that hold samples, past damaged packets, each with its kind."""
    began = time.process_time()
    with open_file(path, limits) as file, _container(path, file) as container:
        stream = _stream(path, container)
        report.codec = stream.codec_context.name
        report.claimed_seconds = _claimed_seconds(container, stream, file)
        report.cut = ogg_is_cut(file)
        suspicious = _suspicious_from(report.claimed_seconds, _width(stream), limits)
        counted: dict[int, int] = {}  # exact samples per rate: seconds would drift
        kind, native_samples, others, count = (0, "", 0), 0, 0.0, 0
        for packet in _packets(container, stream, report):
            for frame in _frames(packet, report):
                found = frame.sample_rate, frame.format.name, frame.layout.nb_channels
                if found != kind:
                    if frame.sample_rate <= 0 or frame.layout.nb_channels <= 0:
                        continue
                    counted[kind[0]] = count
                    kind = rate, report.sample_format, channels = found
                    refuse_rate(path, rate)
                    report.native_rate, report.channels = rate, channels
                    count = counted.pop(rate, 0)
                    others = sum(counted[each] / each for each in counted if each)
                if (samples := frame.samples) <= 0:
                    continue
                if report.decoded_seconds >= suspicious:
                    _refuse_long_ahead(path, limits)
                    suspicious = math.inf
                count += samples
                native_samples += samples * channels
                report.decoded_seconds = others + count / rate
                refuse_too_long(path, report.decoded_seconds, native_samples, limits)
                yield kind, frame
            if report.packets % _LOOK == 0:
                refuse_too_slow(path, time.process_time() - began, limits)


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream, report: AudioReport
) -> Iterator["av.Packet[av.AudioStream]"]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except _DAMAGE:
            report.bad_packets += 1
            return
        if packet is None:
            return
        report.packets += 1
        yield packet


def _frames(packet: "av.Packet[av.AudioStream]", report: AudioReport) -> Sequence[av.AudioFrame]:
    try:
        return packet.decode()
    except _DAMAGE:
        report.bad_packets += 1
        return []


def _width(stream: av.AudioStream) -> int:
    """Return the samples of a second over all channels, as the header says."""
    return stream.codec_context.sample_rate * stream.codec_context.channels


def _suspicious_from(claim: float | None, width: int, limits: Limits) -> float:
    """Return the decoded seconds at which to find out how long a file really is.

    At once where it claims to be too long; when it turns out longer than it claims; or,
    where it claims nothing, when it is longer than songs are.
    """
    if claim is None:
        return 600.0
    too_long = claim > limits.hours * 3600 or claim * width > limits.native_samples
    return 0.0 if too_long else 1.1 * claim + 1


def _refuse_long_ahead(path: str | Path, limits: Limits) -> None:
    """Add up the lengths of a file's packets: a fraction of the work of hearing them."""
    nobody = AudioReport()
    with open_file(path, limits) as file, _container(path, file) as container:
        stream = _stream(path, container)
        width, seconds = _width(stream), 0.0
        for packet in _packets(container, stream, nobody):
            if packet.duration and packet.time_base:
                seconds += float(packet.duration * packet.time_base)
            else:
                seconds += sum(f.samples / max(1, f.sample_rate) for f in _frames(packet, nobody))
            refuse_too_long(path, seconds, round(seconds * width), limits)


def _container(path: str | Path, file: BinaryIO) -> av.container.InputContainer:
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "pipe"}
    if is_wav(file):
        options |= _WAV
    try:
        # An open file instead of a name, and "replace": a name could be a URL or a
        # playlist, and one Latin-1 byte in a tag must not cost the song.
        container = av.open(file, mode="r", metadata_errors="replace", options=options)
    except (av.error.FFmpegError, ValueError, EOFError, MemoryError) as error:
        raise AudioError(
            "not_audio", f"{path}: not an audio file that can be read ({_short(error)})"
        ) from None
    return container


def _stream(path: str | Path, container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise AudioError("no_audio_stream", f"{path}: the file holds no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:  # FFmpeg knows the container and not the codec
        raise AudioError("not_audio", f"{path}: its sound is coded in an unknown way")
    stream.codec_context.thread_count = 1
    return stream


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:80]


def _claimed_seconds(
    container: av.container.InputContainer, stream: av.AudioStream, file: BinaryIO
) -> float | None:
    if stream.codec_context.name.startswith("mp3") and not has_length_header(file):
        return None  # FFmpeg would guess it from the first frame's bit rate
    if container.format.name == "wav" and (stated := wav_seconds(file)) is not None:
        return stated
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


# --- from native frames to blocks -------------------------------------------------------


def _mono(frames: _Decoded, report: AudioReport) -> Native:
    """Gather frames of one kind, average the channels, make every sample finite."""
    waiting: list[av.AudioFrame] = []
    kind: _Kind | None = None
    count = 0
    for found, frame in frames:
        if kind != found or count >= _NATIVE_BLOCK or len(waiting) == _FRAMES:
            if kind and waiting:
                yield kind[0], downmix(joined(waiting), report)
            waiting, count, kind = [], 0, found
        waiting.append(frame)
        count += frame.samples
    if kind and waiting:
        yield kind[0], downmix(joined(waiting), report)


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
