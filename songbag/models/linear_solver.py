"""Linear networks solved exactly: logistic regression on the songs' mean features.

With the mean of logits the logits of a song are linear in the mean of its windows' features,
so the loss on songs is convex and its minimum needs no epochs. The mean cross-entropy of songs
plus penalty / 2 times the sum of squared weights is minimised by L-BFGS ([1]_, algorithm 7.5).

Features are standardised first. With ``training.whitening`` they are then whitened by the
covariance of songs within labels [2]_, shrunk towards a multiple of the identity [3]_: weights
along which songs of one label differ cost more, those along which they agree less.

References
----------
.. [1] Nocedal, Wright (2006), Numerical optimization, 2nd edition.
.. [2] Hatch, Kajarekar, Stolcke (2006), Within-class covariance normalization for SVM-based speaker
   recognition, Interspeech.
.. [3] Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices,
   Journal of Multivariate Analysis 88.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.data.dataset import as_they_are, trust
from songbag.errors import TrainingError
from songbag.metrics.calibration import fit_temperature
from songbag.models.losses import SLOPES, Floats, smoothed, song_weights
from songbag.models.song_network import SongNetwork, SongPooling, both_classes
from songbag.models.song_statistics import LinearHead
from songbag.settings import Training

Labels = NDArray[np.int64]
MULTIPLES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the penalty, that folds choose among
_STEPS, _MEMORY = 500, 50  # of L-BFGS
_LEAST_SCALE = 0.1  # a value's deviation over songs, as a share of that with copies


def linear_head(network: SongNetwork) -> LinearHead | None:
    """Return the network's linear head, None if it has none."""
    return next((part for part in network.modules() if isinstance(part, LinearHead)), None)


