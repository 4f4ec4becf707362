"""Name, fetch and open audio files, refuse what cannot be a song, and read what headers state.

Headers may state a wrong length: it is compared with what was decoded and never relied on.
"""

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from songbag.audio.meter import ADVICE, SoundFacts, sound_faults
from songbag.errors import AudioError
from songbag.settings import Excerpt, Limits, Record
from songbag.storage.remote import is_url, local_copy

# What a folder is searched for. A table may name any file: the content decides.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".aifc", ".wma", ".mka", ".mkv", ".caf", ".wv", ".ape", ".au", ".mov"}
    | {".m4b", ".w64", ".mp2", ".ac3", ".amr", ".3gp"}
)

_BINARY = getattr(os, "O_BINARY", 0)  # Windows
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_RATES = (1000, 1_000_000)  # Hz: outside of these no sound is recorded
_OGG_CUT = "its last Ogg page is cut"
_OGG_UNMARKED = "its Ogg stream has no end mark"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # of this machine's disk


class Source(Record, frozen=True):
    """A part of an audio file."""

    path: str  # or URL
    start: float = 0.0  # seconds
    end: float | None = None  # None for the end of the file
    excerpt: Excerpt = Excerpt()  # which seconds of that part are used
    change: str = ""  # of `songbag.audio.changes.CHANGES`, made to its sound

    def part(self) -> str:
        """Return a name of the part and its change, empty for the whole file as it is."""
        if self == Source(path=self.path):
            return ""
        changed = (self.change,) if self.change else ()
        values = msgspec.json.encode((self.start, self.end, self.excerpt, *changed))
        return hashlib.blake2b(values, digest_size=6).hexdigest()


@dataclass
class AudioReport:
    """What reading a file showed; filled by `songbag.audio.waveform.read_blocks`."""

    codec: str = ""
    native_rate: int = 0  # Hz
    channels: int = 0
    claimed_seconds: float | None = None  # by the file's header, None when it does not say
    decoded_seconds: float = 0.0  # before start and end are applied
    packets: int = 0
    bad_packets: int = 0  # that did not decode
    bad_samples: int = 0  # that were not finite or absurd
    samples: int = 0  # returned, at the requested rate
    level_db: float = -100.0  # root mean square of the returned samples, dB of full scale
    rate: int = 0  # Hz, of the returned samples
    sound: SoundFacts = field(default_factory=SoundFacts)  # of what lies between start and end
    missing_end: str = ""  # what `missing_end` returns
    unread_bytes: int = 0  # what `unread_bytes` returns
    stopped_early: bool = False  # at the end of the requested part
    sample_format: str = ""  # FFmpeg's name: "s16", "s32", "fltp", ...

    @property
    def cut(self) -> bool:
        """Whether an Ogg file lacks its end, which FFmpeg does not notice."""
        return self.missing_end in (_OGG_CUT, _OGG_UNMARKED)

    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the file, not with its sound: a kind of `ADVICE`, and words."""
        claim, decoded = self.claimed_seconds, f"{self.decoded_seconds:.1f} s"
        if self.bad_packets:
            yield "damaged", f"{self.bad_packets} of {self.packets} packets did not decode"
        if self.bad_samples:
            yield "damaged", f"{self.bad_samples} samples were no numbers and became silence"
        if self.stopped_early:
            pass  # before the end, of which nothing is known
        elif claim and self.decoded_seconds < 0.98 * claim - 0.1:
            yield "truncated", f"{decoded} of the {claim:.1f} s it claims"
        elif self.cut:
            yield "truncated", f"it ends after {decoded} without its end"
        elif claim and self.decoded_seconds > 1.02 * claim + 1:
            yield "length", f"its header says {claim:.1f} s, and {decoded} were decoded"
        elif self.unread_bytes:
            yield "length", f"its header says {decoded}, and {self.unread_bytes} bytes follow"

    def warnings(self) -> tuple[str, ...]:
        """Return what is wrong with the file or its sound, and what to do: "kind: details"."""
        faults = *self.file_faults(), *sound_faults(self.sound, self.rate)
        return tuple(f"{kind}: {text}. {ADVICE[kind].rstrip('.')}" for kind, text in faults)


# --- fetching, opening and refusing ---


@contextmanager
def local_source(source: Source, limits: Limits) -> Iterator[Source]:
    """Yield the source with a path of this machine, for a URL that of a temporary copy.

    Messages of errors inside the block name the URL.

    Raises
    ------
    AudioError
        ``missing``, ``unreadable``, ``too_long`` by its size, ``unreachable``.
    """
    if not is_url(source.path):
        yield source
        return
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(local_copy(source.path, limits.file_bytes))
        except FileNotFoundError:
            raise AudioError("missing", f"{source.path}: there is no such file") from None
        except PermissionError as error:
            raise AudioError("unreadable", f"{source.path}: cannot be opened: {error}") from None
        except OverflowError as error:
            raise _too_large(source.path, str(error)) from None
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise
            raise AudioError("unreachable", f"{source.path}: cannot be fetched: {error}") from None
        try:
            yield msgspec.structs.replace(source, path=str(copy))
        except AudioError as error:
            text = str(error).replace(str(copy), source.path)
            raise AudioError(error.reason, text) from None


def open_file(path: str | Path, limits: Limits | None = None) -> BufferedReader:
    """Open a file for decoding, only a regular one: a pipe would wait for a writer.

    Raises
    ------
    AudioError
        ``missing``, ``unreadable``, ``empty``, or ``too_long`` by its size alone.
    """
    try:
        _refuse_irregular(path, os.stat(path))
        # Between the look and the opening it may have become a pipe: do not wait.
        file = os.fdopen(os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY), "rb")
    except FileNotFoundError:
        raise AudioError("missing", f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise AudioError("unreadable", f"{path}: cannot be opened: {error}") from None
    try:
        status = os.fstat(file.fileno())
        _refuse_irregular(path, status)
        if status.st_size == 0:
            raise AudioError("empty", f"{path}: the file is empty (0 bytes)")
        if status.st_size > (limits or Limits()).file_bytes:
            raise _too_large(path, f"{status.st_size / 1e9:.1f} GB")
    except AudioError:
        file.close()
        raise
    return file


def _too_large(path: str | Path, size: str) -> AudioError:
    return AudioError(
        "too_long",
        f"{path}: {size} are more than the longest allowed recording can have. "
        "Raise --max-hours if this is a real recording.",
    )


def _refuse_irregular(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise AudioError("unreadable", f"{path}: it is {kind}, not a file")


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
    """Refuse a file that took more seconds of computing than the limits allow."""
    if seconds > limits.cpu_seconds:
        raise AudioError(
            "too_slow",
            f"{path}: reading it took more than {limits.cpu_seconds:g} s of computing and was "
            "stopped. Raise --max-hours if this is a real recording.",
        )


def refuse_rate(path: str | Path, rate: int) -> None:
    """Refuse a sample rate at which no sound is recorded."""
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


# --- what headers state ---

_STREAMED = 0x7FFF0000  # sizes of a wav from here on are written by programs that stream
_WAV_TAIL = 1 << 16  # bytes behind a wav's samples that are searched for more samples
_OGG_TAIL = 2 * (27 + 255 + 255 * 255)  # bytes that hold at least one whole page
_OGG_LAST_PAGE = 4  # flag of a page's header
_RAW = ("aac", "ac3", "eac3", "amr")  # FFmpeg's names of streams without a header
_STREAMED_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # of a whole file


def claimed_seconds(
    container: str, codec: str, seconds: float | None, file: IO[bytes]
) -> float | None:
    """Return the length that a file's header states, None where it does not.

    ``container`` and ``codec`` are FFmpeg's names and ``seconds`` the length that it reports. In
    some formats that is not the header's: for a raw stream and an mp3 without a length header
    FFmpeg guesses from the first bit rate, and for a wav it counts only the bytes that are there.
    """
    if container in _RAW:
        return None
    if container == "mp3" or codec.startswith("mp3"):
        head = _bytes_at(file, 0, 10)
        tag_size = 0
        if head[:3] == b"ID3" and len(head) == 10:  # an ID3v2 tag: 4 bytes of 7 bits
            tag_size = 10
            tag_size += sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
        first_frame = _bytes_at(file, tag_size, 4096)
        return seconds if any(name in first_frame for name in (b"Xing", b"Info", b"VBRI")) else None
    plain = container == "wav" and codec.startswith("pcm")  # of others the byte rate is nominal
    data = _wav_data(file) if plain else None
    return data.size / data.byte_rate if data and data.byte_rate else seconds


def is_wav(file: IO[bytes]) -> bool:
    """Tell whether a file begins as a RIFF wav does."""
    head = _bytes_at(file, 0, 12)
    return head[:4] == b"RIFF" and head[8:] == b"WAVE"


def wav_samples_span(file: IO[bytes]) -> tuple[int, int] | None:
    """Return the bytes between which a RIFF wav's samples lie, None if not in one stated piece."""
    if (data := _wav_data(file)) is None:
        return None
    end = data.begin + data.size
    rest = _bytes_at(file, end, _WAV_TAIL + 1)
    if len(rest) > _WAV_TAIL or b"data" in rest:
        return None
    return data.begin, min(end, os.fstat(file.fileno()).st_size)


