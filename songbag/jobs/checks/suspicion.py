"""Which labels the out-of-fold answers contradict: confident learning.

A song is doubted when the models that never heard it prefer another label. Doubted songs
are ranked by *self-confidence*, the probability of the label they have, lowest first [1]_.
Before, what the models think of each label on average is taken out: from every probability
of label k its threshold t_k is subtracted, the mean probability of k over the songs that
*are* labelled k, and rows are made probabilities again::

    a_k = (p_k - t_k + max t) / sum over j of (p_j - t_j + max t)

so that the songs of a label that overlaps another do not fill the list.

References
----------
.. [1] Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in
   dataset labels, JAIR.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspicion:
    """A song whose label the answers contradict.

    ``song`` is its place, ``better`` the place of the label they prefer; both
    probabilities are out of fold.
    """

    song: int
    better: int
    given_probability: float
    better_probability: float


def suspicious(probabilities: NDArray[np.float64], y: Sequence[int]) -> list[Suspicion]:
    """Return the songs whose label is contradicted, the most suspicious first.

    Parameters
    ----------
    probabilities : ndarray, shape (songs, labels)
        Out of fold, rows adding to one.
    y : sequence of int, shape (songs,)
        Given labels.
    """
    labels = np.asarray(y, dtype=np.int64)
    songs = np.arange(len(labels))
    better = probabilities.argmax(axis=1)
    doubted = songs[better != labels]
    confidence = _adjusted(probabilities, labels)[songs, labels]
    return [
        Suspicion(
            int(song),
            int(better[song]),
            float(probabilities[song, labels[song]]),
            float(probabilities[song, better[song]]),
        )
        for song in doubted[np.argsort(confidence[doubted], kind="stable")]
    ]


def _adjusted(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take out of every label what it gets on average from the songs that have it."""
    there = [label for label in range(probabilities.shape[1]) if np.any(labels == label)]
    thresholds = np.zeros(probabilities.shape[1])
    thresholds[there] = [probabilities[labels == label, label].mean() for label in there]
    shifted = probabilities - thresholds + thresholds.max()
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
