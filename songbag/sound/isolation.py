"""Every file is decoded in a process of its own, so what a file does stays in there.

The process may use so much memory and time and open so many files, and no more (POSIX
resource limits; `Limits` holds them). It sends frames through a pipe as plain numbers,
never pickled objects. When it dies, or nothing comes for too long, the song fails with
a reason and the caller goes on.

Where the caller has a single thread the process is forked from it: a few milliseconds,
and safe because decoding uses neither ONNX Runtime nor a threaded BLAS. A caller with
threads (a server, a notebook) must not fork, so it starts one clean helper and has that
fork. On Windows there is neither: files are decoded in the caller, within the limits on
length and time only.
"""

import atexit
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NoReturn

import msgspec
import numpy as np

from songbag.errors import AudioError
from songbag.settings import Limits, Record, Sound
from songbag.sound.audio import AudioReport
from songbag.sound.features import Frames
from songbag.sound.source import Source, heard_frames

_HEAD = struct.Struct("!cI")  # kind and length of every message
_FRAMES, _REPORT, _REFUSED = b"F", b"R", b"E"
_LARGEST = 1 << 26  # bytes of one message: a block of frames has at most 4 MB


class _Request(Record, frozen=True):
    source: Source
    sound: Sound
    limits: Limits


@dataclass
class _Decoder:
    """The reading end of a decoding process; ``child`` where it is ours to wait for."""

    pipe: int
    pid: int
    child: bool
    seconds_left: float
    done: bool = False


def isolated_frames(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Frames]:
    """Yield what `heard_frames` yields, from a process of its own.

    Raises
    ------
    AudioError
        What is wrong with the file; ``too_slow`` when its process used up its time,
        ``worker_died`` when it died, ``too_much_memory``; ``broken`` where the mistake is
        not the file's.
    """
    if sys.platform == "win32":
        yield from heard_frames(source, sound, report, limits)
        return
    decoder = _start(_Request(source=source, sound=sound, limits=limits))
    try:
        while True:
            kind, data = _receive(decoder, source)
            if kind == _FRAMES:
                yield np.frombuffer(data, dtype=np.float32).reshape(-1, sound.bands)
                continue
            decoder.done = True
            if kind == _REPORT:
                found = msgspec.msgpack.decode(data, type=AudioReport)
                for field in fields(found):
                    setattr(report, field.name, getattr(found, field.name))
                return
            raise AudioError(*msgspec.msgpack.decode(data, type=tuple[str, str]))
    finally:
        _stop(decoder)


def _receive(decoder: _Decoder, source: Source) -> tuple[bytes, bytes]:
    try:
        kind, size = _HEAD.unpack(_read(decoder, _HEAD.size, source))
        if size > _LARGEST:
            raise EOFError
        return kind, _read(decoder, size, source)
    except EOFError:
        raise AudioError(
            "worker_died",
            f"{source.path}: the process that read it died; the file is the likely cause. "
            "Leave it out, or convert it with another program.",
        ) from None


