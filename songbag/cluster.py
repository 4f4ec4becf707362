"""The same work on a cluster: an engine (see `songbag.pool`) on Dask.

What is done with a song, with its model and settings, goes to every worker once. Songs go
in portions, a few a thread at a time, so a million of them never wait at the scheduler;
results come back in the order of the songs. Whatever happens to workers or scheduler, a
portion is done again, which is harmless because work on a song can be repeated.
"""

import pickle
import queue
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import distributed

from songbag import __version__
from songbag.errors import ClusterError
from songbag.pool import Engine, Item, Result

_PORTION = 16  # songs of a task at most: seconds of work, so that scheduling costs nothing
_WAITING = 3  # portions a thread that are not done, at the scheduler and the workers
_KEPT = 4096  # portions at most that wait for an earlier one
_PATIENCE_SECONDS = 300.0  # for a scheduler or the first worker to come back
_CONNECT_SECONDS = 20.0
_LOOK_SECONDS = 5.0  # between two looks at who works
_TRIES = 3  # workers that may find no room for a portion before that is the job's trouble


@contextmanager
def connected(address: str) -> Iterator[Engine]:
    """Connect to a scheduler and yield the engine it makes.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``, or ``local:2`` for two worker processes of this machine.

    Raises
    ------
    ClusterError
        Nobody answers there, or nobody works.
    """
    link = _Link(address)
    try:
        link.wait_for_workers()
        yield link.in_order
    finally:
        link.close()


@dataclass(eq=False)
class _Portion:
    """Songs that go to a worker together, and what became of them."""

    items: Sequence[Any]
    careful: bool = False
    troubles: int = 0
    future: "distributed.Future[Any] | None" = None
    results: list[Any] | None = None


@dataclass(frozen=True)
class _Dead:
    """The result of an item whose process died, alone."""


@dataclass(frozen=True)
class _Trouble:
    """A worker could not read or write; another may."""

    worker: str
    error: OSError


class _Carrier(distributed.WorkerPlugin):  # type: ignore[misc]
    """Takes the work to every worker once, also to those that come later."""

    def __init__(self, name: str, work: Callable[[Any], Any]) -> None:
        self.name, self.work, self.version = name, work, __version__


class _LostError(Exception):
    """The scheduler has gone, and what it knew with it."""


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except (CancelledError, OSError, TimeoutError, RuntimeError) as error:
        raise _LostError from error


