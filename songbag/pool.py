"""Work on many songs in several processes, in order, whatever happens to a process.

Jobs take ``workers`` and do not know who works: so many processes of this machine, or an
`Engine` such as a cluster (`songbag.cluster`).
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import loky

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
_AT_ONCE = 8  # items that a thread takes
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worker_count(wanted: int | None, items: int) -> int:
    """Return how many processes are worth having: one a core unless told otherwise."""
    return max(1, min(wanted or os.cpu_count() or 1, items))


def in_order(
    work: Callable[[Item], Result],
    todo: Sequence[Item],
    workers: Workers,
    died: Callable[[Item], Result],
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` in order; one worker means this process.

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
    pool = _pool(workers)
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
                pool = _pool(workers)
            yield result
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def in_threads(
    work: Callable[[Item], Result], todo: Sequence[Item], threads: int
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` in order, from threads: for work outside of Python, done at once.

    Some items a time: handing over costs as much as a tenth of a cached song.
    """

    def do(some: Sequence[Item]) -> list[Result]:
        return [work(item) for item in some]

    flying: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for first in range(0, len(todo), _AT_ONCE):
            flying.append(pool.submit(do, todo[first : first + _AT_ONCE]))
            if len(flying) > 2 * threads:
                yield from flying.popleft().result()
        while flying:
            yield from flying.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _alone(work: Callable[[Item], Result], item: Item, died: Callable[[Item], Result]) -> Result:
    pool = _pool(1)
    try:
        result: Result = pool.submit(work, item).result()
        return result
    except BrokenExecutor:
        return died(item)
    finally:
        pool.shutdown(wait=True, kill_workers=True)


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
        self._pool.shutdown(wait=True, kill_workers=True)


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


def _begin(caller: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    _end_with(caller)
    if prepare is not None:
        prepare(*arguments)


def _end_with(caller: int) -> None:
    """Let this process end soon after its caller, which may be killed.

    loky's would wait for work for ever. A timer, not a thread, because processes with
    threads must not fork.
    """
    if not hasattr(signal, "setitimer"):
        return  # Windows

    def look(*_: object) -> None:
        if os.getppid() != caller:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
