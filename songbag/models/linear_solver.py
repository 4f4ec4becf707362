"""Linear networks solved exactly: logistic regression on the songs' mean features.

With the mean of logits the logits of a song are linear in the mean of its windows' features,
so the loss on songs is convex and its minimum needs no epochs. The mean cross-entropy of songs
plus penalty / 2 times the sum of squared weights is minimised by L-BFGS (Nocedal, Wright 2006,
Numerical optimization, 2nd edition, algorithm 7.5).
"""

import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.errors import TrainingError
from songbag.metrics.calibration import fit_temperature
from songbag.models.losses import SLOPES, Floats, smoothed, song_weights
from songbag.models.song_network import SongNetwork, SongPooling, both_classes
from songbag.models.song_statistics import LinearHead
from songbag.settings import Training

Labels = NDArray[np.int64]
MULTIPLES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the penalty, that folds choose among
_STEPS, _MEMORY = 500, 50  # of L-BFGS


def linear_head(network: SongNetwork) -> LinearHead | None:
    """Return the network's linear head, None if it has none."""
    return next((part for part in network.modules() if isinstance(part, LinearHead)), None)


def song_features(
    network: SongNetwork, bags: Sequence[Bag], advance: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Return mean features (songs, values) over all windows of a network with a linear head."""
    head, frames = _required_head(network), network.window_shape[0]
    means: list[Tensor] = []

    def collect(part: nn.Module, windows: object, features: Tensor) -> None:
        means.append(features.double().mean(dim=0))

    with head.features.register_forward_hook(collect), torch.no_grad():
        for done, bag in enumerate(bags, start=1):
            starts = np.arange(bag.window_count) if bag.starts is None else bag.starts
            network(torch.from_numpy(batches.cut_windows(bag, starts, frames)))
            advance(done)
    return torch.stack(means)


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
    began = time.perf_counter()
    x = song_features(network, bags)
    loss = solve_head(_required_head(network), x, y, pooling, training, training.weight_decay)
    seconds = time.perf_counter() - began
    speed = len(bags) / seconds
    return {"epoch": 1, "seconds": seconds, "songs_per_second": speed, "loss": loss}


def solve_head(
    head: LinearHead, x: Tensor, y: Labels, pooling: SongPooling, training: Training, penalty: float
) -> float:
    """Standardise a head on songs and give it the weights of least loss; return that loss.

    ``x`` are features (songs, values) in float64, ``y`` label indices (songs,), or 0 and 1
    (songs, labels) with multilabel.
    """
    standardise(head, x)
    problem = _Problem(head, x, y, pooling, training)
    solution = problem.solve(penalty)
    weight, bias = problem.weights(solution)
    with torch.no_grad():
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
    return float(solution.fun)


class _Problem:
    """The loss on songs as a function of a linear head's weights, whatever the penalty."""

    def __init__(
        self, head: LinearHead, x: Tensor, y: Labels, pooling: SongPooling, training: Training
    ) -> None:
        scaled, self.basis = ((x - head.mean) / head.deviation).numpy(), None
        if scaled.shape[0] < scaled.shape[1]:
            # Fewer songs than values: the weights of least norm lie in the span of the songs.
            self.basis, coordinates = np.linalg.qr(scaled.T)
            scaled = np.ascontiguousarray(coordinates.T)
        self.scaled, self.pooling = scaled, pooling
        kind, classes = pooling.kind, pooling.classes
        self.targets = smoothed(kind.targets(y, classes), kind, training.label_smoothing)
        self.song_weights = song_weights(y, classes, kind, training.balance)[:, None] / len(y)

    def loss(self, parameters: Floats, penalty: float) -> tuple[float, Floats]:
        """Return the loss and its slope along weights and biases (outputs, values + 1)."""
        outputs, classes = self.pooling.outputs, self.pooling.classes
        matrix, bias = np.split(parameters.reshape(outputs, -1), [-1], axis=1)
        z = self.scaled @ matrix.T + bias.T
        both = z if outputs == classes else np.hstack([-z / 2, z / 2])
        losses, slopes = SLOPES[self.pooling.kind.name](both, self.targets)
        slopes = self.song_weights * slopes
        along = slopes if outputs == classes else (slopes[:, 1:] - slopes[:, :1]) / 2
        slope = np.hstack([along.T @ self.scaled + penalty * matrix, along.sum(axis=0)[:, None]])
        total = (self.song_weights[:, 0] * losses).sum() + penalty / 2 * np.square(matrix).sum()
        return float(total), slope.ravel()

    def solve(self, penalty: float) -> OptimizeResult:
        """Return what L-BFGS finds from zero on."""
        start = np.zeros(self.pooling.outputs * (self.scaled.shape[1] + 1))
        options = {"maxiter": _STEPS, "gtol": 1e-6, "ftol": 1e-12, "maxcor": _MEMORY}
        # On one thread: those of BLAS and of torch would wait for each other, twice as long.
        with _blas().limit(limits=1, user_api="blas"):
            return minimize(self.loss, start, (penalty,), "L-BFGS-B", jac=True, options=options)

    def weights(self, solution: OptimizeResult) -> tuple[Tensor, Tensor]:
        """Return weights (outputs, values) and biases (outputs,) of standardised features."""
        matrix, bias = np.split(solution.x.reshape(self.pooling.outputs, -1), [-1], axis=1)
        weight = matrix if self.basis is None else matrix @ self.basis.T
        return torch.from_numpy(weight), torch.from_numpy(bias[:, 0])


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

    Of the penalties (`MULTIPLES` of ``training.weight_decay``) it takes the one whose
    solutions, each applied to the fold that it was solved without, have the least negative
    log-likelihood at their best temperature. The mean of linear networks is a linear network.
    Returned are the logits (songs, classes) of each song from the solution without it, and a row
    of history.
    """
    began, head = time.perf_counter(), _required_head(network)
    x, count = song_features(network, bags, advance), int(fold_of.max()) + 1
    found: dict[float, list[tuple[Tensor, Tensor, float]]] = {one: [] for one in MULTIPLES}
    for fold in range(count):
        rest = fold_of != fold
        songs = x[torch.from_numpy(rest)]
        standardise(head, songs)
        problem = _Problem(head, songs, y[rest], pooling, training)
        for multiple in MULTIPLES:
            solution = problem.solve(multiple * training.weight_decay)
            weight, bias = problem.weights(solution)
            # For features that are not standardised, in float64.
            matrix = weight / head.deviation.double()
            found[multiple].append((matrix, bias - matrix @ head.mean.double(), solution.fun))
    best = np.inf
    for multiple, solutions in found.items():
        logits = np.zeros((len(bags), pooling.classes))
        for fold, (matrix, bias, _) in enumerate(solutions):
            outputs = x[torch.from_numpy(fold_of == fold)] @ matrix.T + bias
            logits[fold_of == fold] = both_classes(outputs).numpy()
        likelihood = fit_temperature(logits, y, pooling.kind).nll_after
        if likelihood < best:
            best, best_logits, best_solutions = likelihood, logits, solutions
            best_penalty = multiple * training.weight_decay
    standardise(head, x)
    matrices, biases, losses = zip(*best_solutions, strict=True)
    matrix, bias = torch.stack(matrices).mean(dim=0), torch.stack(biases).mean(dim=0)
    with torch.no_grad():
        head.linear.weight.copy_(matrix * head.deviation.double())
        head.linear.bias.copy_(bias + matrix @ head.mean.double())
    seconds = time.perf_counter() - began
    row = {"loss": float(np.mean(losses)), "penalty": best_penalty, "seconds": seconds}
    return best_logits, row


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _required_head(network: SongNetwork) -> LinearHead:
    head = linear_head(network)
    if head is None:
        raise TrainingError(
            "only a linear network can be solved exactly, and this one has no LinearHead "
            "(songbag.models.song_statistics). Set training.optimizer to adamw."
        )
    return head
