"""Apply a function to many items on a Dask cluster, with results in order.

The function, with the model and the settings in it, is sent to every worker once. Items are
sent in batches, a few per thread at a time, so that the scheduler never holds a million of
them. A batch that is lost with a worker or the scheduler is done again; this is harmless,
because work on a song can be repeated.
"""

import pickle
import queue
import subprocess
import sys
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import dask
import distributed

from songbag import __version__
from songbag.errors import ClusterError
from songbag.parallel.pool import Engine, Item, Result

# Dask's defaults for monitoring itself take a tenth of a core.
DASK_SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
_PATIENCE_SECONDS = 300.0  # for a scheduler or the first worker to come back
_LOOK_SECONDS = 5.0  # between two requests for the list of workers
_CONNECT_SECONDS = 20.0
_BATCH_ITEMS = 16  # at most: seconds of work, so that scheduling costs little
_WAITING_BATCHES = 3  # per thread, at the scheduler and the workers
_HELD_BATCHES = 4096  # at most, that wait for an earlier one
_TRIES = 3  # workers whose disks fail for one batch before that ends the job


@contextmanager
def connect_cluster(address: str) -> Iterator[Engine]:
    """Connect to a scheduler and yield an engine for `songbag.parallel.pool.in_order`.

    ``address`` is ``tcp://host:8786``, or ``local:2`` for two worker processes of this machine.

    Raises
    ------
    ClusterError
        There is no scheduler, or it has no workers.
    """
    connection = _Connection(address)

    def engine(
        work: Callable[[Item], Result], items: Sequence[Item], died: Callable[[Item], Result]
    ) -> Iterator[Result]:
        plugin = WorkPlugin(f"songbag-{uuid.uuid4().hex[:12]}", work)
        for item, result in _Job(connection, plugin, items).results():
            yield died(item) if isinstance(result, Died) else result

    try:
        connection.wait_for_workers()
        yield engine
    finally:
        connection.close()


# --- in a worker ------------------------------------------------------------------------


@dataclass(frozen=True)
class Died:
    """The result of an item that killed a process which worked on it alone."""


@dataclass(frozen=True)
class DiskError:
    """A worker could not read or write a file; another worker may."""

    worker: str
    error: OSError


class WorkPlugin(distributed.WorkerPlugin):  # type: ignore[misc]
    """Sends the function to every worker once, also to workers that start later."""

    def __init__(self, name: str, work: Callable[[Any], Any]) -> None:
        self.name, self.work = name, work


def run_batch(name: str, version: str, items: bytes, isolated: bool) -> Any:
    """Return the results of a batch of pickled items, or a `DiskError`.

    ``name`` is that of the `WorkPlugin` whose function is applied, ``version`` that of Songbag in
    the command. ``isolated`` runs each item in a process of its own, whose death is the result
    `Died`.
    """
    worker = distributed.get_worker()
    if version != __version__:
        raise ClusterError(
            f"{worker.address} has songbag {__version__}, the command {version}: results could "
            "differ. Install the same on both."
        )
    work = worker.plugins[name].work
    try:
        return [_isolated(work, item) if isolated else work(item) for item in pickle.loads(items)]
    except OSError as error:
        return DiskError(worker.address, error)


def _isolated(work: Callable[[Any], Any], item: Any) -> Any:
    code = "import sys; sys.path[:] = sys.argv[1:]; "
    code += "from songbag.parallel.cluster import run_isolated; run_isolated()"
    process = subprocess.run(
        [sys.executable, "-c", code, *sys.path],
        input=cloudpickle.dumps((work, item)),
        stdout=subprocess.PIPE,
    )
    if process.returncode:
        return Died()
    result, error = pickle.loads(process.stdout)
    if error is not None:
        raise error
    return result


