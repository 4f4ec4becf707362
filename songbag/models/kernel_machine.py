"""A kernel machine on windows, solved in closed form: the recipe for tables of window features.

A window is described by how like it is to each of some hundred landmarks, by a Gaussian of their
distance; landmarks are the centres of the training windows (Nyström's method with k-means,
Zhang, Tsang, Kwok 2008, Improved Nyström low-rank approximation, ICML). A linear layer on
these values is a linear network: the logits of a song are those of its mean window. Its weights
are those of least squares with the kernel's own penalty (regularised least squares: Rifkin,
Yeo, Poggio 2003, Regularized least-squares classification), which one factorisation gives for
any number of windows, in one pass over them.

The squares are those of songs, whose answer is the mean of their windows', and in equal parts
those of single windows, each with its song's label: windows alone ask of every window what
only the song can show, songs alone are few.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.data.dataset import as_they_are, trust
from songbag.metrics.calibration import fit_temperature
from songbag.models.losses import song_weights
from songbag.models.song_network import SongNetwork, SongPooling, both_classes
from songbag.models.song_statistics import LinearHead
from songbag.settings import Training

Labels = NDArray[np.int64]
LANDMARKS = 500
PENALTIES = tuple(10.0 ** (step / 2) for step in range(-10, -1))  # 1e-5 to 0.1
_SONGS = 0.5  # of the weight, where the loss is on the song; the rest is on windows
_WIDTH = 0.5  # of the Gaussian: exp(-_WIDTH * mean squared difference of values)
_SAMPLE = 20_000  # windows that scales and landmarks are taken from
_ROUNDS = 5  # of k-means
_BLOCK = 8192  # windows described at once
_JITTER = 1e-6  # on the diagonal: without it weights grow until float32 cannot add them up


class KernelFeatures(nn.Module):
    """Likeness of windows (windows, ...) to landmarks: (windows, landmarks), 0 to 1.

    Values are squashed first, so that heavy tails do not decide: the inverse hyperbolic sine of
    their distance to the middle of the training windows, in halves of the spread between
    quartiles, with mean 0 and deviation 1. A missing value (NaN) is at the middle; a value that
    was missing in training has a second one, which says whether it is.
    """

    middle: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor
    flag: Tensor
    landmarks: Tensor  # (2 * values, landmarks)
    squares: Tensor  # of the landmarks, summed
    slope: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        for name, value in (("middle", 0.0), ("spread", 1.0), ("mean", 0.0), ("deviation", 1.0)):
            self.register_buffer(name, torch.full((values,), value))
        self.register_buffer("flag", torch.zeros(values))
        # As the graph takes them: what it would compute of weights alone, it could not fill in.
        self.register_buffer("landmarks", torch.zeros(2 * values, LANDMARKS))
        self.register_buffer("squares", torch.zeros(LANDMARKS))
        self.register_buffer("slope", torch.tensor(-_WIDTH / values))

    def forward(self, windows: Tensor) -> Tensor:
        squashed = self.squash(windows)
        lengths = squashed.square().sum(dim=1, keepdim=True)
        distances = lengths + self.squares - 2 * (squashed @ self.landmarks)
        return (self.slope * distances.clamp(min=0)).exp()

    def squash(self, windows: Tensor) -> Tensor:
        """Return values and flags (windows, 2 * values) of windows (windows, ...)."""
        flat = windows.flatten(1)
        missing = torch.isnan(flat)
        distance = torch.where(missing, torch.zeros_like(flat), flat - self.middle)
        squashed = (torch.asinh(2 * distance / self.spread) - self.mean) / self.deviation
        return torch.cat([squashed, missing.to(flat.dtype) * self.flag], dim=1)

    def place(self, bags: Sequence[Bag], frames: int) -> None:
        """Take scales and landmarks from the windows of training bags."""
        from sklearn.cluster import KMeans

        rng = np.random.default_rng(0)
        windows = _sample(bags, frames, rng)
        low, middle, high = np.nanquantile(windows, [0.25, 0.5, 0.75], axis=0)
        spread = high - low
        # Where half of the values are one, quartiles say nothing; where all are, nothing does.
        spread = np.where(spread > 0, spread, np.nanstd(windows, axis=0))
        values = windows.shape[1]
        for name, value in (("middle", middle), ("spread", np.where(spread > 0, spread, 1.0))):
            getattr(self, name).copy_(torch.from_numpy(np.nan_to_num(value)))
        missing = np.isnan(windows)
        self.flag.copy_(torch.from_numpy(missing.any(axis=0).astype(np.float32)))
        squashed = self.squash(torch.from_numpy(windows)).numpy()[:, :values]
        deviation = squashed.std(axis=0)
        varies = deviation > 1e-6
        self.mean.copy_(torch.from_numpy(squashed.mean(axis=0)))
        self.deviation.copy_(torch.from_numpy(np.where(varies, deviation, 1.0)))
        self.slope.fill_(-_WIDTH / max(1, int(varies.sum() + missing.any(axis=0).sum())))
        described = self.squash(torch.from_numpy(windows)).numpy()
        distinct = np.unique(described, axis=0)
        if len(distinct) > LANDMARKS:
            means = KMeans(LANDMARKS, init="random", n_init=1, max_iter=_ROUNDS, random_state=0)
            distinct = means.fit(described[rng.permutation(len(described))]).cluster_centers_
        # Fewer windows than landmarks: some stand twice, which changes nothing.
        points = np.resize(distinct, (LANDMARKS, 2 * values)).T
        self.landmarks.copy_(torch.from_numpy(points))
        self.squares.copy_(self.landmarks.square().sum(dim=0))

    def likeness(self) -> Tensor:
        """Return that of the landmarks to each other, (landmarks, landmarks), float64."""
        points = self.landmarks.T.double()
        return (self.slope.double() * torch.cdist(points, points).square()).exp()


class Kernel(nn.Module):
    """One linear layer on `KernelFeatures`."""

    def __init__(self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        features = KernelFeatures(int(np.prod(window_shape)))
        self.head = LinearHead(features, LANDMARKS, outputs, dropout)

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.head(windows)
        return outputs


class _Sums(NamedTuple):
    """Weighted sums over windows and songs of features (values,) and targets (outputs,)."""

    weight: Tensor
    features: Tensor
    targets: Tensor
    squares: Tensor  # (values, values)
    products: Tensor  # (values, outputs)

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, weights: Tensor) -> "_Sums":
        weighted = features * weights[:, None]
        return cls(
            weights.sum(),
            weighted.sum(dim=0),
            weights @ targets,
            weighted.T @ features,
            weighted.T @ targets,
        )

    def plus(self, other: "_Sums", sign: int = 1) -> "_Sums":
        return _Sums(*(ours + sign * theirs for ours, theirs in zip(self, other, strict=True)))

    def centred(self) -> "_Centred":
        """Return means, and covariances with a little on the diagonal."""
        mean, target = self.features / self.weight, self.targets / self.weight
        squares = self.squares / self.weight - torch.outer(mean, mean)
        squares.diagonal().add_(_JITTER)
        products = self.products / self.weight - torch.outer(mean, target)
        return _Centred(mean, target, squares, products)


class _Centred(NamedTuple):
    """Means of features (values,) and targets (outputs,), and their covariances."""

    mean: Tensor
    target: Tensor
    squares: Tensor  # (values, values)
    products: Tensor  # (values, outputs)

    def solve(self, penalty: float, likeness: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (values, outputs) and bias (outputs,) of least squares."""
        factor = torch.linalg.cholesky(self.squares + penalty * likeness)
        matrix = torch.cholesky_solve(self.products, factor)
        return matrix, self.target - self.mean @ matrix


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

    The penalty, of `PENALTIES`, and the scale of the logits are those of least negative
    log-likelihood of the songs that each solution was not solved on. Returned are the logits
    (songs, classes) of each song from the solution without it, and a row of history.
    """
    began, head = time.perf_counter(), _head(network)
    folds = np.unique(fold_of).tolist()
    songs, sums = _sums(network, bags, y, fold_of, pooling, training, advance)
    own = as_they_are(bags)
    likeness = head.features.likeness()  # type: ignore[operator]
    whole = sums[folds[0]]
    for fold in folds[1:]:
        whole = whole.plus(sums[fold])
    others = {fold: whole.plus(sums[fold], -1).centred() for fold in folds}

    def tried(penalty: float) -> tuple[float, float, NDArray[np.float64], list[Tensor]]:
        logits, solutions = torch.zeros(len(bags), pooling.classes, dtype=torch.float64), []
        for fold in folds:
            matrix, bias = others[fold].solve(penalty, likeness)
            inside = torch.from_numpy(fold_of == fold)
            logits[inside] = both_classes(songs[inside] @ matrix + bias)
            solutions.append(torch.cat([matrix, bias[None]]))
        fitted = fit_temperature(logits.numpy()[own], y[own], pooling.kind)
        return fitted.nll_after, fitted.temperature, logits.numpy(), solutions

    tries = {penalty: tried(penalty) for penalty in PENALTIES}
    penalty = min(tries, key=lambda each: tries[each][0])
    loss, temperature, logits, solutions = tries[penalty]
    mean = torch.stack(solutions).mean(dim=0) / temperature
    _fill(head, mean[:-1], mean[-1])
    row = {"loss": loss, "penalty": penalty, "seconds": time.perf_counter() - began}
    return logits / temperature, row


def solve(
    network: SongNetwork, bags: Sequence[Bag], y: Labels, pooling: SongPooling, training: Training
) -> dict[str, float]:
    """Give a network the weights of least squares on all songs; return a row of history.

    The penalty is ``training.weight_decay``: without songs held out nothing else is known.
    """
    began, head = time.perf_counter(), _head(network)
    songs, sums = _sums(network, bags, y, np.zeros(len(bags), np.int64), pooling, training)
    likeness = head.features.likeness()  # type: ignore[operator]
    matrix, bias = sums[0].centred().solve(training.weight_decay, likeness)
    _fill(head, matrix, bias)
    seconds = time.perf_counter() - began
    logits = both_classes(songs @ matrix + bias).numpy()
    loss = fit_temperature(logits, y, pooling.kind).nll_before
    return {"epoch": 1, "seconds": seconds, "songs_per_second": len(bags) / seconds, "loss": loss}


def _sums(
    network: SongNetwork,
    bags: Sequence[Bag],
    y: Labels,
    fold_of: Labels,
    pooling: SongPooling,
    training: Training,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, dict[int, _Sums]]:
    """Return mean features of songs (songs, values), and the sums of each fold."""
    head, classes, kind = _head(network), pooling.classes, pooling.kind
    of_songs = torch.from_numpy(kind.targets(y, classes)).double()
    targets = (of_songs - (0.5 if kind.multilabel else 1 / classes))[:, -pooling.outputs :]
    weights = torch.from_numpy(song_weights(y, classes, kind, training.balance, trust(bags)))
    on_songs = _SONGS if training.loss == "song" else 0.0
    counts = torch.tensor([bag.window_count for bag in bags], dtype=torch.float64)
    songs = torch.zeros(len(bags), head.linear.in_features, dtype=torch.float64)
    sums: dict[int, _Sums] = {}

    def add(features: Tensor, places: Tensor, shares: Tensor) -> None:
        for fold in np.unique(fold_of[places.numpy()]).tolist():
            inside = torch.from_numpy(fold_of)[places] == fold
            rows = places[inside]
            tries = _Sums.of(features[inside], targets[rows], shares[inside])
            sums[fold] = sums[fold].plus(tries) if fold in sums else tries

    with torch.no_grad():
        for places, windows in _blocks(bags, network.window_shape[0]):
            features = head.features(windows).double()
            songs.index_add_(0, places, features)
            add(features, places, (1 - on_songs) * (weights / counts)[places])
            advance(int(places[-1]) + 1)
        songs /= counts[:, None]
        if on_songs:
            add(songs, torch.arange(len(bags)), on_songs * weights)
    return songs, sums


def _blocks(bags: Sequence[Bag], frames: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the windows of songs in blocks, with the place of each window's song."""
    waiting, count = list[tuple[int, NDArray[np.float32]]](), 0
    for place, bag in enumerate(bags):
        for cut in batches.window_blocks(bag, frames, _BLOCK):
            waiting.append((place, cut))
            count += len(cut)
            if count >= _BLOCK:
                yield _block(waiting)
                waiting, count = [], 0
    if waiting:
        yield _block(waiting)


