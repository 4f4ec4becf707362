"""Pools of processes: results in order, whatever happens to a process."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor

import pytest

from songbag.parallel.pool import Worker, in_order
from tests.helpers.serving_process import alive


@pytest.fixture(params=["forked", "new processes"])
def kind_of_worker(request, monkeypatch):
    """Whether workers are forked: only where this process has a single thread.

    Patched, because tests before this one may have left idle threads.
    """
    threads = {"forked": 1, "new processes": 2}[request.param]
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    return request.param


def test_an_item_that_kills_its_process_is_the_only_one_lost(kind_of_worker):
    results = list(in_order(_kill_on_three, range(8), 2, lambda item: f"{item} died", fork=True))
    assert results == [0, 1, 2, "3 died", 4, 5, 6, 7]


def _kill_on_three(item):
    if item == 3:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_processes_end_at_once_when_the_results_are_not_wanted(kind_of_worker):
    results = in_order(_sleep, [0, *[60] * 8], 2, lambda item: -1, fork=True)
    assert next(results) == 0
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


def _sleep(seconds):
    time.sleep(seconds)
    return seconds


def test_an_error_of_the_work_is_raised_and_ends_the_processes(kind_of_worker):
    with pytest.raises(ZeroDivisionError):
        list(in_order(_divide, [1, 0], 2, lambda item: -1, fork=True))
    assert not multiprocessing.active_children()


def _divide(item):
    return 1 / item


def test_a_worker_is_replaced_when_it_dies_or_hangs():
    worker = Worker(_prepare, "ready")
    try:
        assert worker.call(_prepared, None, 30) == "ready"
        with pytest.raises(BrokenExecutor):
            worker.call(_kill_on_three, 3, 30)
        assert worker.call(_prepared, None, 30) == "ready"
        with pytest.raises(TimeoutError):
            worker.call(_sleep, 60, 0.2)
        assert worker.call(_prepared, None, 30) == "ready"
        os.kill(worker.call(_pid, None, 30), signal.SIGKILL)  # while it is idle
        time.sleep(0.3)
        assert worker.call(_prepared, None, 30) == "ready"
    finally:
        worker.close()


def _prepare(text):
    os.environ["PREPARED"] = text


def _prepared(_):
    return os.environ["PREPARED"]


def _pid(_):
    return os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_processes_end_with_their_parent(tmp_path):
    code = (
        "import os, sys, time\n"
        "from songbag.parallel.pool import in_order\n"
        "def work(item):\n"
        "    os.write(1, f'{os.getpid()}\\n'.encode()); time.sleep(60)\n"
        "list(in_order(work, [1, 2], 2, lambda item: None))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