def run_isolated() -> None:
    """Read a function and an item from standard input, write the result or the error."""
    work, item = pickle.load(sys.stdin.buffer)
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    outcome: tuple[Any, Exception | None]
    try:
        outcome = work(item), None
    except Exception as error:
        outcome = None, error
    out.write(cloudpickle.dumps(outcome))


# --- the connection ---------------------------------------------------------------------


class _LostError(Exception):
    """The scheduler has gone, with all tasks and results."""


@contextmanager
def _lost_when_disconnected() -> Iterator[None]:
    """Raise `_LostError` for the errors that a lost connection causes."""
    try:
        yield
    except (CancelledError, OSError, TimeoutError, RuntimeError) as error:
        raise _LostError from error


class _Connection:
    """A connection to a scheduler that can be made again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.full_workers: set[str] = set()  # those whose disks failed
        self._cluster: distributed.LocalCluster | None = None
        kind, _, count = address.partition(":")
        if kind == "local":
            if not count.isdigit() or count == "0":
                raise ClusterError(f"--cluster {address}: write local: and a number, e.g. local:2.")
            with dask.config.set(DASK_SETTINGS):
                self._cluster = distributed.LocalCluster(
                    n_workers=int(count),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any free port, for this machine only
                    silence_logs="CRITICAL",
                )
        self._threads: dict[str, int] = {}
        self._connect(0)

    def _connect(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        self._looked = -_LOOK_SECONDS
        while True:
            try:
                self.client = distributed.Client(
                    self._cluster or self.address, timeout=_CONNECT_SECONDS, set_as_default=False
                )
                return
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) or time.monotonic() > deadline:
                    raise ClusterError(
                        f"--cluster {self.address}: no scheduler answers there ({error}). Start "
                        "one with 'dask scheduler' and workers with 'dask worker', or use "
                        "local:2. Results are kept; the same command continues."
                    ) from None
                time.sleep(1)

    def reconnect(self) -> None:
        """Wait for the scheduler to come back."""
        with suppress(Exception):  # the old connection is useless, in whatever state
            self.client.close(timeout=2)
        self._connect(_PATIENCE_SECONDS)

    def wait_for_workers(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError:
            raise ClusterError(
                f"--cluster {self.address}: the scheduler has no workers. Start them with "
                f"'dask worker {self.address} --nthreads 1'."
            ) from None

    def threads(self) -> dict[str, int]:
        """Return the number of threads by worker, without those whose disks failed."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            with _lost_when_disconnected():
                self._threads = dict(self.client.nthreads())
            self._looked = time.monotonic()
        return {
            name: count for name, count in self._threads.items() if name not in self.full_workers
        }

    def close(self) -> None:
        with suppress(Exception):  # all results are here
            self.client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=5)


# --- a job ------------------------------------------------------------------------------


@dataclass(eq=False)
class _Batch:
    items: Sequence[Any]
    isolated: bool = False
    disk_errors: int = 0
    future: "distributed.Future[Any] | None" = None
    results: list[Any] | None = None


