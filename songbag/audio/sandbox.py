"""Decode files in child processes with limits on memory, computing time and open files.

A damaged or hostile file can crash a decoder, fill the memory or keep it busy for ever. So
files are decoded in a child process that may use as much as `Limits` says (POSIX resource
limits). It sends frames through a pipe as plain numbers, never as pickled objects. When it
dies, or sends nothing for too long, the song fails with a reason and the caller goes on.

A child decodes one file. In collections one child decodes file after file (`reuse_decoder`);
with a new child for every file, extracting 290 songs of a minute takes 30 to 60 % more
computing. Such a child is replaced after the first file with anything wrong, and a file with
which it dies is tried again in a new child, so a file cannot make another one fail.

A caller with a single thread forks the child; this is safe because decoding uses neither ONNX
Runtime nor a threaded BLAS. A caller with threads (a server, a notebook) must not fork; it
starts a helper process without threads, which forks the children. On Windows files are decoded
in the caller, within the limits on length and time only.
"""

import atexit
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
from contextlib import suppress
from dataclasses import dataclass, field, fields

import msgspec
import numpy as np

from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.features import Frames
from songbag.audio.sandbox_child import (
    FILE,
    FRAMES,
    HEAD,
    REFUSED,
    REPORT,
    Request,
    load,
    run_child,
    send,
    to_bytes,
)
from songbag.errors import AudioError
from songbag.settings import Limits, Sound

_LARGEST_MESSAGE = 1 << 26  # bytes; a block of frames has at most 4 MB
# Reasons whose cause may be a file that the same child decoded before.
_DOUBTFUL = frozenset({"worker_died", "too_much_memory", "broken"})


def decode_in_sandbox(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Frames]:
    """Yield blocks of frames (n, bands) of a source, decoded in a child process.

    Raises
    ------
    AudioError
        What is wrong with the file; ``too_slow`` when the child used up its time,
        ``worker_died`` when it died, ``too_much_memory``; ``broken`` where the mistake is
        not the file's.
    """
    for data in run_in_sandbox(Request(source=source, sound=sound, limits=limits), report):
        yield np.frombuffer(data, dtype=np.float32).reshape(-1, sound.bands)


def run_in_sandbox(request: Request, report: AudioReport) -> Iterator[bytes]:
    """Yield the bytes of what ``request.function`` yields; errors as in `decode_in_sandbox`."""
    if sys.platform == "win32":
        decode = load(request.function)
        yield from map(to_bytes, decode(request.source, request.sound, report, request.limits))
        return
    yielded = 0
    while True:
        decoder = _start(request)
        try:
            for number, block in enumerate(decoder.blocks(request, report)):
                if number >= yielded:  # not those of a first try
                    yielded += 1
                    yield block
            return
        except AudioError as error:
            if not decoder.files or error.reason not in _DOUBTFUL:
                raise
        finally:
            # A child waits for the next file where it may; else it ends.
            idle = decoder.reusable and decoder.requests >= 0
            if idle and _reuse.enabled and _reuse.decoder is None:
                decoder.files, decoder.finished, decoder.reusable = decoder.files + 1, False, False
                _reuse.decoder = decoder
            else:
                decoder.stop()


