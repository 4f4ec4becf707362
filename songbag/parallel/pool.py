"""Work on many songs in several processes, in order, whatever happens to a process.

Jobs take ``workers`` and do not know who works: so many processes of this machine, or an
`Engine` such as a cluster (`songbag.parallel.dask`).
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import loky

    Pool: TypeAlias = loky.ProcessPoolExecutor | ProcessPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Yields ``work(item)`` of every item in order, ``died(item)`` where it kills its process."""

    def __call__(
        self,
        work: Callable[[Item], Result],
        todo: Sequence[Item],
        died: Callable[[Item], Result],
    ) -> Iterator[Result]: ...


Workers: TypeAlias = int | Engine | None  # processes, None for one a core

_START_SECONDS = 120.0  # for a process to start and prepare itself
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worker_count(wanted: int | None, items: int) -> int:
    """Return how many processes are worth having: one a core unless told otherwise."""
    return max(1, min(wanted or os.cpu_count() or 1, items))


def in_order(
    work: Callable[[Item], Result],
    todo: Sequence[Item],
    workers: Workers,
    died: Callable[[Item], Result],
    forks: bool = False,
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` in order; one worker means this process.

    ``forks``: the work uses no library that has threads of its own, so its processes may be
    copies of this one where it has a single thread. A new one takes most of a second.

    When a process dies, every item in flight is lost with it. The oldest of them is tried
    again alone in a process of its own: if that dies too, the item is the cause and
    ``died(item)`` is its result. The others start again.
    """
    if callable(workers):
        yield from workers(work, todo, died)
        return
    workers = worker_count(workers, len(todo))
    if workers == 1:
        yield from map(work, todo)
        return
    waiting = deque(todo)
    flying: deque[tuple[Item, Future[Result]]] = deque()
    pool = _pool_for(workers, forks)
    try:
        while waiting or flying:
            try:
                while waiting and len(flying) < 4 * workers:
                    flying.append((waiting[0], pool.submit(work, waiting[0])))
                    waiting.popleft()
                result = flying[0][1].result()
                flying.popleft()
            except BrokenExecutor:
                pool.shutdown(wait=True)
                waiting.extendleft(item for item, _ in reversed(flying))
                flying.clear()
                result = _alone(work, waiting.popleft(), died)
                pool = _pool_for(workers, forks)
            yield result
    finally:
        _kill(pool)


class Threads:
    """Some threads, the caller's one of them, for work outside of Python. To be closed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._others = ThreadPoolExecutor(count - 1) if count > 1 else None

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``work(item)`` of all, in order; each thread takes one stretch of the items.

        Threads that do the same wait for each other less than those that do different
        things, and handing items over one by one would cost as much as a cached song.
        """
        if self._others is None:
            return [work(item) for item in items]
        size = max(1, -(-len(items) // self._count))
        stretches = [items[first : first + size] for first in range(size, len(items), size)]
        done = self._others.map(lambda some: [work(item) for item in some], stretches)
        mine = [work(item) for item in items[:size]]
        return [*mine, *(result for some in done for result in some)]

    def close(self) -> None:
        """End the threads once they have done what they do."""
        if self._others is not None:
            self._others.shutdown(cancel_futures=True)


def _alone(work: Callable[[Item], Result], item: Item, died: Callable[[Item], Result]) -> Result:
    pool = _pool(1)
    try:
        result: Result = pool.submit(work, item).result()
        return result
    except BrokenExecutor:
        return died(item)
    finally:
        _kill(pool)


class Worker:
    """One process that does one thing after another, and is replaced when it dies or hangs.

    ``prepare(*arguments)`` runs first in every process it has.
    """

    def __init__(self, prepare: Callable[..., None], *arguments: Any) -> None:
        self._prepared = (prepare, arguments)
        self._pool = _pool(1, *self._prepared)
        self._started = False

    def start(self) -> None:
        """Return when the process is ready; raise as `call` does when it cannot be."""
        self._pool.submit(_nothing).result(_START_SECONDS)
        self._started = True

    def call(self, work: Callable[[Item], Result], item: Item, seconds: float) -> Result:
        """Return ``work(item)``, done in the process; its start does not count.

        Raises
        ------
        TimeoutError
            It took longer than ``seconds``; the process was killed.
        BrokenExecutor
            The process died.
        """
        try:
            if not self._started:
                self.start()
            result: Result = self._given(work, item).result(seconds)
            return result
        except (BrokenExecutor, TimeoutError):
            self._renew()
            raise

    def _given(self, work: Callable[[Item], Result], item: Item) -> "Future[Result]":
        try:
            future: Future[Result] = self._pool.submit(work, item)
        except BrokenExecutor:  # it died while it had nothing to do: no fault of this item
            self._renew()
            self.start()
            future = self._pool.submit(work, item)
        return future

    def _renew(self) -> None:
        self.close()
        self._pool = _pool(1, *self._prepared)
        self._started = False

    def close(self) -> None:
        """Kill the process, whatever it is doing."""
        _kill(self._pool)


def _nothing() -> None:
    pass


def _pool(
    workers: int, prepare: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> "loky.ProcessPoolExecutor":
    # loky: unlike the standard pool it needs no __main__ guard in a caller's script.
    # One thread a process: the processes are the parallelism.
    import loky

    return loky.ProcessPoolExecutor(
        workers,
        env=dict.fromkeys(_THREADS, "1"),
        initializer=_begin,
        initargs=(os.getpid(), prepare, arguments),
    )


def _pool_for(workers: int, forks: bool) -> "Pool":
    # Nor may what is itself a process of somebody's pool be copied: it has that pool's threads.
    alone = threading.active_count() == 1 and multiprocessing.parent_process() is None
    return _copies(workers) if forks and alone and sys.platform == "linux" else _pool(workers)


def _copies(workers: int) -> ProcessPoolExecutor:
    # The standard pool: loky's would also fork later, when this process has threads.
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), None, ()))
    with warnings.catch_warnings():
        # Python and JAX warn of other threads, which here are those of libraries not used there.
        warnings.simplefilter("ignore")
        pool.submit(_nothing)  # with the first work it forks all
    return pool


def _kill(pool: "Pool") -> None:
    """End a pool's processes, whatever they are doing."""
    if isinstance(pool, ProcessPoolExecutor):
        for process in list((pool._processes or {}).values()):  # from Python 3.14 kill_workers()
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
    else:
        pool.shutdown(wait=True, kill_workers=True)


def _begin(caller: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends this
    _exit_with_parent(caller)
    if prepare is not None:
        prepare(*arguments)


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
