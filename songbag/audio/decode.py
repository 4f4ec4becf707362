"""Decode audio files to samples at their own rate and with all channels, past damaged packets.

Decoding goes packet by packet, so that a damaged packet costs that packet and not the rest of
the song (soundfile and librosa lose more than half of a healthy variable-rate mp3 without an
index header). Nothing but the named file is ever opened: playlists, URLs and nested containers
are refused by FFmpeg's own whitelists.
"""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import (
    AudioReport,
    claimed_seconds,
    is_wav,
    missing_end,
    open_file,
    refuse_rate,
    refuse_too_long,
    refuse_too_slow,
    unread_bytes,
    wav_samples_span,
)
from songbag.errors import AudioError
from songbag.settings import Limits

Channels = Sequence[NDArray[np.generic]] | NDArray[np.generic]  # of one type, (samples,) each
Blocks = Iterator[tuple[int, Channels]]  # rate (Hz) and samples
Packets: TypeAlias = Iterator["av.Packet[av.AudioStream]"]
_Format = tuple[int, str, int]  # rate (Hz), sample format and channels of decoded frames

_CONTAINERS = (
    "mp3,flac,ogg,wav,w64,aiff,au,caf,mov,mp4,m4a,3gp,3g2,mj2,aac,ac3,eac3,amr,matroska,webm,asf,"
    "wv,ape"
)
# FFmpeg would read half of a wav to find out whether it holds other sound in disguise. This
# many bytes hold eight frames of DTS, of which it needs four.
_WAV_OPTIONS = {"probesize": "32768", "max_size": "32768"}
_DAMAGE = (av.error.FFmpegError, ValueError, EOFError)
# FFmpeg's names of sample types, without the p of planar ones.
_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_BLOCK = 1 << 16  # samples of a channel in a block: what is computed from it fits a cache
_PACKETS_BETWEEN_CHECKS = 32  # of the time
_SECONDS_OF_SONGS = 600.0  # decoded from a file that states no length before it is checked
_PLAIN_CODECS = {"pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"}


def native_blocks(path: str | Path, report: AudioReport, limits: Limits) -> Blocks:
    """Yield (rate, samples of all channels) of a file, a block at a time.

    The rate is in Hz and may change within a (concatenated) file. ``report`` is filled while
    decoding.
    """
    with open_file(path, limits) as file, _open_container(path, file) as container:
        stream = _audio_stream(path, container)
        codec = stream.codec_context
        report.codec = codec.name
        seconds: float | None = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / av.time_base
        report.claimed_seconds = claimed_seconds(container.format.name, codec.name, seconds, file)
        report.missing_end, report.unread_bytes = missing_end(file), unread_bytes(file)
        # More than 64 channels FFmpeg accepts or refuses itself.
        plain = codec.name in _PLAIN_CODECS and 0 < codec.channels <= 64
        if plain and (span := wav_samples_span(file)):
            form = codec.sample_rate, codec.format.name, codec.channels
            yield from _read_plain(path, file, span, form, report, limits)
        else:
            yield from _decode(path, container, stream, report, limits)


def sample_type(name: str) -> np.dtype[Any]:
    """Return the numpy type of samples in FFmpeg's format of that name, planar or not."""
    return np.dtype(_TYPES[name.removesuffix("p")])


def channels_of(frame: Any) -> Channels:
    """Return the samples of a decoded `av.AudioFrame`, in its memory."""
    dtype, channels = sample_type(frame.format.name), frame.layout.nb_channels
    if frame.format.is_planar:
        planes = zip(range(channels), frame.planes, strict=False)  # there may be more planes
        return [np.frombuffer(plane, dtype, frame.samples) for _, plane in planes]
    samples = np.frombuffer(frame.planes[0], dtype, frame.samples * channels)
    return samples.reshape(-1, channels).T


