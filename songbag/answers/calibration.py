"""From a song's logits to probabilities that mean what they say.

References
----------
.. [1] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def probabilities(
    logits: NDArray[np.floating[Any]], temperature: float, multilabel: bool = False
) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis, or the sigmoid of each.

    Temperature scaling ([1]_ section 4.2) acts on songs only, after pooling: calibrated
    windows do not make a calibrated song.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if multilabel:
        return np.asarray(np.exp(-np.logaddexp(0, -scaled)))
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
