"""From a song's logits to probabilities that mean what they say."""

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis.

    Temperature scaling (Guo et al. 2017, section 4.2) acts on songs only, after pooling:
    calibrated windows do not make a calibrated song.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
