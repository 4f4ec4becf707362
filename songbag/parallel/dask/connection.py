"""The connection to a scheduler, made again when it was away."""

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress

import dask
import distributed

from songbag.errors import ClusterError

PATIENCE_SECONDS = 300.0  # for a scheduler or the first worker to come back
LOOK_SECONDS = 5.0  # between two looks at who works
_CONNECT_SECONDS = 20.0
# What Dask's processes look at all the time takes a tenth of a core from the songs.
CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}


class LostError(Exception):
    """The scheduler has gone, and what it knew with it."""


@contextmanager
def asking() -> Iterator[None]:
    """Turn what a lost connection raises into a `LostError`."""
    try:
        yield
    except (CancelledError, OSError, TimeoutError, RuntimeError) as error:
        raise LostError from error


class Link:
    """A connection that is made again when the scheduler was away."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._own = _local_cluster(address)
        self.client = self._connect(0)
        self.bad: set[str] = set()  # workers that could not write
        self._threads: dict[str, int] = {}
        self._looked = -LOOK_SECONDS

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
        self.client = self._connect(PATIENCE_SECONDS)
        self._looked = -LOOK_SECONDS

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
        if time.monotonic() - self._looked > LOOK_SECONDS:
            with asking():
                self._threads = dict(self.client.nthreads())
            self._looked = time.monotonic()
        return {name: count for name, count in self._threads.items() if name not in self.bad}

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
    with dask.config.set(CALM):
        return distributed.LocalCluster(
            n_workers=int(count),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # whatever port is free, for this machine
            silence_logs="CRITICAL",
        )
