"""Files are decoded in processes apart, so what a file does stays in there.

Such a process may use so much memory and time and open so many files, and no more (POSIX
resource limits; `Limits` holds them). It sends frames through a pipe as plain numbers,
never pickled objects. When it dies, or nothing comes for too long, the song fails with
a reason and the caller goes on.

A process decodes one file. Collections are decoded by one that takes file after file
(`reuse_decoder`), because making a process costs as much as decoding a minute of sound; it is
replaced after the first file that had anything wrong with it, and what dies in a process
that decoded others before is tried again in a new one: no file pays for another.

Where the caller has a single thread the process is forked from it, safe because decoding
uses neither ONNX Runtime nor a threaded BLAS. A caller with threads (a server, a notebook)
must not fork, so it starts one clean helper and has that fork. On Windows there is neither:
files are decoded in the caller, within the limits on length and time only.
"""

import atexit
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import msgspec
import numpy as np

from songbag.audio.audio_file import AudioReport
from songbag.audio.features import Frames
from songbag.audio.sandbox_child import (
    FILE,
    FRAMES,
    HEAD,
    REFUSED,
    REPORT,
    Heard,
    Request,
    decode,
    plain,
    send,
)
from songbag.audio.source import Source, decode_frames
from songbag.errors import AudioError
from songbag.settings import Limits, Sound

_LARGEST = 1 << 26  # bytes of one message: a block of frames has at most 4 MB
_DOUBTFUL = frozenset({"worker_died", "too_much_memory", "broken"})  # may be a file's before


@dataclass
class _Decoder:
    """The caller's end of a decoding process.

    ``child`` where it is ours to wait for; ``requests`` where it takes more than one file,
    else -1; ``served`` files it has decoded; ``done`` when it has nothing more to say.
    """

    pipe: int
    pid: int
    child: bool
    seconds_left: float
    requests: int = -1
    served: int = 0
    done: bool = False
    willing: bool = False


def decode_in_sandbox(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Frames]:
    """Yield what `decode_frames` yields, from another process.

    Raises
    ------
    AudioError
        What is wrong with the file; ``too_slow`` when its process used up its time,
        ``worker_died`` when it died, ``too_much_memory``; ``broken`` where the mistake is
        not the file's.
    """
    for data in run_in_sandbox(Request(source=source, sound=sound, limits=limits), report):
        yield np.frombuffer(data, dtype=np.float32).reshape(-1, sound.bands)


def run_in_sandbox(request: Request, report: AudioReport) -> Iterator[bytes]:
    """Yield the bytes of what ``request.heard`` yields, from another process.

    Raises
    ------
    AudioError
        As `decode_in_sandbox`.
    """
    if sys.platform == "win32":
        heard = _named(request.heard)
        yield from map(plain, heard(request.source, request.sound, report, request.limits))
        return
    given = 0
    while True:
        decoder = _start(request)
        try:
            for number, block in enumerate(_received(decoder, request, report)):
                if number >= given:
                    given += 1
                    yield block
            return
        except AudioError as error:
            if not decoder.served or error.reason not in _DOUBTFUL:
                raise
        finally:
            _stop(decoder)


def _received(decoder: _Decoder, request: Request, report: AudioReport) -> Iterator[bytes]:
    while True:
        kind, data = _receive(decoder, request.source)
        if kind == FRAMES:
            yield data
            continue
        decoder.done, decoder.willing = True, kind == REPORT
        if kind == REFUSED:
            raise AudioError(*msgspec.msgpack.decode(data, type=tuple[str, str]))
        found = msgspec.msgpack.decode(data, type=AudioReport)
        for each in fields(found):
            setattr(report, each.name, getattr(found, each.name))
        return


