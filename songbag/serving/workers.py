"""Bounded pool of prediction processes: N at work, M waiting, 503 beyond that."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from songbag.inference.model_file import Model
from songbag.parallel.pool import Worker
from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError, Reply
from songbag.serving.worker_process import Task, load_models, run_task

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHECK_SECONDS = 2.0  # for an idle process to show that it answers


class PredictionPool:
    """Processes that hold the models, and a limit on the requests that wait for them."""

    def __init__(self, models: Sequence[Model], options: ServerOptions) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(options.workers, thread_name_prefix="worker")
        self._workers = [Worker(load_models, models) for _ in range(options.workers)]
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._task_seconds = 0.5  # a moving average
        self.reserved = 0  # requests that are uploading, waiting or at work
        self.at_work = 0  # tasks that a process is busy with

    async def start(self) -> None:
        """Return when every process has loaded the models."""
        loop = asyncio.get_running_loop()
        starts = (loop.run_in_executor(self._threads, worker.start) for worker in self._workers)
        await asyncio.gather(*starts)
        for worker in self._workers:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """Kill every process."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold a place for one request, or refuse it (503) when all places are taken."""
        places = self._options.workers + self._options.waiting
        if self.reserved >= places:
            seconds = max(1, math.ceil(self._task_seconds * places / self._options.workers))
            message = f"Too many songs at once; try again in {seconds} s."
            raise HTTPError(503, "busy", message, {"retry-after": str(seconds)})
        self.reserved += 1
        try:
            yield
        finally:
            self.reserved -= 1

    async def run(self, task: Task) -> Reply:
        """Return the reply to a task, which starts as soon as a process is free.

        A process is replaced when it takes longer than ``max_seconds`` (TimeoutError) or dies
        (BrokenExecutor).
        """
        worker = await self._idle.get()
        started = time.monotonic()
        try:
            return await self._call(worker, run_task, task, self._options.max_seconds, songs=1)
        finally:
            self._task_seconds += 0.1 * (time.monotonic() - started - self._task_seconds)

    async def answers(self) -> bool:
        """Tell whether the processes answer: one that is idle is asked, others have a limit."""
        try:
            worker = self._idle.get_nowait()
        except asyncio.QueueEmpty:
            return True
        try:
            return await self._call(worker, abs, -1, _CHECK_SECONDS, songs=0) == 1
        except (TimeoutError, BrokenExecutor):
            return False

    async def _call(
        self, worker: Worker, work: Callable[[Item], Result], item: Item, seconds: float, songs: int
    ) -> Result:
        """Return ``work(item)`` from a process, which is idle again when it is done."""
        loop = asyncio.get_running_loop()
        self.at_work += songs
        future = self._threads.submit(worker.call, work, item, seconds)

        def release() -> None:
            self.at_work -= songs
            self._idle.put_nowait(worker)

        # When the process is done, which may be after the client has gone and this
        # coroutine was cancelled.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(release))
        return await asyncio.wrap_future(future)
