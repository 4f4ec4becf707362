"""Inside a process that decodes: files in, frames out as plain numbers, and away.

What is sent is a kind, a length and that many bytes.
"""

import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import numpy as np

from songbag.audio.audio_file import AudioReport
from songbag.audio.features import Frames
from songbag.audio.source import Source
from songbag.errors import AudioError
from songbag.parallel.memory import keep_memory
from songbag.settings import Limits, Record, Sound

HEAD = struct.Struct("!cI")  # kind and length of every message
# A file to decode; its frames; its report, and whether that was the last; what is wrong with it.
FILE, FRAMES, REPORT, LAST, REFUSED = b"Q", b"F", b"R", b"L", b"E"
_SENT = 1 << 16  # bytes of frames gathered before they are sent

# --- limits of this process (POSIX) ---


_LEFT_BYTES = 1 << 26  # memory that files before may have left in use
_LIFE_SECONDS = 60.0  # of computing before a process that serves many files is replaced


@dataclass(frozen=True)
class Budget:
    """What this process had used when it began: `still_good` tells whether it may go on."""

    mapped: int | None

    def still_good(self) -> bool:
        """Tell whether another file would find all that its limits allow."""
        mapped = mapped_bytes()
        roomy = mapped is None or self.mapped is None or mapped <= self.mapped + _LEFT_BYTES
        return roomy and time.process_time() < _LIFE_SECONDS


def limit(limits: Limits, many: bool) -> Budget:
    """Set this process's limits until it ends; ``many``: it will serve file after file."""
    import resource

    extra = _LIFE_SECONDS if many else 0.0
    wanted = {
        resource.RLIMIT_CPU: _computing(limits) + int(extra),
        resource.RLIMIT_FSIZE: int(limits.spool_bytes),
        resource.RLIMIT_NOFILE: _highest_descriptor() + 1 + limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if (mapped := mapped_bytes()) is not None:
        room = int(limits.memory_bytes) + (_LEFT_BYTES if many else 0)
        wanted[resource.RLIMIT_AS] = mapped + room
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    return Budget(mapped)


def allow_another(limits: Limits) -> None:
    """Give the next file its own time of computing, within what the process has in all."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    value = int(time.process_time()) + 1 + _computing(limits)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (value, hard))


def _computing(limits: Limits) -> int:
    return int(limits.cpu_seconds) + 2  # decoding itself stops at cpu_seconds, with a reason


def _highest_descriptor() -> int:
    try:
        return max(map(int, os.listdir("/dev/fd")))
    except (OSError, ValueError):
        return 256


def mapped_bytes() -> int | None:
    """Return the address space in use, None where the system does not say (it has no limit)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


# --- decoding ---

Heard = Callable[[Source, Sound, AudioReport, Limits], Iterator[Frames | bytes]]
Named = Callable[[str], Heard]


class Request(Record, frozen=True):
    """A file to decode, and "module:function" of what makes something of it: frames if empty."""

    source: Source
    sound: Sound
    limits: Limits
    heard: str = ""


def decode(
    named: Callable[[str], Heard],
    request: Request,
    writing: int,
    taking: int | None,
    announce: bool,
) -> NoReturn:
    """Decode, send, and leave without any of the caller's clean-up.

    Parameters
    ----------
    named : callable
        Finds what a request calls ``heard``, as `songbag.audio.source.decode_frames`.
    writing : int
        Pipe that takes what there is to say.
    taking : int or None
        Pipe that more files may come from.
    announce : bool
        Whether to say first which process this is.
    """
    import gc

    try:
        gc.freeze()  # what the caller left behind is the caller's to finalise
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if announce:
            send(writing, FRAMES, str(os.getpid()).encode())
        keep_memory()
        budget = limit(request.limits, many=taking is not None)
        while _decode_one(named, request, writing, budget if taking is not None else None):
            request = _next_request(taking)
            allow_another(request.limits)
    except (BrokenPipeError, EOFError):
        pass  # the caller wants no more
    finally:
        os._exit(0)


def _next_request(taking: int | None) -> Request:
    assert taking is not None
    data = b""
    while len(data) < HEAD.size or len(data) < HEAD.size + HEAD.unpack_from(data)[1]:
        part = os.read(taking, 1 << 16)
        if not part:
            raise EOFError
        data += part
    return msgspec.msgpack.decode(data[HEAD.size :], type=Request)


def _decode_one(named: Named, request: Request, writing: int, budget: Budget | None) -> bool:
    """Decode one file and send what there is to say; return whether to take another."""
    try:
        report = AudioReport()
        waiting: list[bytes] = []
        heard = named(request.heard)
        for block in heard(request.source, request.sound, report, request.limits):
            waiting.append(plain(block))
            if len(waiting) * len(waiting[0]) >= _SENT:
                send(writing, FRAMES, b"".join(waiting))
                waiting.clear()
        if waiting:
            send(writing, FRAMES, b"".join(waiting))
        unharmed = not report.bad_packets and not report.bad_samples and not report.cut
        willing = budget is not None and unharmed and budget.still_good()
        send(writing, REPORT if willing else LAST, msgspec.msgpack.encode(report))
        return willing
    except AudioError as error:
        send(writing, REFUSED, msgspec.msgpack.encode((error.reason, str(error))))
    except MemoryError:
        text = f"{request.source.path}: it needs more memory than one file may use."
        send(writing, REFUSED, msgspec.msgpack.encode(("too_much_memory", text)))
    except BrokenPipeError:
        raise
    except Exception as error:
        # A mistake of ours, or of a library: it must not cost a run of a million songs.
        text = f"{request.source.path}: reading it failed in an unforeseen way: {error!r:.200}. "
        text += "Leave it out, and report it with the file."
        send(writing, REFUSED, msgspec.msgpack.encode(("broken", text)))
    return False


def plain(block: Frames | bytes) -> bytes:
    """Return the bytes of frames, or bytes as they are."""
    if isinstance(block, bytes):
        return block
    return np.ascontiguousarray(block, dtype=np.float32).tobytes()


def send(writing: int, kind: bytes, data: bytes) -> None:
    """Write one message to a pipe."""
    left = memoryview(HEAD.pack(kind, len(data)) + data)
    while left:
        left = left[os.write(writing, left) :]
