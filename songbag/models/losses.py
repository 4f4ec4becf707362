"""What is minimised: cross-entropy of songs or windows, and how much each song weighs."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor, multilabel: bool) -> Tensor:
    """Cross-entropy over the last axis, targets being shares; the mean over labels if many."""
    if multilabel:
        wide = targets.expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean(dim=-1)
    return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def song_weights(y: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Weight songs inversely to their label's frequency, one on average."""
    counts = np.bincount(y, minlength=classes)
    weights: NDArray[np.float64] = (len(y) / (np.count_nonzero(counts) * counts.clip(1)))[y]
    return weights