@dataclass
class _Job:
    """All items of one call: started in order, done in any order, returned in order."""

    connection: _Connection
    plugin: WorkPlugin
    items: Sequence[Any]
    pending: deque[_Batch] = field(default_factory=deque)  # not returned yet
    done: "queue.SimpleQueue[_Batch]" = field(default_factory=queue.SimpleQueue)
    started: int = 0  # items in batches
    submitted: int = 0  # batches, counting repetitions

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield every item with its result."""
        try:
            self._register()
            while self.started < len(self.items) or self.pending:
                try:
                    self._submit_more()
                    if self.pending[0].results is None:
                        self._collect()
                except _LostError:
                    self._register()
                while self.pending and (results := self.pending[0].results) is not None:
                    yield from zip(self.pending.popleft().items, results, strict=True)
        finally:
            with suppress(Exception):  # the scheduler may have gone
                client = self.connection.client
                client.cancel([batch.future for batch in self.pending if batch.future is not None])
                client.unregister_worker_plugin(self.plugin.name)

    def _register(self) -> None:
        """Send the function to the workers, and submit the unfinished batches again."""
        while True:
            try:
                with _lost_when_disconnected():
                    self.connection.client.register_plugin(self.plugin, name=self.plugin.name)
                for batch in self.pending:
                    if batch.results is None:
                        self._submit(batch)
                return
            except _LostError:
                self.connection.reconnect()

    def _submit_more(self) -> None:
        """Submit batches until each thread has a few of them."""
        threads = max(1, sum(self.connection.threads().values()))
        size = max(1, min(_BATCH_ITEMS, len(self.items) // (32 * threads)))
        waiting = sum(batch.results is None for batch in self.pending)
        room = min(_WAITING_BATCHES * threads - waiting, _HELD_BATCHES - len(self.pending))
        for _ in range(room):
            if self.started == len(self.items):
                return
            batch = _Batch(self.items[self.started : self.started + size])
            self.pending.append(batch)
            self.started += len(batch.items)
            self._submit(batch)

    def _submit(self, batch: _Batch) -> None:
        self.submitted += 1
        some_full = bool(self.connection.full_workers)
        with _lost_when_disconnected():
            batch.future = self.connection.client.submit(
                run_batch,
                self.plugin.name,
                __version__,
                cloudpickle.dumps(list(batch.items)),
                batch.isolated,
                key=f"{self.plugin.name}-{self.submitted}",
                workers=list(self.connection.threads()) if some_full else None,
                allow_other_workers=some_full,
            )
            batch.future.add_done_callback(lambda _: self.done.put(batch))

    def _collect(self) -> None:
        """Wait until a batch is done, and take the results of all that are."""
        batches = {self._wait()}
        while not self.done.empty():
            batches.add(self.done.get())
        by_status: dict[str, list[_Batch]] = defaultdict(list)
        for batch in batches:
            if batch.results is None and batch.future is not None:
                by_status[batch.future.status].append(batch)
        finished = by_status["finished"]
        with _lost_when_disconnected():
            outcomes = self.connection.client.gather([batch.future for batch in finished])
        for batch, outcome in zip(finished, outcomes, strict=True):
            if not isinstance(outcome, DiskError):
                batch.results, batch.future = outcome, None  # the worker may forget them
                continue
            self.connection.full_workers.add(outcome.worker)
            batch.disk_errors += 1
            if batch.disk_errors == _TRIES or not self.connection.threads():
                raise outcome.error
            self._submit(batch)
        for batch in by_status["error"]:
            self._isolate(batch)
        for batch in by_status["lost"]:
            self._submit(batch)
        if by_status["cancelled"]:
            raise _LostError

    def _wait(self) -> _Batch:
        """Return the next batch that is done, unless the cluster is without workers for long."""
        since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return self.done.get(timeout=_LOOK_SECONDS)
            if self.connection.threads():
                since = time.monotonic()
            elif time.monotonic() - since > _PATIENCE_SECONDS:
                raise ClusterError(
                    f"--cluster {self.connection.address}: all workers have gone. Results are "
                    "kept; the same command continues."
                )

    def _isolate(self, batch: _Batch) -> None:
        """Replace a batch that killed workers by batches of one item, each in its own process."""
        assert batch.future is not None
        error = batch.future.exception()
        if not isinstance(error, distributed.KilledWorker):
            if isinstance(error, ImportError) or "deserializ" in str(error):
                raise ClusterError(
                    f"the cluster cannot do this work: {error}. Its scheduler and workers need "
                    f"songbag[cluster] {__version__}, as here."
                )
            raise error
        if batch.isolated:
            batch.results = [Died()]
            return
        index = self.pending.index(batch)
        self.pending.remove(batch)
        singles = [_Batch([item], isolated=True) for item in batch.items]
        for number, single in enumerate(singles):
            self.pending.insert(index + number, single)
        for single in singles:
            self._submit(single)