class _Link:
    """A connection that is made again when the scheduler was away."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._own = _local_cluster(address)
        self.client = self._connect(0)
        self.bad: set[str] = set()  # workers that could not write
        self._threads: dict[str, int] = {}
        self._looked = -_LOOK_SECONDS

    def _connect(self, patience: float) -> distributed.Client:
        deadline = time.monotonic() + patience
        while True:
            try:
                return distributed.Client(
                    self._own or self.address, timeout=_CONNECT_SECONDS, set_as_default=False
                )
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) or time.monotonic() > deadline:
                    raise ClusterError(
                        f"--cluster {self.address}: no scheduler answers there ({error}). Start "
                        "one with 'dask scheduler' and workers with 'dask worker', or take "
                        "local:2. What was done is kept; the same command goes on."
                    ) from None
                time.sleep(1)

    def again(self) -> None:
        """Connect anew."""
        with suppress(Exception):  # it is of no use any more
            self.client.close(timeout=2)
        self.client = self._connect(_PATIENCE_SECONDS)
        self._looked = -_LOOK_SECONDS

    def wait_for_workers(self) -> None:
        """Return when somebody works."""
        try:
            self.client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError:
            raise ClusterError(
                f"--cluster {self.address}: the scheduler has no workers. Start them with "
                f"'dask worker {self.address} --nthreads 1'."
            ) from None

    def threads(self) -> dict[str, int]:
        """Return threads by worker, without workers that cannot write, as of a moment ago."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            with _asking():
                self._threads = dict(self.client.nthreads())
            self._looked = time.monotonic()
        return {name: count for name, count in self._threads.items() if name not in self.bad}

    def in_order(
        self,
        work: Callable[[Item], Result],
        todo: Sequence[Item],
        died: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Yield ``work(item)`` of every item, in order (see `songbag.pool.Engine`)."""
        carrier = _Carrier(f"songbag-{uuid.uuid4().hex[:12]}", work)
        for item, result in _Flow(self, carrier, todo).results():
            yield died(item) if isinstance(result, _Dead) else result

    def close(self) -> None:
        with suppress(Exception):  # what is done is done
            self.client.close(timeout=5)
        if self._own is not None:
            self._own.close(timeout=5)


def _local_cluster(address: str) -> "distributed.LocalCluster | None":
    kind, _, count = address.partition(":")
    if kind != "local":
        return None
    if not count.isdigit() or count == "0":
        raise ClusterError(f"--cluster {address}: write local: and a number, e.g. local:2.")
    return distributed.LocalCluster(
        n_workers=int(count),
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs="CRITICAL",
    )


@dataclass
class _Flow:
    """One job's portions on their way: begun in order, done in any, given out in order."""

    link: _Link
    carrier: _Carrier
    todo: Sequence[Any]
    flying: deque[_Portion] = field(default_factory=deque)
    done: "queue.SimpleQueue[_Portion]" = field(default_factory=queue.SimpleQueue)
    begun: int = 0  # items in portions
    submitted: int = 0  # portions, those that were tried again too

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield every item with its result."""
        try:
            self._begin()
            while self.begun < len(self.todo) or self.flying:
                try:
                    self._fill()
                    if self.flying[0].results is None:
                        self._settle()
                except _LostError:
                    self._begin()
                while self.flying and (found := self.flying[0].results) is not None:
                    yield from zip(self.flying.popleft().items, found, strict=True)
        finally:
            self._leave()

    def _begin(self) -> None:
        """Take the work to the workers, and submit again what a lost scheduler knew."""
        while True:
            try:
                with _asking():
                    self.link.client.register_plugin(self.carrier, name=self.carrier.name)
                for portion in self.flying:
                    if portion.results is None:
                        self._submit(portion)
                return
            except _LostError:
                self.link.again()

    def _fill(self) -> None:
        """Submit what there is room for."""
        threads = max(1, sum(self.link.threads().values()))
        size = max(1, min(_PORTION, len(self.todo) // (16 * threads)))
        waiting = sum(one.results is None for one in self.flying)
        for _ in range(min(_WAITING * threads - waiting, _KEPT - len(self.flying))):
            if self.begun == len(self.todo):
                return
            portion = _Portion(self.todo[self.begun : self.begun + size])
            self.flying.append(portion)
            self.begun += len(portion.items)
            self._submit(portion)

    def _submit(self, portion: _Portion) -> None:
        self.submitted += 1
        with _asking():
            portion.future = self.link.client.submit(
                _work_through,
                self.carrier.name,
                __version__,
                cloudpickle.dumps(list(portion.items)),
                portion.careful,
                key=f"{self.carrier.name}-{self.submitted}",
                workers=list(self.link.threads()) if self.link.bad else None,
                allow_other_workers=bool(self.link.bad),
            )
            portion.future.add_done_callback(lambda _: self.done.put(portion))

    def _settle(self) -> None:
        """Wait until something is done, and take in everything that is."""
        ready = {self._next()}
        while not self.done.empty():
            ready.add(self.done.get())
        by_status: dict[str, list[_Portion]] = {}
        for portion in ready:
            if portion.results is None and portion.future is not None:
                by_status.setdefault(portion.future.status, []).append(portion)
        finished = by_status.get("finished", [])
        with _asking():
            found = self.link.client.gather([one.future for one in finished])
        for portion, outcome in zip(finished, found, strict=True):
            self._take(portion, outcome)
        for portion in by_status.get("error", []):
            self._mend(portion)
        for portion in by_status.get("lost", []):
            self._submit(portion)
        if "cancelled" in by_status:
            raise _LostError

    def _next(self) -> _Portion:
        since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return self.done.get(timeout=_LOOK_SECONDS)
            if self.link.threads():
                since = time.monotonic()
            elif time.monotonic() - since > _PATIENCE_SECONDS:
                raise ClusterError(
                    f"--cluster {self.link.address}: all workers have gone. What was done is "
                    "kept; the same command goes on."
                )

    def _take(self, portion: _Portion, outcome: Any) -> None:
        if not isinstance(outcome, _Trouble):
            portion.results = outcome
            return
        self.link.bad.add(outcome.worker)
        portion.troubles += 1
        if portion.troubles == _TRIES or not self.link.threads():
            raise outcome.error
        self._submit(portion)

    def _mend(self, portion: _Portion) -> None:
        """Find out which song killed the workers: each goes alone, in a process of its own."""
        assert portion.future is not None
        error = portion.future.exception()
        if not isinstance(error, distributed.KilledWorker):
            raise _explained(error)
        if portion.careful:
            portion.results = [_Dead()]
            return
        place = self.flying.index(portion)
        self.flying.remove(portion)
        for number, item in enumerate(portion.items):
            alone = _Portion([item], careful=True)
            self.flying.insert(place + number, alone)
            self._submit(alone)

    def _leave(self) -> None:
        with suppress(Exception):  # the scheduler may have gone
            client = self.link.client
            client.cancel([one.future for one in self.flying if one.future is not None])
            client.unregister_worker_plugin(self.carrier.name)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, ImportError) or "deserializ" in str(error):
        return ClusterError(
            f"the cluster cannot do this work: {error}. Its scheduler and workers need "
            f"songbag[cluster] {__version__}, as here."
        )
    return error


# --- in the workers ---------------------------------------------------------------------


def _work_through(name: str, version: str, items: bytes, careful: bool) -> Any:
    """Return results of all items, or the trouble this worker has with its disk."""
    worker = distributed.get_worker()
    if version != __version__:
        raise ClusterError(
            f"{worker.address} has songbag {__version__}, the command {version}: results could "
            "differ. Install the same on both."
        )
    work = worker.plugins[name].work
    try:
        todo = pickle.loads(items)
        return [_aside(work, item) if careful else work(item) for item in todo]
    except OSError as error:
        return _Trouble(worker.address, error)


def _aside(work: Callable[[Any], Any], item: Any) -> Any:
    """Return ``work(item)`` from a process of its own, which it may kill."""
    code = "import sys; sys.path[:] = sys.argv[1:]; from songbag.cluster import _serve; _serve()"
    done = subprocess.run(
        [sys.executable, "-c", code, *sys.path],
        input=cloudpickle.dumps((work, item)),
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        return _Dead()
    result, error = pickle.loads(done.stdout)
    if error is not None:
        raise error
    return result


def _serve() -> None:
    work, item = pickle.load(sys.stdin.buffer)
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    answer: tuple[Any, Exception | None]
    try:
        answer = work(item), None
    except Exception as error:
        answer = None, error
    out.write(cloudpickle.dumps(answer))
