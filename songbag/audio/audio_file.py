"""A file around its decoding: whether it may be opened, how long it may be and says it is.

Headers lie, so a length is a claim: it is compared with what was decoded, never trusted.
"""

import os
import stat
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from songbag.errors import AudioError
from songbag.settings import Limits

# What a folder is searched for. A table may name any file: the content decides.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".wma", ".mka"}
)

_BINARY = getattr(os, "O_BINARY", 0)  # Windows
_WAITING = getattr(os, "O_NONBLOCK", 0)
_RATES = (1000, 1_000_000)  # Hz: below, nothing can be heard; above, nothing records
_STREAMED = 0x7FFF0000  # wav sizes from here on are written by programs that do not know
_TAIL = 1 << 16  # bytes behind a wav's samples that are looked through
_OGG_TAIL = 1 << 17  # bytes that hold at least one whole page


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
    cut : bool
        Whether an Ogg file lacks its end.
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
    cut: bool = False
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
        elif self.cut and not self.stopped_early:
            found.append(f"truncated: it ends after {self.decoded_seconds:.1f} s without its end")
        if self.bad_samples:
            found.append(f"damaged: {self.bad_samples} samples were not finite and became silence")
        if self.level_db < -80:
            found.append("silent: its level is below -80 dB of full scale")
        return found


def open_file(path: str | Path, limits: Limits | None = None) -> BufferedReader:
    """Open a file for decoding.

    Only regular files: opening a pipe would wait for a writer, and a device has no end.

    Raises
    ------
    AudioError
        ``missing``, ``unreadable``, ``empty``, or ``too_long`` by its size alone.
    """
    try:
        _refuse_irregular(path, os.stat(path))
        # Between the look and the opening it may have become a pipe: do not wait.
        file = os.fdopen(os.open(path, os.O_RDONLY | _WAITING | _BINARY), "rb")
    except FileNotFoundError:
        raise AudioError("missing", f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise AudioError("unreadable", f"{path}: cannot be opened: {error}") from None
    try:
        found = os.fstat(file.fileno())
        _refuse_irregular(path, found)
        _refuse_size(path, found.st_size, limits or Limits())
    except AudioError:
        file.close()
        raise
    return file


def _refuse_irregular(path: str | Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise AudioError("unreadable", f"{path}: it is {kind}, not a file")


def _refuse_size(path: str | Path, size: int, limits: Limits) -> None:
    if size == 0:
        raise AudioError("empty", f"{path}: the file is empty (0 bytes)")
    if size > limits.file_bytes:
        raise AudioError(
            "too_long",
            f"{path}: {size / 1e9:.1f} GB are more than the longest allowed recording can have. "
            "Raise --max-hours if this is a real recording.",
        )


def suspicious_from(claim: float | None, width: int, limits: Limits) -> float:
    """Return the decoded seconds at which to find out how long a file really is.

    At once where it claims to be too long; when it turns out longer than it claims; or,
    where it claims nothing, when it is longer than songs are.
    """
    if claim is None:
        return 600.0
    too_long = claim > limits.hours * 3600 or claim * width > limits.native_samples
    return 0.0 if too_long else 1.1 * claim + 1


def refuse_too_long(path: str | Path, seconds: float, samples: int, limits: Limits) -> None:
    """Refuse more seconds, or samples over all channels, than the limits allow."""
    if seconds > limits.hours * 3600 or samples > limits.native_samples:
        raise AudioError(
            "too_long",
            f"{path}: longer than the limit of {limits.hours:g} h "
            f"({limits.native_samples:.0e} samples over all channels). "
            "Raise it with --max-hours if this is a real recording.",
        )


def refuse_too_slow(path: str | Path, seconds: float, limits: Limits) -> None:
    """Refuse what takes more computing than the limits allow."""
    if seconds > limits.cpu_seconds:
        raise AudioError(
            "too_slow",
            f"{path}: reading it took more than {limits.cpu_seconds:g} s of computing and was "
            "stopped. Raise --max-hours if this is a real recording.",
        )


def refuse_rate(path: str | Path, rate: int) -> None:
    """Refuse sample rates that nobody records sound at."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioError(
            "bad_rate",
            f"{path}: {rate} samples a second; sound has {_RATES[0]} to {_RATES[1]}. "
            "Its header is wrong, or it holds something else.",
        )


def refuse_nothing(path: str | Path, span: tuple[float, float | None], report: AudioReport) -> None:
    """Refuse a file that was read to its end and held no sound."""
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


def claimed_seconds(
    container: str, codec: str, found: float | None, file: BinaryIO
) -> float | None:
    """Return the length that a file's header states; ``found`` is what FFmpeg takes it for."""
    if codec.startswith("mp3") and not _has_length_header(file):
        return None  # FFmpeg would guess it from the first frame's bit rate
    # FFmpeg shortens a wav's statement to what is there, which hides that the rest is missing.
    data = _wav_data(file) if container == "wav" else None
    return data.size / data.byte_rate if data and data.byte_rate else found


def _has_length_header(file: BinaryIO) -> bool:
    """Tell whether an mp3 carries a Xing, Info or VBRI frame, behind any ID3v2 tag."""
    head = _bytes_at(file, 0, 10)
    tag = 0
    if head[:3] == b"ID3" and len(head) == 10:
        tag = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
    first = _bytes_at(file, tag, 4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def is_wav(file: BinaryIO) -> bool:
    """Tell whether a file begins as a RIFF wav does."""
    head = _bytes_at(file, 0, 12)
    return head[:4] == b"RIFF" and head[8:] == b"WAVE"


def samples_span(file: BinaryIO) -> tuple[int, int] | None:
    """Return where the samples of a RIFF wav begin and end, None if not in one stated piece."""
    if (data := _wav_data(file)) is None:
        return None
    end = data.begin + data.size
    rest = _bytes_at(file, end, _TAIL + 1)
    if len(rest) > _TAIL or b"data" in rest:
        return None
    return data.begin, min(end, os.fstat(file.fileno()).st_size)


class _WavData(NamedTuple):
    begin: int
    size: int
    byte_rate: int  # a second, 0 where no format came before


def _wav_data(file: BinaryIO) -> _WavData | None:
    """Return what a RIFF wav states of its samples, None for others and for streamed ones."""
    if not is_wav(file):
        return None
    head = _bytes_at(file, 0, 1 << 16)
    place, rate = 12, 0
    while place + 8 <= len(head):
        name, size = head[place : place + 4], int.from_bytes(head[place + 4 : place + 8], "little")
        if name == b"fmt " and place + 20 <= len(head):
            (rate,) = struct.unpack_from("<I", head, place + 16)
        if name == b"data":
            return _WavData(place + 8, size, rate) if 0 < size < _STREAMED else None
        place += 8 + size + size % 2
    return None


def ogg_is_cut(file: BinaryIO) -> bool:
    """Tell whether an Ogg file lacks its last page, or part of it."""
    size = os.fstat(file.fileno()).st_size
    if _bytes_at(file, 0, 4) != b"OggS":
        return False
    tail = _bytes_at(file, max(0, size - _OGG_TAIL), _OGG_TAIL)
    last = tail.rfind(b"OggS")
    page = tail[last:]
    if last < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return True
    whole = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return not page[5] & 4 or len(page) < whole


def _bytes_at(file: BinaryIO, place: int, count: int) -> bytes:
    before = file.tell()
    file.seek(place)
    found = file.read(count)
    file.seek(before)
    return found