def _block(parts: Sequence[tuple[int, NDArray[np.float32]]]) -> tuple[Tensor, Tensor]:
    places = np.repeat([place for place, _ in parts], [len(cut) for _, cut in parts])
    return torch.from_numpy(places), torch.from_numpy(np.concatenate([cut for _, cut in parts]))


def _sample(bags: Sequence[Bag], frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return at most `_SAMPLE` windows, flat, as many of each song as there is room for."""
    most = max(1, _SAMPLE // len(bags))
    chosen = (
        range(len(bags)) if len(bags) <= _SAMPLE else sorted(rng.choice(len(bags), _SAMPLE, False))
    )
    rows = []
    for place in chosen:
        bag = bags[place]
        starts = np.arange(bag.window_count) if bag.starts is None else bag.starts
        if len(starts) > most:
            starts = np.sort(rng.choice(starts, most, replace=False))
        cut = batches.cut_windows(bag, starts, frames)
        rows.append(cut.reshape(len(cut), -1))
    return np.concatenate(rows)


def _head(network: SongNetwork) -> LinearHead:
    head = next((part for part in network.modules() if isinstance(part, LinearHead)), None)
    assert head is not None
    assert isinstance(head.features, KernelFeatures)
    return head


def _fill(head: LinearHead, matrix: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        head.linear.weight.copy_(matrix.T)
        head.linear.bias.copy_(bias)