@dataclass
class _Decoder:
    """The caller's end of a child process."""

    pipe: int  # what the child sends
    pid: int
    is_child: bool  # forked by this process, which has to wait for its end; else by the helper
    seconds_left: float  # of waiting for the present file
    requests: int = -1  # pipe for further requests, -1 for a child that decodes one file
    files: int = 0  # decoded before the present one
    finished: bool = False  # the child has sent its last message on the present file
    reusable: bool = False  # the child waits for another file

    def blocks(self, request: Request, report: AudioReport) -> Iterator[bytes]:
        """Yield the frames of a file, then fill in its report."""
        while True:
            kind, data = self.receive(request.source)
            if kind == FRAMES:
                yield data
                continue
            self.finished, self.reusable = True, kind == REPORT
            if kind == REFUSED:
                raise AudioError(*msgspec.msgpack.decode(data, type=tuple[str, str]))
            received = msgspec.msgpack.decode(data, type=AudioReport)
            for each in fields(received):
                setattr(report, each.name, getattr(received, each.name))
            return

    def receive(self, source: Source) -> tuple[bytes, bytes]:
        """Return the kind and the data of the next message."""
        try:
            kind, size = HEAD.unpack(self._read(HEAD.size, source))
            if size > _LARGEST_MESSAGE:
                raise EOFError
            return kind, self._read(size, source)
        except EOFError:
            raise AudioError(
                "worker_died",
                f"{source.path}: the process that read it died; the file is the likely cause. "
                "Leave it out, or convert it with another program.",
            ) from None

    def _read(self, size: int, source: Source) -> bytes:
        """Read ``size`` bytes; the time limit counts only waiting, not what the caller does."""
        data = bytearray()
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while len(data) < size:
            began = time.monotonic()
            ready = poll.poll(max(0.0, self.seconds_left) * 1000)
            self.seconds_left -= time.monotonic() - began
            if not ready:
                text = f"{source.path}: reading it took too long and was stopped."
                raise AudioError("too_slow", text)
            part = os.read(self.pipe, min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def stop(self) -> None:
        """Close the pipes and end the child."""
        for pipe in (self.pipe, self.requests):
            if pipe >= 0:
                os.close(pipe)
                _reuse.pipes.discard(pipe)
        # It may have ended by itself, or the caller's program waits for all its children.
        with suppress(ProcessLookupError, ChildProcessError):
            if self.is_child:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            elif not self.finished and self.pid:
                os.kill(self.pid, signal.SIGKILL)


# --- reuse of a child -------------------------------------------------------------------


@dataclass
class _Reuse:
    """Whether this process reuses a child, the one that waits, and the pipes to all of them."""

    owner: int = 0  # id of the process that may use them; a fork of it must not
    enabled: bool = False
    limits: Limits | None = None
    decoder: _Decoder | None = None
    pipes: set[int] = field(default_factory=set)


_reuse = _Reuse()


def reuse_decoder() -> None:
    """Let one child decode file after file from now on, until `stop_decoder` (Linux only)."""
    global _reuse
    if _reuse.owner != os.getpid():
        _reuse = _Reuse(os.getpid())
    _reuse.enabled = sys.platform == "linux"


def stop_decoder() -> None:
    """End the child that `reuse_decoder` allowed, if there is one."""
    _reuse.enabled = False
    if _reuse.decoder is not None and _reuse.owner == os.getpid():
        decoder, _reuse.decoder = _reuse.decoder, None
        decoder.stop()


def _start_reusable(request: Request) -> _Decoder:
    """Give a file to the child that waits, or to a new one."""
    decoder, _reuse.decoder = _reuse.decoder, None
    if decoder is not None:
        decoder.seconds_left = request.limits.wall_seconds
        with suppress(OSError):  # it died while it waited
            if _reuse.limits == request.limits:
                send(decoder.requests, FILE, msgspec.msgpack.encode(request))
                return decoder
        decoder.stop()
    _reuse.limits = request.limits
    (reading, writing), (child_reading, requests) = os.pipe(), os.pipe()
    _reuse.pipes |= {reading, requests}
    try:
        pid = _fork(request, writing, tuple(_reuse.pipes), child_reading)
    finally:
        os.close(writing)
        os.close(child_reading)
    return _Decoder(reading, pid, True, request.limits.wall_seconds, requests)


# --- starting a child -------------------------------------------------------------------


def _start(request: Request) -> _Decoder:
    may_fork = sys.platform == "linux" and threading.active_count() == 1
    if may_fork and _reuse.enabled and _reuse.owner == os.getpid():
        return _start_reusable(request)
    reading, writing = os.pipe()
    decoder = _Decoder(reading, 0, may_fork, request.limits.wall_seconds)
    try:
        if may_fork:
            decoder.pid = _fork(request, writing, (reading, *_reuse.pipes))
            return decoder
        _helper().fork(request, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    decoder.pid = int(decoder.receive(request.source)[1])
    return decoder


def _fork(
    request: Request,
    writing: int,
    others: tuple[int, ...] = (),
    reading: int | None = None,
) -> int:
    """Fork a child and return its id; ``others`` are pipes of this process that it must close.

    Otherwise it would not notice when the reader of its messages is gone.
    """
    with warnings.catch_warnings():
        # Python and JAX warn of threads, here those of libraries that decoding does not use.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        for pipe in others:
            os.close(pipe)
        run_child(request, writing, reading, announce=not others)
    return pid


class _Helper:
    """A process without threads that forks children for a caller with threads."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        code = "import sys; sys.path[:] = sys.argv[1:]; "
        code += "from songbag.audio.sandbox import _serve; _serve()"
        with theirs:
            command = [sys.executable, "-c", code, *sys.path]
            self.process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        self._socket = ours
        atexit.register(self.close)

    def fork(self, request: Request, writing: int) -> None:
        try:
            folder = os.getcwd()  # paths may be relative to it
        except OSError:  # it was removed
            folder = ""
        # The pipe goes along, so that the messages of several threads stay apart.
        message = msgspec.msgpack.encode((request, folder))
        socket.send_fds(self._socket, [message], [writing])

    def close(self) -> None:
        self._socket.close()
        if self.owner == os.getpid():
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


_lock = threading.Lock()
_helpers: list[_Helper] = []  # none or one


def _helper() -> _Helper:
    with _lock:
        if _helpers and (
            _helpers[0].owner != os.getpid() or _helpers[0].process.poll() is not None
        ):
            atexit.unregister(_helpers[0].close)
            _helpers.pop().close()
        if not _helpers:
            _helpers.append(_Helper())
        return _helpers[0]


def _serve() -> None:
    """Fork a child for every request on standard input, until the caller closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    requests = socket.socket(fileno=0)
    while True:
        data, pipes, _, _ = socket.recv_fds(requests, 1 << 20, 1)
        if not data:
            return
        request, folder = msgspec.msgpack.decode(data, type=tuple[Request, str])
        with suppress(OSError):
            os.chdir(folder)
        _fork(request, pipes[0])
        os.close(pipes[0])