def _read_plain(
    path: str | Path,
    file: BufferedReader,
    span: tuple[int, int],
    form: _Format,
    report: AudioReport,
    limits: Limits,
) -> Blocks:
    """Yield the samples of a wav as they lie there: FFmpeg's packets of them are twice the work."""
    began = time.process_time()
    report.native_rate, report.sample_format, report.channels = rate, _, channels = form
    refuse_rate(path, rate)
    dtype = sample_type(report.sample_format).newbyteorder("<")
    width = dtype.itemsize * channels
    count, whole = 0, (span[1] - span[0]) // width
    refuse_too_long(path, whole / rate, whole * channels, limits)
    file.seek(span[0])
    while count < whole:
        block = np.empty((min(_BLOCK, whole - count), channels), dtype)
        if not (size := file.readinto(block.data) // width):
            return  # the file was cut meanwhile
        count += size
        report.packets += 1
        report.decoded_seconds = count / rate
        refuse_too_slow(path, time.process_time() - began, limits)
        yield rate, block[:size].T


def _decode(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    report: AudioReport,
    limits: Limits,
) -> Blocks:
    """Yield what FFmpeg decodes, and refuse it when it grows beyond the limits."""
    # The decoded seconds at which the packets are counted to find out how long the file is: at
    # once where it states to be too long, else when it is longer than stated.
    claim = report.claimed_seconds
    suspicious = _SECONDS_OF_SONGS if claim is None else 1.1 * claim + 1
    if claim is not None and (
        claim > limits.hours * 3600 or claim * _width(stream) > limits.native_samples
    ):
        suspicious = 0.0
    counted = defaultdict[int, int](int)  # exact samples per rate: seconds would drift
    native_samples = 0
    packets = _packets(container, stream, report)
    for form, frame in _gather_frames(path, packets, report, limits):
        rate, _, channels = form
        refuse_rate(path, rate)
        report.native_rate, report.sample_format, report.channels = form
        if report.decoded_seconds >= suspicious:
            _refuse_by_packets(path, limits)
            suspicious = math.inf
        counted[rate] += frame.samples
        native_samples += frame.samples * channels
        report.decoded_seconds = sum(count / each for each, count in counted.items())
        refuse_too_long(path, report.decoded_seconds, native_samples, limits)
        yield rate, channels_of(frame)


def _gather_frames(
    path: str | Path, packets: Packets, report: AudioReport, limits: Limits
) -> Iterator[tuple[_Format, av.AudioFrame]]:
    """Decode packets and join frames of one format: an array for each would cost as much again."""
    began = time.process_time()
    fifo, form = av.AudioFifo(), (0, "", 0)
    for packet in packets:
        for frame in _unpack(packet, report):
            new = frame.sample_rate, frame.format.name, frame.layout.nb_channels
            if new != form:
                if new[0] <= 0 or new[2] <= 0:
                    continue
                if joined := fifo.read():
                    yield form, joined
                fifo, form = av.AudioFifo(), new
            frame.pts = None  # else the fifo would refuse gaps in time
            fifo.write(frame)
        if fifo.samples >= _BLOCK and (joined := fifo.read()):
            yield form, joined
        if report.packets % _PACKETS_BETWEEN_CHECKS == 0:
            refuse_too_slow(path, time.process_time() - began, limits)
    if joined := fifo.read():
        yield form, joined


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream, report: AudioReport
) -> Packets:
    try:
        for packet in container.demux(stream):
            report.packets += 1
            yield packet
    except _DAMAGE:
        report.bad_packets += 1


def _unpack(packet: "av.Packet[av.AudioStream]", report: AudioReport) -> Sequence[av.AudioFrame]:
    try:
        return packet.decode()
    except _DAMAGE:
        report.bad_packets += 1
        return []


def _width(stream: av.AudioStream) -> int:
    """Return the samples of a second over all channels, as the header says."""
    return stream.codec_context.sample_rate * stream.codec_context.channels


def _refuse_by_packets(path: str | Path, limits: Limits) -> None:
    """Add up the lengths that a file's packets state: a fraction of the work of decoding them."""
    unused = AudioReport()
    with open_file(path, limits) as file, _open_container(path, file) as container:
        stream = _audio_stream(path, container)
        width, seconds = _width(stream), 0.0
        for packet in _packets(container, stream, unused):
            if packet.duration and packet.time_base:
                seconds += float(packet.duration * packet.time_base)
            else:
                seconds += sum(f.samples / max(1, f.sample_rate) for f in _unpack(packet, unused))
            refuse_too_long(path, seconds, round(seconds * width), limits)


def packets_hash(path: str | Path, file: IO[bytes]) -> str:
    """Return a hash of the packets of a file's audio stream: of its sound without its tags.

    ``file`` is open for reading; ``path`` names it in errors. Nothing is decoded.

    Raises
    ------
    AudioError
        It is not an audio file that can be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    with _open_container(path, file) as container:
        for packet in container.demux(_audio_stream(path, container)):
            digest.update(packet)
    return digest.hexdigest()


def _open_container(path: str | Path, file: IO[bytes]) -> av.container.InputContainer:
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "pipe"}
    if is_wav(file):
        options |= _WAV_OPTIONS
    try:
        # An open file instead of a name, and "replace": a name could be a URL or a
        # playlist, and one Latin-1 byte in a tag must not cost the song.
        return av.open(file, mode="r", metadata_errors="replace", options=options)
    except (*_DAMAGE, MemoryError) as error:
        text = str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        text = f"{path}: not an audio file that can be read ({text.splitlines()[0][:80]})"
        raise AudioError("not_audio", text) from None


def _audio_stream(path: str | Path, container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise AudioError("no_audio_stream", f"{path}: the file holds no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:  # FFmpeg knows the container and not the codec
        raise AudioError("not_audio", f"{path}: its sound is coded in an unknown way")
    stream.codec_context.thread_count = 1
    return stream
