"""The child process of the sandbox: read requests, decode files, send frames back.

Every message through a pipe is a kind (one byte), a length (four bytes) and that many bytes.
"""

import importlib
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import msgspec
import numpy as np

from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.decode import native_blocks
from songbag.audio.features import Frames, frame_blocks
from songbag.audio.waveform import Samples, excerpt_span, read_blocks
from songbag.errors import AudioError
from songbag.parallel.pool import keep_memory
from songbag.settings import Limits, Record, Sound

HEAD = struct.Struct("!cI")  # kind and length of a message
FILE = b"Q"  # a `Request`: the next file to decode
FRAMES = b"F"  # bytes of frames
REPORT = b"R"  # the `AudioReport`; the child waits for another file
LAST = b"L"  # the `AudioReport`; the child ends
REFUSED = b"E"  # (reason, message) of an `AudioError`; the child ends
_SENT_BYTES = 1 << 16  # frames are gathered up to this size before they are sent

DecodeFunction = Callable[[Source, Sound, AudioReport, Limits], Iterator[Frames | bytes]]


class Request(Record, frozen=True):
    """A file to decode, and the arguments of the function that decodes it."""

    source: Source
    sound: Sound
    limits: Limits
    function: str = ""  # that function as "module:name", empty for `decode_frames`


def decode_frames(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Frames]:
    """Yield blocks of frames (n, bands) of a source; ``report`` is complete at the end."""
    span = excerpt_span(source, limits)
    return frame_blocks(read_blocks(source.path, sound.sample_rate, report, span, limits), sound)


def decode_samples(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Samples]:
    """Yield blocks of a source's samples (n,), mono, at the sound's rate."""
    span = excerpt_span(source, limits)
    return read_blocks(source.path, sound.sample_rate, report, span, limits)


def read_header(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[bytes]:
    """Yield nothing; fill in the report as far as the header says, or decode all if it does not."""
    for _ in native_blocks(source.path, report, limits):
        if report.claimed_seconds is not None:
            break
    return iter(())


def load(function: str) -> DecodeFunction:
    """Return the function that a request names."""
    if not function:
        return decode_frames
    module, _, name = function.partition(":")
    loaded: DecodeFunction = getattr(importlib.import_module(module), name)
    return loaded


def run_child(request: Request, writing: int, reading: int | None, announce: bool) -> NoReturn:
    """Decode, send, and leave the process without running the caller's clean-up.

    Messages go to the pipe ``writing``, more requests may come from ``reading``; ``announce``
    says to send the process id first.
    """
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if announce:
            send(writing, FRAMES, str(os.getpid()).encode())
        keep_memory()
        mapped = set_limits(request.limits, many=reading is not None)
        while _decode_one(request, writing, mapped, many=reading is not None):
            assert reading is not None
            request = _read_request(reading)
            renew_cpu_limit(request.limits)
    except (BrokenPipeError, EOFError):
        pass  # the caller has closed its end
    finally:
        os._exit(0)


def _decode_one(request: Request, writing: int, mapped: int | None, many: bool) -> bool:
    """Decode one file, send the messages, and return whether the child may take another."""
    try:
        report = AudioReport()
        gathered: list[bytes] = []
        decode = load(request.function)
        for block in decode(request.source, request.sound, report, request.limits):
            gathered.append(to_bytes(block))
            if len(gathered) * len(gathered[0]) >= _SENT_BYTES:
                send(writing, FRAMES, b"".join(gathered))
                gathered.clear()
        if gathered:
            send(writing, FRAMES, b"".join(gathered))
        undamaged = not report.bad_packets and not report.bad_samples and not report.cut
        now = _mapped_bytes()  # another file must have all that its limits allow
        room = now is None or mapped is None or now <= mapped + _LEFT_BYTES
        reusable = many and undamaged and room and time.process_time() < _LIFE_SECONDS
        send(writing, REPORT if reusable else LAST, msgspec.msgpack.encode(report))
        return reusable
    except AudioError as error:
        refusal = error.reason, str(error)
    except MemoryError:
        text = f"{request.source.path}: it needs more memory than one file may use."
        refusal = "too_much_memory", text
    except BrokenPipeError:
        raise
    except Exception as error:
        # A mistake of ours or of a library must not end a run of a million songs.
        text = f"{request.source.path}: reading it failed in an unforeseen way: {error!r:.200}. "
        refusal = "broken", text + "Leave it out, and report it with the file."
    send(writing, REFUSED, msgspec.msgpack.encode(refusal))
    return False


def to_bytes(block: Frames | bytes) -> bytes:
    """Return frames as the bytes of float32 values, and bytes as they are."""
    if isinstance(block, bytes):
        return block
    return np.ascontiguousarray(block, dtype=np.float32).tobytes()


def send(writing: int, kind: bytes, data: bytes) -> None:
    """Write one message to a pipe."""
    left = memoryview(HEAD.pack(kind, len(data)) + data)
    while left:
        left = left[os.write(writing, left) :]


def _read_request(reading: int) -> Request:
    data = b""
    while len(data) < HEAD.size or len(data) < HEAD.size + HEAD.unpack_from(data)[1]:
        part = os.read(reading, 1 << 16)
        if not part:
            raise EOFError
        data += part
    return msgspec.msgpack.decode(data[HEAD.size :], type=Request)


# --- resource limits (POSIX) ---

_LEFT_BYTES = 1 << 26  # memory that earlier files may have left in use
_LIFE_SECONDS = 60.0  # of computing, after which a child that decodes many files is replaced


def set_limits(limits: Limits, many: bool) -> int | None:
    """Limit memory, computing time, file size and descriptors; return `_mapped_bytes` before.

    ``many``: the child decodes file after file, so it gets time and memory for all of them.
    """
    import resource

    try:
        highest_descriptor = max(map(int, os.listdir("/dev/fd")))
    except (OSError, ValueError):
        highest_descriptor = 256
    values = {
        resource.RLIMIT_CPU: _cpu_seconds(limits) + int(_LIFE_SECONDS if many else 0),
        resource.RLIMIT_FSIZE: int(limits.spool_bytes),
        resource.RLIMIT_NOFILE: highest_descriptor + 1 + limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if (mapped := _mapped_bytes()) is not None:
        room = int(limits.memory_bytes) + (_LEFT_BYTES if many else 0)
        values[resource.RLIMIT_AS] = mapped + room
    for kind, value in values.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    return mapped


def renew_cpu_limit(limits: Limits) -> None:
    """Allow the next file its own computing time, up to the total that `set_limits` set."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    value = int(time.process_time()) + 1 + _cpu_seconds(limits)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (value, hard))


def _cpu_seconds(limits: Limits) -> int:
    return int(limits.cpu_seconds) + 2  # decoding itself stops at cpu_seconds, with a reason


def _mapped_bytes() -> int | None:
    """Return the address space in use, None where the system does not say (it has no limit)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
