"""The loss of each label kind, and how much each song weighs."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from songbag.metrics.label_kinds import MULTILABEL, SINGLE_LABEL, LabelKind

F = TypeVar("F", np.float32, np.float64)
Loss = Callable[[Tensor, Tensor], Tensor]


def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy over the last axis of a softmax against target shares."""
    return -(targets * functional.log_softmax(logits, dim=-1)).sum(dim=-1)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the last axis of the cross-entropy of a sigmoid for every label."""
    wide = targets.expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean(dim=-1)


LOSSES: dict[str, Loss] = {
    SINGLE_LABEL.name: softmax_cross_entropy,
    MULTILABEL.name: sigmoid_cross_entropy,
}


Floats = NDArray[np.float64]


def softmax_loss_and_slope(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return `softmax_cross_entropy` (songs,) in NumPy and its slope along the logits."""
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    slope = np.exp(logs) * targets.sum(axis=1, keepdims=True) - targets
    return -(targets * logs).sum(axis=1), slope


def sigmoid_loss_and_slope(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return `sigmoid_cross_entropy` (songs,) in NumPy and its slope along the logits."""
    losses = np.logaddexp(0, logits) - targets * logits
    shares = np.exp(-np.logaddexp(0, -logits))
    return losses.mean(axis=1), (shares - targets) / logits.shape[1]


SLOPES: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    SINGLE_LABEL.name: softmax_loss_and_slope,
    MULTILABEL.name: sigmoid_loss_and_slope,
}


def smoothed(targets: NDArray[F], kind: LabelKind, amount: float) -> NDArray[F]:
    """Return targets (songs, classes) of which the share ``amount`` is dealt out evenly.

    Label smoothing (Szegedy et al. 2016, Rethinking the inception architecture for computer
    vision, section 7): over the classes, or over yes and no of every label.
    """
    outcomes = 2 if kind.multilabel else targets.shape[1]
    return targets * (1 - amount) + amount / outcomes


def song_weights(
    y: NDArray[np.int64],
    classes: int,
    kind: LabelKind,
    balance: bool,
    trust: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Return weights (songs,): the same, or inverse to the label's frequency, with mean 1.

    They are multiplied by ``trust`` (songs,), see `songbag.data.dataset.trust`.
    """
    if balance and kind.balances:
        counts = np.bincount(y, minlength=classes)
        weights: NDArray[np.float64] = (len(y) / (np.count_nonzero(counts) * counts.clip(1)))[y]
    else:
        weights = np.ones(len(y))
    trusted: NDArray[np.float64] = weights * np.asarray(trust, dtype=np.float64)
    return trusted