def _read(decoder: _Decoder, size: int, source: Source) -> bytes:
    """Read ``size`` bytes; only waiting counts against the time, not what callers do."""
    found = bytearray()
    poll = select.poll()
    poll.register(decoder.pipe, select.POLLIN)
    while len(found) < size:
        began = time.monotonic()
        ready = poll.poll(max(0.0, decoder.seconds_left) * 1000)
        decoder.seconds_left -= time.monotonic() - began
        if not ready:
            raise AudioError(
                "too_slow", f"{source.path}: reading it took too long and was stopped."
            )
        part = os.read(decoder.pipe, min(size - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def _stop(decoder: _Decoder) -> None:
    os.close(decoder.pipe)
    try:
        if decoder.child:
            os.kill(decoder.pid, signal.SIGKILL)
            os.waitpid(decoder.pid, 0)
        elif not decoder.done and decoder.pid:
            os.kill(decoder.pid, signal.SIGKILL)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended by itself, or the caller's program reaps all its children


# --- starting ---------------------------------------------------------------------------


def _start(request: _Request) -> _Decoder:
    reading, writing = os.pipe()
    seconds = request.limits.wall_seconds
    try:
        if sys.platform == "linux" and threading.active_count() == 1:
            return _Decoder(reading, _fork(request, writing, reading), True, seconds)
        decoder = _Decoder(reading, 0, False, seconds)
        _helper().fork(request, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    _, data = _receive(decoder, request.source)
    decoder.pid = int(data)
    return decoder


def _fork(request: _Request, writing: int, reading: int | None = None) -> int:
    with warnings.catch_warnings():
        # Python warns of other threads, which here are idle ones of numerical libraries.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        if reading is not None:
            os.close(reading)  # else this process would never notice that its reader is gone
        _decode(request, writing, announce=reading is None)
    return pid


class _Helper:
    """A clean process that forks decoders for callers with threads."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        code = "import sys; sys.path[:] = sys.argv[1:]; "
        code += "from songbag.sound.isolation import _serve; _serve()"
        with theirs:
            command = [sys.executable, "-c", code, *sys.path]
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        self._socket = ours
        atexit.register(self.close)

    def fork(self, request: _Request, writing: int) -> None:
        # A descriptor sent along keeps requests of several threads apart.
        socket.send_fds(self._socket, [msgspec.msgpack.encode(request)], [writing])

    def close(self) -> None:
        self._socket.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


_lock = threading.Lock()
_helpers: list[_Helper] = []


def _helper() -> _Helper:
    with _lock:
        if _helpers and (
            _helpers[0].owner != os.getpid() or _helpers[0]._process.poll() is not None
        ):
            atexit.unregister(_helpers[0].close)
            _helpers.pop().close()
        if not _helpers:
            _helpers.append(_Helper())
        return _helpers[0]


def _serve() -> None:
    """Fork a decoder for every request on standard input, until the caller is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how decoders ended
    requests = socket.socket(fileno=0)
    while True:
        data, pipes, _, _ = socket.recv_fds(requests, 1 << 20, 1)
        if not data:
            return
        _fork(msgspec.msgpack.decode(data, type=_Request), pipes[0])
        os.close(pipes[0])


# --- inside the process -----------------------------------------------------------------


def _decode(request: _Request, writing: int, announce: bool) -> NoReturn:
    """Decode, send, and leave without any of the caller's clean-up."""
    import gc

    try:
        gc.disable()  # what the caller left behind is the caller's to finalise
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if announce:
            _send(writing, _FRAMES, str(os.getpid()).encode())
        _limit(request.limits)
        report = AudioReport()
        for block in heard_frames(request.source, request.sound, report, request.limits):
            _send(writing, _FRAMES, np.ascontiguousarray(block, dtype=np.float32).tobytes())
        _send(writing, _REPORT, msgspec.msgpack.encode(report))
    except AudioError as error:
        _send(writing, _REFUSED, msgspec.msgpack.encode((error.reason, str(error))))
    except MemoryError:
        text = f"{request.source.path}: it needs more memory than one file may use."
        _send(writing, _REFUSED, msgspec.msgpack.encode(("too_much_memory", text)))
    except BrokenPipeError:
        pass  # the caller wants no more
    except Exception as error:
        # A mistake of ours, or of a library: it must not cost a run of a million songs.
        text = f"{request.source.path}: reading it failed in an unforeseen way: {error!r:.200}. "
        text += "Leave it out, and report it with the file."
        _send(writing, _REFUSED, msgspec.msgpack.encode(("broken", text)))
    finally:
        os._exit(0)


def _send(writing: int, kind: bytes, data: bytes) -> None:
    left = memoryview(_HEAD.pack(kind, len(data)) + data)
    while left:
        left = left[os.write(writing, left) :]


def _limit(limits: Limits) -> None:
    """Set this process's limits; they hold until it ends."""
    import resource

    seconds = int(limits.cpu_seconds) + 2  # decoding itself stops at cpu_seconds, with a reason
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: int(limits.spool_bytes),
        resource.RLIMIT_NOFILE: _highest_descriptor() + 1 + limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if (mapped := _mapped_bytes()) is not None:
        wanted[resource.RLIMIT_AS] = mapped + int(limits.memory_bytes)
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _highest_descriptor() -> int:
    try:
        return max(map(int, os.listdir("/dev/fd")))
    except (OSError, ValueError):
        return 256


def _mapped_bytes() -> int | None:
    """Address space in use, None where the system does not say (then it is not limited)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
