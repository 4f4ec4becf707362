"""A few processes that work, a few askers who wait, and everybody else sent away at once."""

import asyncio
import math
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from songbag.inference.model_file import ModelFile
from songbag.parallel.pool import Worker
from songbag.serving import worker_process
from songbag.serving.options import Terms


class FullError(Exception):
    """Everybody is at work and the waiting room is full; try again in ``seconds``."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class SlowError(Exception):
    """The work took longer than is allowed; its process was killed."""


class DeadError(Exception):
    """The process died at work."""


class Crew:
    """The processes that hold the model.

    Attributes
    ----------
    taken : int
        Places taken: requests that are uploading, waiting or at work.
    at_work : int
        Tasks that a process is busy with.
    """

    def __init__(self, model: ModelFile, terms: Terms) -> None:
        self._terms = terms
        self._threads = ThreadPoolExecutor(terms.workers, thread_name_prefix="worker")
        self._workers = [Worker(worker_process.prepare, model) for _ in range(terms.workers)]
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._seconds = 0.5  # of one task, a moving average
        self.taken = self.at_work = 0

    async def start(self) -> None:
        """Return when every process has loaded the model."""
        loop = asyncio.get_running_loop()
        starts = (loop.run_in_executor(self._threads, one.start) for one in self._workers)
        await asyncio.gather(*starts)
        for worker in self._workers:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """Kill every process."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for one request, or raise `FullError`."""
        places = self._terms.workers + self._terms.waiting
        if self.taken >= places:
            wait = self._seconds * places / self._terms.workers
            raise FullError(max(1, math.ceil(wait)))
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def do(
        self, task: worker_process.Listening | worker_process.Pooling
    ) -> worker_process.Reply:
        """Return the reply to a task as soon as a process is free.

        Raises
        ------
        SlowError, DeadError
            The task took too long, or its process died; another one has its place.
        """
        worker = await self._idle.get()
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        self.at_work += 1
        future = self._threads.submit(
            worker.call, worker_process.answer, task, self._terms.max_seconds
        )
        # The process is free when it is done, not when the asker stops caring.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free, worker))
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError:
            raise SlowError from None
        except BrokenExecutor:
            raise DeadError from None
        finally:
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)

    def _free(self, worker: Worker) -> None:
        self.at_work -= 1
        self._idle.put_nowait(worker)
