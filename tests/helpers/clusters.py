"""A real scheduler and real worker processes, which tests may kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from songbag.parallel.cluster import DASK_SETTINGS


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


# As docs/howto/large-collections.md advises: what `local:2` sets, as variables of the environment.
_DASK_ENVIRONMENT = {
    "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
    for name, value in DASK_SETTINGS.items()
}


class Cluster:
    """A scheduler and ``workers`` workers, each under its nanny, which starts it again."""

    def __init__(self, folder, workers=2, environment=None, threads=1):
        self.folder, self.port = Path(folder), free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.environment = {**os.environ, **_DASK_ENVIRONMENT, "OMP_NUM_THREADS": "1"}
        self.environment |= environment or {}
        self.processes, self.threads = [], threads
        self.log = open(self.folder / "cluster.log", "ab")  # noqa: SIM115
        self.start_scheduler()
        self.nannies = [self.start_worker() for _ in range(workers)]

    def start(self, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)],
            stdout=self.log,
            stderr=self.log,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def start_scheduler(self):
        listening = ("--host", "127.0.0.1", "--port", self.port)
        self.scheduler = self.start("scheduler", *listening, "--dashboard-address", "127.0.0.1:0")

    def start_worker(self, *more):
        place = ("--local-directory", self.folder / "scratch", "--nthreads", self.threads)
        return self.start(
            "worker", self.address, "--host", "127.0.0.1", *place, "--no-dashboard", *more
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()


def worker_of(nanny):
    """Return the id of a nanny's worker process, as soon as it has one."""
    return wait_until(lambda: _children(nanny))[0]


def _children(nanny):
    listed = subprocess.run(
        ["ps", "-wwo", "pid=,args=", "--ppid", str(nanny.pid)], capture_output=True, text=True
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(number) for number, args in lines if "spawn_main" in args]


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return found
