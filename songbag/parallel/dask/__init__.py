"""The same work on a cluster: an engine (see `songbag.parallel.pool`) on Dask.

What is done with a song, with its model and settings, goes to every worker once. Songs go
in portions, a few a thread at a time, so a million of them never wait at the scheduler;
results come back in the order of the songs. Whatever happens to workers or scheduler, a
portion is done again, which is harmless because work on a song can be repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from songbag.parallel.dask.connection import Link
from songbag.parallel.dask.engine import in_order
from songbag.parallel.pool import Engine


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
    link = Link(address)
    try:
        link.wait_for_workers()
        yield partial(in_order, link)
    finally:
        link.close()
