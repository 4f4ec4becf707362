"""Linear networks solved exactly: logistic regression on the songs' mean features.

With the mean of logits the song's logits are linear in the mean of its windows' features,
so the loss on songs is convex and its minimum needs no epochs.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.metrics.calibration import fit_temperature
from songbag.models.losses import LOSSES, smoothed, song_weights
from songbag.models.pooling import SongPooling
from songbag.models.song_network import SongNetwork, both_classes
from songbag.models.song_statistics import LinearHead
from songbag.settings import Training

Labels = NDArray[np.int64]
MULTIPLES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the penalty, that folds choose among
_STEPS = 200


def linear_head(network: SongNetwork) -> LinearHead | None:
    """Return the network's linear head, if that is what it has."""
    return next((part for part in network.modules() if isinstance(part, LinearHead)), None)


def song_features(
    network: SongNetwork, bags: Sequence[Bag], advance: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Return mean features (songs, values) of a network with a linear head, all windows heard."""
    head, frames = linear_head(network), network.window_shape[0]
    assert head is not None
    seen: list[Tensor] = []

    def see(part: nn.Module, windows: object, features: Tensor) -> None:
        seen.append(features.double().mean(dim=0))

    with head.features.register_forward_hook(see), torch.no_grad():
        for done, bag in enumerate(bags, start=1):
            chosen = np.arange(bag.window_count) if bag.starts is None else bag.starts
            network(torch.from_numpy(batches.cut_windows(bag, chosen, frames)))
            advance(done)
    return torch.stack(seen)


def standardise(head: LinearHead, x: Tensor) -> None:
    """Give a head the mean and deviation over songs of features x (songs, values)."""
    deviation = x.std(dim=0, correction=0)
    # A value that never changes carries nothing: leave it at zero instead of dividing by it.
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    head.mean.copy_(x.mean(dim=0))
    head.deviation.copy_(deviation)


def solve(
    network: SongNetwork, bags: Sequence[Bag], y: Labels, pooling: SongPooling, training: Training
) -> dict[str, float]:
    """Give a linear network the weights of least loss on songs; return a row of history."""
    began, head = time.perf_counter(), linear_head(network)
    assert head is not None
    x = song_features(network, bags)
    loss = solve_head(head, x, y, pooling, training, training.weight_decay)
    seconds = time.perf_counter() - began
    speed = len(bags) / seconds
    return {"epoch": 1, "seconds": seconds, "songs_per_second": speed, "loss": loss}


def solve_head(
    head: LinearHead, x: Tensor, y: Labels, pooling: SongPooling, training: Training, penalty: float
) -> float:
    """Standardise a head on songs and give it the weights of least loss; return that loss.

    The mean cross-entropy of songs plus ``penalty`` / 2 times the sum of squared weights,
    as ridge-penalised logistic regression.

    Parameters
    ----------
    x : Tensor of float64, shape (songs, values)
    y : label indices (songs,), or 0 and 1 (songs, labels) with multilabel
    """
    standardise(head, x)
    scaled = (x - head.mean) / head.deviation
    kind, classes = pooling.kind, pooling.classes
    shares = smoothed(kind.targets(y, classes), kind, training.label_smoothing)
    targets = torch.from_numpy(shares)
    weights = torch.from_numpy(song_weights(y, classes, kind, training.balance))
    matrix = torch.zeros(pooling.outputs, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(pooling.outputs, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [matrix, bias], max_iter=_STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        logits = both_classes(scaled @ matrix.T + bias)
        losses = LOSSES[kind.name](logits, targets)
        total = (weights * losses).mean() + penalty / 2 * matrix.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.linear.weight.copy_(matrix)
        head.linear.bias.copy_(bias)
    return float(loss().detach())


def solve_folds(
    network: SongNetwork,
    bags: Sequence[Bag],
    y: Labels,
    fold_of: Labels,
    pooling: SongPooling,
    training: Training,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Solve on all but each fold, and give the network the mean of the solutions.

    Of the penalties (`MULTIPLES` of ``training.weight_decay``) the one is kept whose
    solutions, each asked about the fold it had not seen, have the least negative
    log-likelihood at their best temperature. The mean of linear models is one.

    Returns
    -------
    logits : ndarray, shape (songs, classes)
        Of every song from the solution that had not seen it.
    row : dict
        For the history: loss, seconds, penalty.
    """
    began, head = time.perf_counter(), linear_head(network)
    assert head is not None
    x, count = song_features(network, bags, advance), int(fold_of.max()) + 1
    best = np.inf
    for multiple in MULTIPLES:
        penalty = multiple * training.weight_decay
        solved = [
            _solved(head, x, y, fold_of != k, pooling, training, penalty) for k in range(count)
        ]
        logits = np.zeros((len(bags), pooling.classes))
        for k, (matrix, bias, _) in enumerate(solved):
            held = torch.from_numpy(fold_of == k)
            logits[fold_of == k] = both_classes(x[held] @ matrix.T + bias).numpy()
        likelihood = fit_temperature(logits, y, pooling.kind).nll_after
        if likelihood < best:
            best, kept, kept_logits, kept_penalty = likelihood, solved, logits, penalty
    _mean_solution(head, x, kept)
    row = {"loss": float(np.mean([loss for *_, loss in kept])), "penalty": kept_penalty}
    return kept_logits, row | {"seconds": time.perf_counter() - began}


Solution = tuple[Tensor, Tensor, float]  # matrix and bias on features as they are, and the loss


def _solved(
    head: LinearHead,
    x: Tensor,
    y: Labels,
    taught: NDArray[np.bool_],
    pooling: SongPooling,
    training: Training,
    penalty: float,
) -> Solution:
    loss = solve_head(head, x[torch.from_numpy(taught)], y[taught], pooling, training, penalty)
    matrix = head.linear.weight.detach().double() / head.deviation.double()
    return matrix, head.linear.bias.detach().double() - matrix @ head.mean.double(), loss


def _mean_solution(head: LinearHead, x: Tensor, solved: Sequence[Solution]) -> None:
    """Give the head the mean of solutions, with the scale of all songs."""
    standardise(head, x)
    matrix = torch.stack([one[0] for one in solved]).mean(dim=0)
    bias = torch.stack([one[1] for one in solved]).mean(dim=0)
    with torch.no_grad():
        head.linear.weight.copy_(matrix * head.deviation.double())
        head.linear.bias.copy_(bias + matrix @ head.mean.double())
