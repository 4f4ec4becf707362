"""What a figure must beat: the most frequent label, and the recording's level alone.

References
----------
.. [1] John, Langley (1995), Estimating continuous distributions in Bayesian classifiers, UAI.
"""

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.classification import Floats, Ints


def majority_label(y: Ints, classes: int) -> int:
    """Return the most frequent label of y (n,), the lowest on ties."""
    if len(y) == 0 or max(y) >= classes:
        raise ValueError(f"labels must lie in 0 .. {classes - 1}, and there must be some")
    return int(np.bincount(y, minlength=classes).argmax())


def _levels(level_db: Floats) -> NDArray[np.float64]:
    """Return the levels as float64 (n,), or refuse them."""
    levels = np.asarray(level_db, dtype=np.float64)
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ValueError("levels must be a 1-D array of finite decibels")
    return levels


def fit_level(level_db: Floats, y: Ints, classes: int) -> dict[str, list[float]]:
    """Return mean, deviation and prior per label of the level in dB (n,) of every song.

    One-dimensional Gaussian naive Bayes [1]_, to tell how much of a result the level alone
    explains. Deviations are of the population, floored at 0.5 dB. A label without songs has
    prior 0 and the mean and deviation of all songs.
    """
    levels, labels = _levels(level_db), np.asarray(y)
    if levels.shape != labels.shape:
        raise ValueError(f"{len(levels)} levels, but {len(labels)} labels")
    count = np.bincount(labels, minlength=classes)
    members = [levels[labels == k] if count[k] else levels for k in range(classes)]
    return {
        "mean": [float(of_label.mean()) for of_label in members],
        "deviation": [max(float(of_label.std()), 0.5) for of_label in members],
        "prior": [float(share) for share in count / len(labels)],
    }


def level_probabilities(
    parameters: dict[str, list[float]], level_db: Floats
) -> NDArray[np.float64]:
    """Return the probabilities (n, classes) of songs of that level (n,), by `fit_level`."""
    mean, deviation, prior = (np.asarray(parameters[k]) for k in ("mean", "deviation", "prior"))
    distance = (_levels(level_db)[:, None] - mean) / deviation
    scores = np.log(np.where(prior > 0, prior, 1.0) / deviation) - distance**2 / 2
    scores = np.where(prior > 0, scores, -np.inf)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
