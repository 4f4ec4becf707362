"""What runs in a worker of a cluster: a batch of items, one after the other."""

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
        self.name, self.work, self.version = name, work, __version__


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
    code += "from songbag.parallel.cluster_worker import run_isolated; run_isolated()"
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
