"""Poolings: the windows' logits of songs become one logit vector a song.

Every operator takes ``logits (songs, windows, classes)`` of songs with equally many
windows and returns ``song logits (songs, classes)``, whose softmax is the song's
probability. Two classes come as the centred pair (-z/2, z/2), so softmax of two equals
the sigmoid of z and there is one code path for two classes and for more.

Notation: z_t centred window logits, p_t = softmax(z_t), T windows, w_t weights that sum
to one over the windows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pooling:
    """An operator and what may be said about it.

    Attributes
    ----------
    pool : callable
        logits (songs, windows, classes) -> song logits (songs, classes).
    space : {"logit", "probability"} or None
        Where the song's score is a weighted sum of the windows' values. None: nowhere,
        and a window's contribution is found by leaving it out.
    weights : callable or None
        logits -> weights (songs, windows, classes), summing to one over the windows.
    differentiable : bool
        Whether a loss on the song can be trained through it.
    """

    pool: Operator
    space: Literal["logit", "probability"] | None
    weights: Operator | None = None
    differentiable: bool = True

    def score(self, logits: Tensor) -> Tensor:
        """Return the song's value in the pooling's own space, (songs, classes)."""
        song = self.pool(logits)
        return song if self.space == "logit" else song.softmax(dim=-1)

    def contributions(self, logits: Tensor) -> Tensor:
        """Return what each window adds to the score, (songs, windows, classes).

        They sum to `score` over the windows. Only for poolings with a space.
        """
        assert self.weights is not None
        values = centred(logits) if self.space == "logit" else logits.softmax(dim=-1)
        return self.weights(logits) * values


def centred(logits: Tensor) -> Tensor:
    """Subtract the mean over classes: the same probabilities, a unique origin."""
    return logits - logits.mean(dim=-1, keepdim=True)


def uniform(logits: Tensor) -> Tensor:
    """Every window counts the same, 1/T."""
    return torch.ones_like(logits) / logits.shape[1]


def mean_logit(logits: Tensor) -> Tensor:
    """Mean of the windows' centred logits, 1/T sum_t z_t.

    The geometric mean of the windows' probabilities, normalised. Every window pulls as
    hard as its logit is large, so one very sure window can outvote many unsure ones.
    """
    return centred(logits).mean(dim=1)


def mean_probability(logits: Tensor) -> Tensor:
    """Logarithm of the mean of the windows' probabilities, log(1/T sum_t p_t).

    The founding answer: GlobalAveragePooling1D over windows. A window's pull is bounded,
    so outliers do little harm; it is under-confident where windows disagree.
    """
    return torch.logsumexp(F.log_softmax(logits, dim=-1) + uniform(logits).log(), dim=1)


def hard_vote(logits: Tensor) -> Tensor:
    """Logarithm of the share of windows that vote for a class; ties by mean probability.

    The asker's majority vote. The mean probability counts as one more vote shared out
    among the classes: it breaks ties, never overturns a majority and keeps logarithms
    finite. It has no useful gradient: train with a loss on the window.
    """
    votes = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    probability = logits.softmax(dim=-1).mean(dim=1).clamp(min=1e-7, max=1 - 1e-7)
    return torch.log((votes.sum(dim=1) + probability) / (logits.shape[1] + 1))


POOLINGS: dict[str, Pooling] = {
    "mean_logit": Pooling(mean_logit, "logit", uniform),
    "mean_probability": Pooling(mean_probability, "probability", uniform),
    "hard_vote": Pooling(hard_vote, None, differentiable=False),
}
