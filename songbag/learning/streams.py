"""In which order songs are met, when a collection is larger than memory.

One permutation over everything reads all shards at once, a song here and a song there.
Here shards are dealt to lanes. A lane meets its shards one after another, spread over the
whole epoch, and the songs of a shard at random moments while its turn lasts. Lanes run
beside one another: as many shards are open as there are lanes, and every batch mixes them.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def streamed(shards: Indices, lanes: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return an order of songs that has at most ``lanes`` shards open at once.

    Parameters
    ----------
    shards : ndarray, shape (songs,)
        The shard in which each song lies.
    lanes : int

    Returns
    -------
    order : ndarray, shape (songs,)
        Every song once. A shard is open from its first song to its last.
    lane : ndarray, shape (songs,)
        The lane of each song, at its place in ``shards``: what one process can read alone.
    """
    names, inverse, sizes = np.unique(shards, return_inverse=True, return_counts=True)
    lane_of, begins = _dealt(sizes, rng.permutation(len(names)), lanes)
    lengths = np.bincount(lane_of, sizes, minlength=lanes)[lane_of]
    moments = (begins[inverse] + sizes[inverse] * rng.random(len(shards))) / lengths[inverse]
    return np.argsort(moments, kind="stable"), lane_of[inverse]


def _dealt(sizes: Indices, turns: Indices, lanes: int) -> tuple[Indices, Indices]:
    """Deal shards to the lane that is shortest; return each shard's lane and first place."""
    lane_of, begins = np.zeros_like(sizes), np.zeros_like(sizes)
    filled = np.zeros(lanes, dtype=np.int64)
    for shard in turns:
        lane = int(filled.argmin())
        lane_of[shard], begins[shard] = lane, filled[lane]
        filled[lane] += sizes[shard]
    return lane_of, begins