class _WavData(NamedTuple):
    begin: int
    size: int
    byte_rate: int  # bytes a second, 0 where no format came before


def _wav_data(file: IO[bytes]) -> _WavData | None:
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


def missing_end(file: IO[bytes]) -> str:
    """Return how a file shows that its end is missing, empty if it is whole or does not say.

    FFmpeg takes the length of an Ogg or WAVE file from its last bytes, so a file without its
    end seems whole to it. But the last page of an Ogg stream carries a mark, and WAVE and AIFF
    files begin with their size.
    """
    before = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(before)
    head = _bytes_at(file, 0, 12)
    if head[:4] == b"OggS":
        tail = _bytes_at(file, max(0, size - _OGG_TAIL), _OGG_TAIL)
        begin = tail.rfind(b"OggS\0")
        page = tail[begin:]
        if begin < 0 or len(page) < 27 or len(page) < 27 + page[26]:
            return _OGG_CUT
        if len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            return _OGG_CUT
        return "" if page[5] & _OGG_LAST_PAGE else _OGG_UNMARKED
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        stated = int.from_bytes(head[4:8], "little")
    elif head[:4] == b"FORM" and head[8:11] == b"AIF":
        stated = int.from_bytes(head[4:8], "big")
    else:
        return ""
    # One byte less than stated: a padding byte is often left out.
    if stated in _STREAMED_SIZES or stated + 8 <= size + 1:
        return ""
    return f"its header claims {stated + 8} bytes, it has {size}"


def unread_bytes(file: IO[bytes]) -> int:
    """Return how many bytes follow the end that a wav states, 0 where they may be a tag."""
    if (data := _wav_data(file)) is None:
        return 0
    stated = max(int.from_bytes(_bytes_at(file, 4, 4), "little") + 8, data.begin + data.size)
    rest = os.fstat(file.fileno()).st_size - stated
    return rest if rest > max(_WAV_TAIL, stated // 10) else 0


def _bytes_at(file: IO[bytes], place: int, count: int) -> bytes:
    before = file.tell()
    file.seek(place)
    data = file.read(count)
    file.seek(before)
    return data