def _receive(decoder: _Decoder, source: Source) -> tuple[bytes, bytes]:
    try:
        kind, size = HEAD.unpack(_read(decoder, HEAD.size, source))
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
    """Keep a decoder for the next file where it may be kept, else end it."""
    if decoder.willing and decoder.requests >= 0 and _kept.on and _kept.decoder is None:
        decoder.served, decoder.done, decoder.willing = decoder.served + 1, False, False
        _kept.decoder = decoder
        return
    for pipe in (decoder.pipe, decoder.requests):
        if pipe >= 0:
            os.close(pipe)
            _kept.pipes.discard(pipe)
    try:
        if decoder.child:
            os.kill(decoder.pid, signal.SIGKILL)
            os.waitpid(decoder.pid, 0)
        elif not decoder.done and decoder.pid:
            os.kill(decoder.pid, signal.SIGKILL)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended by itself, or the caller's program reaps all its children


# --- keeping ----------------------------------------------------------------------------


@dataclass
class _Kept:
    """The decoder that waits for the next file, and the pipes to those there are."""

    owner: int = 0  # the process that may talk to them
    on: bool = False
    limits: Limits | None = None
    decoder: _Decoder | None = None
    pipes: set[int] = field(default_factory=set)


_kept = _Kept()


def reuse_decoder() -> None:
    """From now on let one process decode file after file, until `stop_decoder`."""
    global _kept
    if _kept.owner != os.getpid():  # also in a copy of the process that has one
        _kept = _Kept(os.getpid())
    _kept.on = sys.platform == "linux"


def stop_decoder() -> None:
    """End the process that `reuse_decoder` kept."""
    _kept.on = False
    if _kept.decoder is not None and _kept.owner == os.getpid():
        decoder, _kept.decoder = _kept.decoder, None
        _stop(decoder)


# --- starting ---------------------------------------------------------------------------


def _start(request: Request) -> _Decoder:
    alone = sys.platform == "linux" and threading.active_count() == 1
    if alone and _kept.on and _kept.owner == os.getpid():
        return _kept_decoder(request)
    reading, writing = os.pipe()
    seconds = request.limits.wall_seconds
    try:
        if alone:
            return _Decoder(
                reading, _fork(request, writing, (reading, *_kept.pipes)), True, seconds
            )
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


def _kept_decoder(request: Request) -> _Decoder:
    """Give a file to the decoder that is kept, or to a new one."""
    decoder, _kept.decoder = _kept.decoder, None
    if decoder is not None:
        decoder.seconds_left = request.limits.wall_seconds
        try:
            if _kept.limits == request.limits:
                send(decoder.requests, FILE, msgspec.msgpack.encode(request))
                return decoder
        except OSError:
            pass  # it died while it had nothing to do
        _stop(decoder)
    _kept.limits = request.limits
    (reading, writing), (taking, asking) = os.pipe(), os.pipe()
    _kept.pipes |= {reading, asking}
    try:
        pid = _fork(request, writing, tuple(_kept.pipes), taking)
    finally:
        os.close(writing)
        os.close(taking)
    return _Decoder(reading, pid, True, request.limits.wall_seconds, asking)


def _fork(
    request: Request, writing: int, foreign: tuple[int, ...] = (), taking: int | None = None
) -> int:
    with warnings.catch_warnings():
        # Python and JAX warn of other threads, which here are those of libraries not used there.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        for pipe in foreign:
            os.close(pipe)  # else this process would never notice that its reader is gone
        decode(_named, request, writing, taking, announce=not foreign)
    return pid


def _named(name: str) -> Heard:
    if not name:
        return decode_frames
    module, _, function = name.partition(":")
    found: Heard = getattr(importlib.import_module(module), function)
    return found


class _Helper:
    """A clean process that forks decoders for callers with threads."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        code = "import sys; sys.path[:] = sys.argv[1:]; "
        code += "from songbag.audio.sandbox import _serve; _serve()"
        with theirs:
            command = [sys.executable, "-c", code, *sys.path]
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        self._socket = ours
        atexit.register(self.close)

    def fork(self, request: Request, writing: int) -> None:
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
        _fork(msgspec.msgpack.decode(data, type=Request), pipes[0])
        os.close(pipes[0])
