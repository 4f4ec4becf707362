"""Files to their samples as they are: at a file's own rate, all channels, whatever is wrong.

Decoding goes packet by packet so that one damaged packet costs that packet and not the
rest of the song (soundfile and librosa lose more than half of a healthy variable-rate
mp3 without an index header). Nothing but the named file is ever opened: playlists, URLs
and nested containers are refused by FFmpeg's own whitelists.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import (
    AudioReport,
    claimed_seconds,
    is_wav,
    ogg_is_cut,
    open_file,
    refuse_rate,
    refuse_too_long,
    refuse_too_slow,
    samples_span,
    suspicious_from,
)
from songbag.errors import AudioError
from songbag.settings import Limits

Channels = Sequence[NDArray[np.generic]] | NDArray[np.generic]  # of one type, (n,) each
_Kind = tuple[int, str, int]  # rate (Hz), format and channels of decoded frames
Blocks = Iterator[tuple[int, Channels]]  # rate (Hz) and samples
Packets: TypeAlias = Iterator["av.Packet[av.AudioStream]"]

_CONTAINERS = "mp3,flac,ogg,wav,w64,aiff,mov,mp4,m4a,3gp,3g2,mj2,aac,matroska,webm,asf"
_DAMAGE = (av.error.FFmpegError, ValueError, EOFError)
# FFmpeg's names of sample types, without the p of planar ones.
_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_BLOCK = 1 << 16  # samples of a channel given out at once: what they need fits a cache
_LOOK = 32  # packets between two looks at the time
_PLAIN = {"pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"}  # as arrays have them
# FFmpeg would read half of a plain wav to find out whether other sound is disguised in it. So
# much holds eight frames of DTS, of which it needs four.
_WAV = {"probesize": "32768", "max_size": "32768"}


def native_blocks(path: str | Path, report: AudioReport, limits: Limits) -> Blocks:
    """Yield samples of a few channels at a time, past damaged packets, with their rate."""
    with open_file(path, limits) as file, _container(path, file) as container:
        stream = _stream(path, container)
        about = stream.codec_context
        report.codec = about.name
        length = _length(container, stream)
        report.claimed_seconds = claimed_seconds(container.format.name, about.name, length, file)
        report.cut = ogg_is_cut(file)
        plain = about.name in _PLAIN and 0 < about.channels <= 64  # what has more FFmpeg judges
        if plain and (span := samples_span(file)):
            kind = about.sample_rate, about.format.name, about.channels
            yield from _plain(path, file, span, kind, report, limits)
        else:
            yield from _decoded(path, container, stream, report, limits)


def _plain(
    path: str | Path,
    file: BufferedReader,
    span: tuple[int, int],
    kind: _Kind,
    report: AudioReport,
    limits: Limits,
) -> Blocks:
    """Yield the samples of a wav as they lie there: FFmpeg's packets of them are twice the work."""
    began = time.process_time()
    report.native_rate, report.sample_format, report.channels = rate, _, channels = kind
    refuse_rate(path, rate)
    dtype = sample_type(report.sample_format).newbyteorder("<")
    width = dtype.itemsize * channels
    count, whole = 0, (span[1] - span[0]) // width
    refuse_too_long(path, whole / rate, whole * channels, limits)
    file.seek(span[0])
    while count < whole:
        block = np.empty((min(_BLOCK, whole - count), channels), dtype)
        if not (found := file.readinto(block.data) // width):
            return  # it was cut shorter meanwhile
        count += found
        report.packets += 1
        report.decoded_seconds = count / rate
        refuse_too_slow(path, time.process_time() - began, limits)
        yield rate, block[:found].T


def _decoded(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    report: AudioReport,
    limits: Limits,
) -> Blocks:
    """Yield what FFmpeg decodes, counted."""
    suspicious = suspicious_from(report.claimed_seconds, _width(stream), limits)
    counted = defaultdict[int, int](int)  # exact samples per rate: seconds would drift
    native_samples = 0
    for kind, frame in _gathered(path, _packets(container, stream, report), report, limits):
        rate, _, channels = kind
        refuse_rate(path, rate)
        report.native_rate, report.sample_format, report.channels = kind
        if report.decoded_seconds >= suspicious:
            _refuse_long_ahead(path, limits)
            suspicious = math.inf
        counted[rate] += frame.samples
        native_samples += frame.samples * channels
        report.decoded_seconds = sum(count / each for each, count in counted.items())
        refuse_too_long(path, report.decoded_seconds, native_samples, limits)
        yield rate, channels_of(frame)


def _gathered(
    path: str | Path, packets: Packets, report: AudioReport, limits: Limits
) -> Iterator[tuple[_Kind, av.AudioFrame]]:
    """Gather frames of one kind: an array for each would cost as much as decoding it."""
    began = time.process_time()
    waiting, kind = av.AudioFifo(), (0, "", 0)
    for packet in packets:
        for frame in _unpacked(packet, report):
            found = frame.sample_rate, frame.format.name, frame.layout.nb_channels
            if found != kind:
                if found[0] <= 0 or found[2] <= 0:
                    continue
                if gathered := waiting.read():
                    yield kind, gathered
                waiting, kind = av.AudioFifo(), found
            frame.pts = None  # else it would refuse gaps in time
            waiting.write(frame)
        if waiting.samples >= _BLOCK and (gathered := waiting.read()):
            yield kind, gathered
        if report.packets % _LOOK == 0:
            refuse_too_slow(path, time.process_time() - began, limits)
    if gathered := waiting.read():
        yield kind, gathered


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream, report: AudioReport
) -> Packets:
    try:
        for packet in container.demux(stream):
            report.packets += 1
            yield packet
    except _DAMAGE:
        report.bad_packets += 1


def _unpacked(packet: "av.Packet[av.AudioStream]", report: AudioReport) -> Sequence[av.AudioFrame]:
    try:
        return packet.decode()
    except _DAMAGE:
        report.bad_packets += 1
        return []


def _width(stream: av.AudioStream) -> int:
    """Return the samples of a second over all channels, as the header says."""
    return stream.codec_context.sample_rate * stream.codec_context.channels


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
                seconds += sum(f.samples / max(1, f.sample_rate) for f in _unpacked(packet, nobody))
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
        text = str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        text = f"{path}: not an audio file that can be read ({text.splitlines()[0][:80]})"
        raise AudioError("not_audio", text) from None
    return container


def _stream(path: str | Path, container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise AudioError("no_audio_stream", f"{path}: the file holds no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:  # FFmpeg knows the container and not the codec
        raise AudioError("not_audio", f"{path}: its sound is coded in an unknown way")
    stream.codec_context.thread_count = 1
    return stream


def _length(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def sample_type(name: str) -> np.dtype[Any]:
    """Return the type of samples in FFmpeg's format of that name, planar or not."""
    return np.dtype(_TYPES[name.removesuffix("p")])


def channels_of(frame: Any) -> Channels:
    """Return the samples of a decoded `av.AudioFrame`, in its memory."""
    dtype, channels = sample_type(frame.format.name), frame.layout.nb_channels
    if frame.format.is_planar:
        planes = zip(range(channels), frame.planes, strict=False)  # it may name more
        return [np.frombuffer(plane, dtype, frame.samples) for _, plane in planes]
    every = np.frombuffer(frame.planes[0], dtype, frame.samples * channels)
    return every.reshape(-1, channels).T
