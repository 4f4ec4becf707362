"""One job's portions on their way: begun in order, done in any, given out in order."""

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import distributed

from songbag import __version__
from songbag.errors import ClusterError
from songbag.parallel.dask.connection import LOOK_SECONDS, PATIENCE_SECONDS, Link, LostError, asking
from songbag.parallel.dask.worker import Carrier, Dead, Trouble, work_through
from songbag.parallel.pool import Item, Result

_PORTION = 16  # songs of a task at most: seconds of work, so that scheduling costs nothing
_WAITING = 3  # portions a thread that are not done, at the scheduler and the workers
_KEPT = 4096  # portions at most that wait for an earlier one
_TRIES = 3  # workers that may find no room for a portion before that is the job's trouble


def in_order(
    link: Link,
    work: Callable[[Item], Result],
    todo: Sequence[Item],
    died: Callable[[Item], Result],
) -> Iterator[Result]:
    """Yield ``work(item)`` of every item, in order (see `songbag.parallel.pool.Engine`)."""
    carrier = Carrier(f"songbag-{uuid.uuid4().hex[:12]}", work)
    for item, result in _Flow(link, carrier, todo).results():
        yield died(item) if isinstance(result, Dead) else result


@dataclass(eq=False)
class _Portion:
    """Songs that go to a worker together, and what became of them."""

    items: Sequence[Any]
    careful: bool = False
    troubles: int = 0
    future: "distributed.Future[Any] | None" = None
    results: list[Any] | None = None


@dataclass
class _Flow:
    """One job's portions on their way: begun in order, done in any, given out in order."""

    link: Link
    carrier: Carrier
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
                except LostError:
                    self._begin()
                while self.flying and (found := self.flying[0].results) is not None:
                    yield from zip(self.flying.popleft().items, found, strict=True)
        finally:
            self._leave()

    def _begin(self) -> None:
        """Take the work to the workers, and submit again what a lost scheduler knew."""
        while True:
            try:
                with asking():
                    self.link.client.register_plugin(self.carrier, name=self.carrier.name)
                for portion in self.flying:
                    if portion.results is None:
                        self._submit(portion)
                return
            except LostError:
                self.link.again()

    def _fill(self) -> None:
        """Submit what there is room for."""
        threads = max(1, sum(self.link.threads().values()))
        size = max(1, min(_PORTION, len(self.todo) // (32 * threads)))
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
        with asking():
            portion.future = self.link.client.submit(
                work_through,
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
        with asking():
            found = self.link.client.gather([one.future for one in finished])
        for portion, outcome in zip(finished, found, strict=True):
            self._take(portion, outcome)
        for portion in by_status.get("error", []):
            self._mend(portion)
        for portion in by_status.get("lost", []):
            self._submit(portion)
        if "cancelled" in by_status:
            raise LostError

    def _next(self) -> _Portion:
        since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return self.done.get(timeout=LOOK_SECONDS)
            if self.link.threads():
                since = time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise ClusterError(
                    f"--cluster {self.link.address}: all workers have gone. What was done is "
                    "kept; the same command goes on."
                )

    def _take(self, portion: _Portion, outcome: Any) -> None:
        if not isinstance(outcome, Trouble):
            portion.results, portion.future = outcome, None  # the worker may forget them
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
            portion.results = [Dead()]
            return
        place = self.flying.index(portion)
        self.flying.remove(portion)
        alone = [_Portion([item], careful=True) for item in portion.items]
        for number, one in enumerate(alone):
            self.flying.insert(place + number, one)
        for one in alone:
            self._submit(one)

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
