"""Apply a function to many items in several processes, with results in order.

Functions that take ``workers`` accept a number of processes of this machine, or an `Engine`
such as a cluster (`songbag.parallel.cluster`).
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from songbag.errors import SettingsError

if TYPE_CHECKING:
    import loky

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Yield ``work(item)`` of every item in order, ``died(item)`` where it kills its process."""

    def __call__(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        died: Callable[[Item], Result],
    ) -> Iterator[Result]: ...


Workers: TypeAlias = int | Engine | None  # None: one process per core

_START_SECONDS = 120.0  # for a process to start and run its initializer
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worker_count(workers: int | None, items: int) -> int:
    """Return how many processes to use: by default one per core, never more than items."""
    return max(1, min(workers or os.cpu_count() or 1, items))


def in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: Workers,
    died: Callable[[Item], Result],
    fork: bool = False,
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` of every item, in order.

    Parameters
    ----------
    work : callable
        Must be picklable unless one worker is used.
    workers : int, Engine or None
        Processes; 1 works in this process, None uses one per core.
    died : callable
        Its result stands for an item that kills its process. When a process dies, all items in
        progress are lost. The first of them is tried again in a process of its own; if that
        dies too, the item is the cause. The other items are started again.
    fork : bool
        Allow forking, see `WorkerPool`.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3], workers=1, died=lambda item: 0))
    [1, 2, 3]
    """
    if callable(workers):
        yield from workers(work, items, died)
        return
    workers = worker_count(workers, len(items))
    if workers == 1:
        yield from map(work, items)
        return
    waiting = deque(items)
    running: deque[tuple[Item, Future[Result]]] = deque()
    with closing(WorkerPool(workers, fork)) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < 4 * workers:
                    running.append((waiting[0], pool.submit(work, waiting[0])))
                    waiting.popleft()
                result = running[0][1].result()
                running.popleft()
            except BrokenExecutor:
                pool.close()
                waiting.extendleft(item for item, _ in reversed(running))
                running.clear()
                suspect = waiting.popleft()
                with closing(WorkerPool(1)) as single:
                    try:
                        result = single.submit(work, suspect).result()
                    except BrokenExecutor:
                        result = died(suspect)
            yield result


class WorkerPool:
    """Processes of this machine, each with one thread for numerical libraries.

    They start with the first item and are killed by `close`; the next item starts new ones.
    ``initializer(*arguments)`` is called in every process before its first item.

    ``fork`` allows to fork this process where that is safe: on Linux, while it has a single
    thread and is not itself a worker of a pool, and only for work that uses no library with
    threads of its own. Otherwise loky starts new interpreters, which takes most of a second
    and, unlike the standard pool, needs no ``__main__`` guard in the caller's script.
    """

    def __init__(
        self,
        count: int,
        fork: bool = False,
        initializer: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self._count, self._fork = count, fork
        self._start = (os.getpid(), initializer, arguments)
        self._executor: loky.ProcessPoolExecutor | ProcessPoolExecutor | None = None

    def submit(self, work: Callable[[Item], Result], item: Item) -> "Future[Result]":
        """Start ``work(item)`` and return its future.

        It or the future raises `BrokenExecutor` when a process died; `close` makes it usable again.
        """
        if self._executor is None:
            single = threading.active_count() == 1 and multiprocessing.parent_process() is None
            if self._fork and single and sys.platform == "linux":
                # Not loky's fork: it would also fork later, when this process has threads.
                context = multiprocessing.get_context("fork")
                self._executor = ProcessPoolExecutor(
                    self._count, context, _start_worker, self._start
                )
                with warnings.catch_warnings():
                    # Python and JAX warn of threads of libraries, which are not used there.
                    warnings.simplefilter("ignore")
                    self._executor.submit(_nothing)  # the first item forks all processes
            else:
                import loky

                self._executor = loky.ProcessPoolExecutor(
                    self._count,
                    env=dict.fromkeys(_THREADS, "1"),
                    initializer=_start_worker,
                    initargs=self._start,
                )
        future: Future[Result] = self._executor.submit(work, item)
        return future

    def close(self) -> None:
        """Kill the processes, whatever they are doing."""
        executor, self._executor = self._executor, None
        if isinstance(executor, ProcessPoolExecutor):
            # From Python 3.14 on: kill_workers()
            for process in list((executor._processes or {}).values()):
                process.kill()
            executor.shutdown(wait=True, cancel_futures=True)
        elif executor is not None:
            executor.shutdown(wait=True, kill_workers=True)


class Worker:
    """One process that works on one item at a time; it is replaced when it dies or hangs.

    ``initializer(*arguments)`` is called first in every process, where there is one.
    """

    def __init__(self, initializer: Callable[..., None] | None = None, *arguments: Any) -> None:
        self._pool = WorkerPool(1, initializer=initializer, arguments=arguments)
        self._started = False

    def start(self) -> None:
        """Return when the process is ready; raise as `call` does when it cannot be."""
        self._pool.submit(_nothing, None).result(_START_SECONDS)
        self._started = True

    def call(self, work: Callable[[Item], Result], item: Item, seconds: float) -> Result:
        """Return ``work(item)``, computed in the process, or raise `BrokenExecutor` if it died.

        Raises
        ------
        TimeoutError
            It took longer than ``seconds``, not counting the start; the process was killed.
        """
        try:
            if not self._started:
                self.start()
            try:
                future = self._pool.submit(work, item)
            except BrokenExecutor:  # it died while it was idle: this item is not the cause
                self._pool.close()
                self.start()
                future = self._pool.submit(work, item)
            return future.result(seconds)
        except (BrokenExecutor, TimeoutError):
            self.close()
            raise

    def close(self) -> None:
        """Kill the process, whatever it is doing."""
        self._pool.close()
        self._started = False


def _nothing(_: object = None) -> None:
    """Do nothing: the first item starts a process."""


def _start_worker(
    parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    _exit_with_parent(parent)
    if initializer is not None:
        initializer(*arguments)


def _exit_with_parent(parent: int) -> None:
    """Exit this worker within about a second of its parent's death, even by SIGKILL.

    Otherwise a loky worker waits forever for its next task. A timer rather than a thread,
    because a process with threads must not fork. The handler runs between Python
    instructions, so a call into native code finishes first. Does nothing on Windows.
    """
    if not hasattr(signal, "setitimer"):
        return  # Windows

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)


# --- this process ---

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of options of glibc's mallopt
_KEPT_BYTES = 1 << 25


def keep_memory() -> None:
    """Let malloc keep freed memory for the next array, in the whole process (glibc only).

    By default glibc returns arrays above 128 KiB to the system when they are freed, and the
    next array of that size costs a page fault for every 4 KiB. Without this, extracting 290
    songs takes 16 to 30 % more computing, and 12 epochs of a convolutional network 30 % more.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library than glibc
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_TRIM_THRESHOLD, 16 * _KEPT_BYTES)


def world_size() -> int:
    """Return how many processes train together, 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_rank_zero() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return world_size() == 1 or os.environ.get("RANK") == "0"


def require_single_process(what: str) -> None:
    """Refuse to do ``what`` in several processes at once."""
    if world_size() > 1:
        raise SettingsError(
            f"{what} cannot run under torchrun, only songbag train of songs that "
            "are packed (songbag pack) or a table of windows."
        )
