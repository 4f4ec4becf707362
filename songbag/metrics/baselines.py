"""The baseline of the recording's level: what its loudness alone says of the label.

References
----------
.. [1] John, Langley (1995), Estimating continuous distributions in Bayesian classifiers, UAI.
"""

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.classification import Floats, Ints


def _levels(level_db: Floats) -> NDArray[np.float64]:
    """Return the levels as float64 (n,), or raise ValueError."""
    levels = np.asarray(level_db, dtype=np.float64)
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ValueError("levels must be a 1-D array of finite decibels")
    return levels


def fit_level(level_db: Floats, y: Ints, classes: int) -> dict[str, list[float]]:
    """Return mean, deviation and prior of every label, of the levels in dB (n,) of its songs.

    One-dimensional Gaussian naive Bayes [1]_, to see how much of a result the level alone
    explains. Deviations are of the population, floored at 0.5 dB. A label without songs has
    prior 0 and the mean and deviation of all songs.

    >>> loud_rock = fit_level(np.array([-20.0, -18.0, -9.0]), np.array([0, 0, 1]), classes=2)
    >>> loud_rock["mean"], loud_rock["deviation"]
    ([-19.0, -9.0], [1.0, 0.5])
    >>> level_probabilities(loud_rock, np.array([-19.0, -10.0])).round(2)
    array([[1., 0.],
           [0., 1.]])
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
    """Return the probabilities (n, classes) of songs of these levels (n,), by `fit_level`."""
    mean, deviation, prior = (np.asarray(parameters[k]) for k in ("mean", "deviation", "prior"))
    distance = (_levels(level_db)[:, None] - mean) / deviation
    scores = np.log(np.where(prior > 0, prior, 1.0) / deviation) - distance**2 / 2
    scores = np.where(prior > 0, scores, -np.inf)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