def song_features(
    network: SongNetwork, bags: Sequence[Bag], advance: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Return mean features (songs, values) over all windows of a network with a linear head."""
    head, frames = _required_head(network), network.window_shape[0]
    # At once: small tensors that stay between large ones that go leave holes, a megabyte a song.
    means = torch.empty((len(bags), len(head.mean)), dtype=torch.float64)
    rows = iter(means)

    def collect(part: nn.Module, windows: object, features: Tensor) -> None:
        next(rows).copy_(features.double().mean(dim=0))

    with head.features.register_forward_hook(collect), torch.no_grad():
        for done, bag in enumerate(bags, start=1):
            starts = np.arange(bag.window_count) if bag.starts is None else bag.starts
            network(torch.from_numpy(batches.cut_windows(bag, starts, frames)))
            advance(done)
    return means


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over songs of features x (songs, values)."""
    deviation = x.std(dim=0, correction=0)
    # A value that never changes carries nothing: leave it at zero instead of dividing by it.
    return x.mean(dim=0), torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


def standardise(head: LinearHead, x: Tensor) -> None:
    """Give a head the mean and deviation over songs of features x (songs, values)."""
    mean, deviation = mean_and_deviation(x)
    head.mean.copy_(mean)
    head.deviation.copy_(deviation)


def solve(
    network: SongNetwork, bags: Sequence[Bag], y: Labels, pooling: SongPooling, training: Training
) -> dict[str, float]:
    """Give a linear network the weights of least loss on songs; return a row of history."""
    began = time.perf_counter()
    x = song_features(network, bags)
    problem = _Problem(x, y, pooling, training, trust(bags), as_they_are(bags))
    matrix, bias, loss = problem.solve(training.weight_decay)
    _fill(_required_head(network), x, matrix, bias)
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
    matrix, bias, loss = _Problem(x, y, pooling, training).solve(penalty)
    _fill(head, x, matrix, bias)
    return loss


def _fill(head: LinearHead, x: Tensor, matrix: Tensor, bias: Tensor) -> None:
    """Standardise a head on x, and give it a linear function of features as they are."""
    standardise(head, x)
    with torch.no_grad():
        head.linear.weight.copy_(matrix * head.deviation.double())
        head.linear.bias.copy_(bias + matrix @ head.mean.double())


class _Solution(NamedTuple):
    """A linear function of features that are not standardised, in float64, and its loss."""

    matrix: Tensor  # (outputs, values)
    bias: Tensor
    loss: float


@dataclass(frozen=True)
class _Whitening:
    """A symmetric matrix (values, values): ``factors`` along ``directions``, else ``rest``."""

    directions: NDArray[np.float64]  # (values, k), orthonormal
    factors: NDArray[np.float64]  # (k,)
    rest: float

    @classmethod
    def within(
        cls, x: NDArray[np.float64], y: Labels, trust: NDArray[np.float64], share: float
    ) -> "_Whitening | None":
        """Return the inverse root of the covariance of x (songs, values) within labels y (songs,).

        It is ``share`` of that covariance, and for the rest the identity times its mean eigenvalue;
        a variance of that mean stays as it is. None where songs of one label do not differ.
        """
        weights, values = np.sqrt(trust / trust.sum()), x.shape[1]
        away = (_away(x[y == label], weights[y == label]) for label in np.unique(y))
        if len(x) < values:  # a smaller matrix has the same eigenvalues but zero
            rows = np.concatenate(list(away))
            variances, sides = np.linalg.eigh(rows @ rows.T)
            present = variances > max(1e-9 * variances[-1], 0.0)
            variances = variances[present]
            directions = rows.T @ sides[:, present] / np.sqrt(variances)
        else:
            covariance = np.zeros((values, values))
            for rows in away:  # one label at a time: of many songs a copy would be large
                covariance += rows.T @ rows
            variances, directions = np.linalg.eigh(covariance)
        mean = variances.clip(0).sum() / values
        if mean < 1e-12:  # of values with unit variance: rounding
            return None
        shrunk = share * variances.clip(0) / mean + (1 - share)
        return cls(directions, shrunk**-0.5, (1 - share) ** -0.5)

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows (n, values) times the matrix."""
        if self.directions.shape[0] == self.directions.shape[1]:
            matrix: NDArray[np.float64] = self.directions * self.factors @ self.directions.T
            return rows @ matrix
        along = (rows @ self.directions) * (self.factors - self.rest)
        whitened: NDArray[np.float64] = self.rest * rows + along @ self.directions.T
        return whitened


def _away(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows less their mean, times their weights (the roots of how much they count)."""
    away: NDArray[np.float64] = (x - np.average(x, axis=0, weights=weights**2)) * weights[:, None]
    return away


class _Problem:
    """The loss on songs as a function of weights, whatever the penalty.

    ``trust`` (songs,) is how much each counts; the songs of ``own`` (songs,) give the scale.
    """

    def __init__(
        self,
        x: Tensor,
        y: Labels,
        pooling: SongPooling,
        training: Training,
        trust: ArrayLike = 1.0,
        own: NDArray[np.bool_] | None = None,
    ) -> None:
        self.mean, self.deviation = mean_and_deviation(x)
        if own is not None and not own.all():
            # What hardly varies among songs, and much in copies, must not become huge in these.
            least = self.deviation * _LEAST_SCALE
            self.mean, self.deviation = mean_and_deviation(x[own])
            self.deviation = self.deviation.maximum(least)
        scaled, self.basis = ((x - self.mean) / self.deviation).numpy(), None
        trusted = np.broadcast_to(np.asarray(trust, dtype=np.float64), len(scaled))
        single = training.whitening and not pooling.kind.multilabel
        self.whiten = _Whitening.within(scaled, y, trusted, training.whitening) if single else None
        if self.whiten:
            scaled = self.whiten(scaled)
        if scaled.shape[0] < scaled.shape[1]:
            # Fewer songs than values: the weights of least norm lie in the span of the songs.
            basis, coordinates = np.linalg.qr(scaled.T)
            self.basis = self.whiten(basis.T) if self.whiten else basis.T
            self.whiten, scaled = None, np.ascontiguousarray(coordinates.T)
        self.scaled, self.pooling = scaled, pooling
        kind, classes = pooling.kind, pooling.classes
        self.targets = smoothed(kind.targets(y, classes), kind, training.label_smoothing)
        weights = song_weights(y, classes, kind, training.balance, trust)
        self.song_weights = weights[:, None] / weights.sum()

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

    def solve(self, penalty: float) -> _Solution:
        """Return what L-BFGS finds from zero on."""
        outputs = self.pooling.outputs
        start = np.zeros(outputs * (self.scaled.shape[1] + 1))
        options = {"maxiter": _STEPS, "gtol": 1e-6, "ftol": 1e-12, "maxcor": _MEMORY}
        # On one thread: those of BLAS and of torch would wait for each other, twice as long.
        with _blas().limit(limits=1, user_api="blas"):
            found = minimize(self.loss, start, (penalty,), "L-BFGS-B", jac=True, options=options)
        weight, bias = np.split(found.x.reshape(outputs, -1), [-1], axis=1)
        if self.basis is not None:
            weight = weight @ self.basis
        elif self.whiten:
            weight = self.whiten(weight)
        matrix = torch.from_numpy(weight) / self.deviation
        return _Solution(matrix, torch.from_numpy(bias[:, 0]) - matrix @ self.mean, found.fun)


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

    The penalty is sought among `MULTIPLES` of ``training.weight_decay``, from 1 on in the
    direction that lowers the negative log-likelihood, at its best temperature, of the songs that
    each solution was not solved on, copies left out. The mean of linear networks is a linear
    network. Returned are the logits (songs, classes) of each song from the solution without it,
    and a row of history.
    """
    began, head = time.perf_counter(), _required_head(network)
    x, folds = song_features(network, bags, advance), np.unique(fold_of).tolist()
    trusted, own = trust(bags), as_they_are(bags)
    kept: dict[int, _Problem] = {}

    def problem(fold: int) -> _Problem:
        if fold in kept:
            return kept[fold]
        rest = fold_of != fold
        made = _Problem(x[rest], y[rest], pooling, training, trusted[rest], own[rest])
        if made.basis is not None:  # costly to make, and small
            kept[fold] = made
        return made

    def tried(place: int) -> tuple[float, NDArray[np.float64], list[_Solution]]:
        penalty, logits = MULTIPLES[place] * training.weight_decay, np.zeros((len(x), classes))
        solutions = [problem(fold).solve(penalty) for fold in folds]
        for fold, (matrix, bias, _) in zip(folds, solutions, strict=True):
            outputs = x[torch.from_numpy(fold_of == fold)] @ matrix.T + bias
            logits[fold_of == fold] = both_classes(outputs).numpy()
        return fit_temperature(logits[own], y[own], pooling.kind).nll_after, logits, solutions

    classes, place = pooling.classes, MULTIPLES.index(1.0)
    best, logits, solutions = tried(place)
    for step in (-1, 1):
        begin = place
        while 0 <= place + step < len(MULTIPLES) and (found := tried(place + step))[0] < best:
            place, (best, logits, solutions) = place + step, found
        if place != begin:
            break  # what lies in the other direction is known to be worse
    matrices, biases, losses = zip(*solutions, strict=True)
    _fill(head, x, torch.stack(matrices).mean(dim=0), torch.stack(biases).mean(dim=0))
    row = {
        "loss": float(np.mean(losses)),
        "penalty": MULTIPLES[place] * training.weight_decay,
        "seconds": time.perf_counter() - began,
    }
    return logits, row


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
