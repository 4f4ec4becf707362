"""What happens in a worker: a portion of songs, one after the other."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import distributed

from songbag import __version__
from songbag.errors import ClusterError


@dataclass(frozen=True)
class Dead:
    """The result of an item whose process died, alone."""


@dataclass(frozen=True)
class Trouble:
    """A worker could not read or write; another may."""

    worker: str
    error: OSError


class Carrier(distributed.WorkerPlugin):  # type: ignore[misc]
    """Takes the work to every worker once, also to those that come later."""

    def __init__(self, name: str, work: Callable[[Any], Any]) -> None:
        self.name, self.work, self.version = name, work, __version__


def work_through(name: str, version: str, items: bytes, careful: bool) -> Any:
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
        return Trouble(worker.address, error)


def _aside(work: Callable[[Any], Any], item: Any) -> Any:
    """Return ``work(item)`` from a process of its own, which it may kill."""
    code = "import sys; sys.path[:] = sys.argv[1:]; "
    code += "from songbag.parallel.dask.worker import _serve; _serve()"
    done = subprocess.run(
        [sys.executable, "-c", code, *sys.path],
        input=cloudpickle.dumps((work, item)),
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        return Dead()
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
