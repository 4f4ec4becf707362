"""From a song's logits to probabilities that mean what they say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def probabilities(
    logits: NDArray[np.floating[Any]], temperature: float, multilabel: bool = False
) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis, or a sigmoid for each label.

    Temperature scaling (Guo et al. 2017, section 4.2) acts on songs only, after pooling:
    calibrated windows do not make a calibrated song.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if multilabel:
        small = np.exp(-np.abs(scaled))
        yes: NDArray[np.float64] = np.where(scaled >= 0, 1, small) / (1 + small)
        return yes
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def fit_temperature(logits, y, multilabel=False):
    return 1.0


def best_thresholds(y, p):
    return np.full(p.shape[1], 0.5)


def abstention_curve(y, p):
    return ()
