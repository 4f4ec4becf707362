"""Metrics of songs that have one label each, on arrays; and what loudness alone would reach.

Every metric takes the same first three arguments and raises ValueError for others:

y : (n,) integers in 0 .. classes - 1, the true label of every song.
probabilities : (n, classes), finite, non-negative, rows summing to 1 within 1e-3. The
    predicted label of a song is the argmax of its row, the first one on ties.
weights : (n,) or (resamples, n), finite, non-negative, positive in sum; None is all ones.
    A weight of 2 equals the song given twice, so a row is a bootstrap resample.

A metric has the shape of ``weights`` without its last axis. What is undefined (the recall of
an absent label) is NaN; averages over labels leave it out.

>>> y, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
>>> accuracy(y, p, np.array([[1, 1, 1], [2, 1, 0]])).round(3)  # two resamples
array([0.667, 1.   ])

References
----------
.. [1] Brodersen, Ong, Stephan, Buhmann (2010), The balanced accuracy and its posterior
   distribution, ICPR.
.. [2] Opitz, Burst (2019), Macro F1 and Macro F1, arXiv:1911.03347.
.. [3] Hanley, McNeil (1982), The meaning and use of the area under a ROC curve, Radiology.
.. [4] Brier (1950), Verification of forecasts expressed in terms of probability, MWR.
.. [5] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
.. [6] Nguyen, O'Connor (2015), Posterior calibration and exploratory analysis, EMNLP.
.. [7] Broecker, Smith (2007), Increasing the reliability of reliability diagrams, WAF.
.. [8] John, Langley (1995), Estimating continuous distributions in Bayesian classifiers, UAI.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Scores: TypeAlias = np.float64 | NDArray[np.float64]

BLOCK_BYTES = 2**26  # most bytes of one block of (resamples, n) weights or (draws, n) draws


def checked_labels(y: Ints, classes: int) -> NDArray[np.int64]:
    """Return y as int64 (n,), or raise ValueError if it is not in 0 .. classes - 1."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError("y must be a non-empty 1-D array of integers")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in 0 .. {classes - 1}")
    return labels.astype(np.int64)


def checked_weights(weights: Floats | None, songs: int) -> NDArray[np.float64]:
    """Return weights as float64 (n,) or (resamples, n), or raise ValueError."""
    rows = np.ones(songs) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.ndim not in (1, 2) or rows.shape[-1] != songs:
        raise ValueError(f"weights must have shape ({songs},) or (resamples, {songs})")
    if not (rows.min(initial=0) >= 0 and np.isfinite(rows.sum(axis=-1)).all()):
        raise ValueError("weights must be finite and non-negative")
    if not rows.sum(axis=-1).all():
        raise ValueError("the weights of a resample must not all be zero")
    return rows


def checked(
    y: Ints, probabilities: Floats, weights: Floats | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the arguments that every metric shares, checked and converted."""
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] == 0 or table.shape[1] < 2:
        raise ValueError("probabilities must have shape (n, classes), two classes or more")
    if not (table.min() >= 0 and np.abs(table.sum(axis=1) - 1).max() <= 1e-3):
        raise ValueError("probabilities must be non-negative, each row with the sum 1")
    labels = checked_labels(y, table.shape[1])
    if len(labels) != len(table):
        raise ValueError(f"{len(labels)} labels, but probabilities of {len(table)} songs")
    return labels, table, checked_weights(weights, len(table))


def ratio(top: Scores, bottom: Scores) -> Scores:
    """Return top / bottom, NaN where bottom is 0."""
    share: Scores = top / np.where(bottom > 0, bottom, np.nan)
    return share


def mean_defined(values: Scores) -> Scores:
    """Return the mean over the last axis without the NaN entries, NaN if all are NaN."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def mean_song(values: Floats, rows: Floats) -> Scores:
    """Return the weighted mean over songs of values (n,)."""
    return ratio(rows @ values, rows.sum(axis=-1))


def weighted_mean(values: Floats, weights: Floats | None) -> Scores:
    """Return the mean over songs of values (n,), weights as every metric takes them."""
    return mean_song(values, checked_weights(weights, len(values)))


def tallies(truth: Bools, decisions: Bools, rows: Floats) -> tuple[Scores, Scores, Scores]:
    """Return per label the weight of songs that have it, are given it, and both."""
    both = truth & decisions
    return rows @ truth.astype(float), rows @ decisions.astype(float), rows @ both.astype(float)


def _predicted_tallies(labels: Ints, table: Floats, rows: Floats) -> tuple[Scores, Scores, Scores]:
    unit = np.eye(table.shape[1], dtype=np.bool_)
    return tallies(unit[labels], unit[table.argmax(axis=1)], rows)


def _weight_below(scores: Floats, rows: Floats, at: Floats) -> NDArray[np.float64]:
    """Return the weight of songs with scores (n,) below ``at`` (m,), plus half of the tied.

    Shape ``rows.shape[:-1] + (m,)``: mid-ranks, free of the order of the songs.
    """
    order = np.argsort(scores, kind="stable")
    total = np.zeros((*rows.shape[:-1], len(order) + 1))
    np.cumsum(np.take(rows, order, axis=-1), axis=-1, out=total[..., 1:])
    low, high = (np.searchsorted(scores[order], at, side) for side in ("left", "right"))
    below: NDArray[np.float64] = np.take(total, low, axis=-1)
    below += np.take(total, high, axis=-1)
    below /= 2
    return below


def label_auc(positive: Bools, scores: Floats, rows: Floats) -> Scores:
    """Return the AUC of scores (n,) for positive (n,) songs against the others."""
    weight, others = rows[..., positive], rows[..., ~positive]
    below = _weight_below(scores[~positive], others, scores[positive])
    return ratio((weight * below).sum(axis=-1), weight.sum(axis=-1) * others.sum(axis=-1))


def bin_index(confidence: Floats, rows: Floats, bins: int) -> NDArray[np.int64]:
    """Return the equal-mass bin of every confidence (n,), 0 .. bins - 1, shaped as ``rows``."""
    if bins < 1:
        raise ValueError("bins must be at least 1")
    middle = _weight_below(confidence, rows, confidence)
    index: NDArray[np.int64] = (middle * bins / rows.sum(axis=-1, keepdims=True)).astype(np.int64)
    return np.minimum(index, bins - 1)  # songs of weight 0 may lie at the very end


def bin_sums(index: Ints, rows: Floats, bins: int, values: Floats) -> Scores:
    """Return the weighted sum of values (n,) in every bin: ``rows.shape[:-1] + (bins,)``."""
    flat = np.atleast_2d(index)
    flat = flat + bins * np.arange(len(flat))[:, None]
    sums = np.bincount(flat.ravel(), (rows * values).ravel(), minlength=len(flat) * bins)
    return sums.reshape((*rows.shape[:-1], bins))


def accuracy(y: Ints, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the share of songs whose predicted label is the true label, 0 to 1."""
    labels, table, rows = checked(y, probabilities, weights)
    return mean_song((table.argmax(axis=1) == labels).astype(np.float64), rows)


def balanced_accuracy(y: Ints, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean recall over the labels that songs of the resample have, 0 to 1 [1]_."""
    support, _, both = _predicted_tallies(*checked(y, probabilities, weights))
    return mean_defined(ratio(both, support))


def macro_f1(y: Ints, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean F1 over labels, 0 to 1 [2]_ (eq. 2, averaged F1).

    A label that no song of the resample has or is given is left out, as in scikit-learn.
    """
    support, predicted, both = _predicted_tallies(*checked(y, probabilities, weights))
    return mean_defined(ratio(2 * both, support + predicted))


def roc_auc(y: Ints, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the area under the ROC curve, 0 to 1, NaN if no label can be ranked [3]_.

    Two classes: that of label 1. More: the mean of one-versus-rest areas over the labels
    that some songs (of the resample) have and some do not. Tied songs count one half.
    """
    labels, table, rows = checked(y, probabilities, weights)
    asked = range(table.shape[1]) if table.shape[1] > 2 else (1,)
    areas = [label_auc(labels == label, table[:, label], rows) for label in asked]
    return mean_defined(np.stack(areas, axis=-1))


def negative_log_likelihood(
    y: Ints, probabilities: Floats, weights: Floats | None = None
) -> Scores:
    """Return the mean of -ln p(true label), p held in 1e-15 .. 1: 0 to 34.54 nats."""
    labels, table, rows = checked(y, probabilities, weights)
    likelihood = table[np.arange(len(labels)), labels]
    return mean_song(-np.log(np.clip(likelihood, 1e-15, 1.0)), rows)


def brier(y: Ints, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the squared error summed over labels, averaged over songs, 0 to 2 [4]_."""
    labels, table, rows = checked(y, probabilities, weights)
    error = table - np.eye(table.shape[1])[labels]
    return mean_song((error**2).sum(axis=1), rows)


def expected_calibration_error(
    y: Ints, probabilities: Floats, weights: Floats | None = None, bins: int = 10
) -> Scores:
    """Return the mean over bins of |accuracy - confidence| by weight, 0 to 1 [5]_ (eq. 3).

    Confidence is the largest probability of a song. The bins have equal mass [6]_: songs
    go by the mid-rank of their confidence in the weighted songs, so that tied songs share a
    bin and the order of the songs never matters. Noise adds to this error: judge it against
    `calibrated_ece_quantile`.
    """
    labels, table, rows = checked(y, probabilities, weights)
    gap = (table.argmax(axis=1) == labels) - table.max(axis=1)
    gaps = bin_sums(bin_index(table.max(axis=1), rows, bins), rows, bins, gap)
    return ratio(np.abs(gaps).sum(axis=-1), rows.sum(axis=-1))


def calibrated_ece_quantile(
    chance: Floats,
    rng: "np.random.Generator",
    bins: int = 10,
    quantile: float = 0.9,
    draws: int = 2000,
) -> float:
    """Return the quantile of the ECE that a perfectly calibrated model would show, 0 to 1.

    Events are drawn independently, each with its chance (n,): that a predicted label is right
    with the confidence, or that a label holds with its probability. This is the resampling of
    [7]_ with the probabilities held fixed.

    >>> confidence = np.random.default_rng(0).dirichlet(np.ones(4), 300).max(axis=1)
    >>> limit = calibrated_ece_quantile(confidence, np.random.default_rng(1))
    >>> 0.08 < limit < 0.11  # noise alone reaches this with 300 songs
    True
    """
    place = np.eye(bins)[bin_index(chance, np.ones(len(chance)), bins)]
    errors, step = np.empty(draws), max(1, BLOCK_BYTES // (8 * len(chance)))
    for start in range(0, draws, step):
        block = errors[start : start + step]
        happened = rng.random((len(block), len(chance))) < chance
        block[:] = np.abs(happened @ place - chance @ place).sum(axis=-1) / len(chance)
    return float(np.quantile(errors, quantile))


def reliability(chance: Floats, happened: Bools, bins: int = 10) -> dict[str, Scores]:
    """Return confidence, accuracy and count of events in every bin of the calibration error.

    Each is (bins,), from the least likely to the most likely: the mean chance, the share that
    happened, and how many; an empty bin has NaN and count 0.
    """
    rows = np.ones(len(chance))
    index = bin_index(chance, rows, bins)
    count = bin_sums(index, rows, bins, rows)
    return {
        "confidence": ratio(bin_sums(index, rows, bins, chance), count),
        "accuracy": ratio(bin_sums(index, rows, bins, happened.astype(np.float64)), count),
        "count": count,
    }


def confusion_matrix(y: Ints, probabilities: Floats) -> NDArray[np.int64]:
    """Return the number of songs (classes, classes) by true (row) and predicted (column) label."""
    labels, table, _ = checked(y, probabilities, None)
    unit = np.eye(table.shape[1], dtype=np.int64)
    matrix: NDArray[np.int64] = unit[labels].T @ unit[table.argmax(axis=1)]
    return matrix


def per_label(y: Ints, probabilities: Floats) -> dict[str, Scores]:
    """Return precision, recall, f1, support and auc, each (labels,).

    NaN: precision of a label no song is given, recall of a label no song has, F1 of a label
    neither given nor had, AUC (against the other labels) of a label that none or all have.
    """
    labels, table, rows = checked(y, probabilities, None)
    support, predicted, both = _predicted_tallies(labels, table, rows)
    areas = [label_auc(labels == k, table[:, k], rows) for k in range(table.shape[1])]
    return {
        "precision": ratio(both, predicted),
        "recall": ratio(both, support),
        "f1": ratio(2 * both, support + predicted),
        "support": support,
        "auc": np.stack(areas, axis=-1),
    }


METRICS: dict[str, Callable[[Ints, Floats, Floats | None], Scores]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "nll": negative_log_likelihood,
    "brier": brier,
    "ece": expected_calibration_error,
}


def fit_level(level_db: Floats, y: Ints, classes: int) -> dict[str, list[float]]:
    """Return mean, deviation and prior of every label, of the levels in dB (n,) of its songs.

    One-dimensional Gaussian naive Bayes [8]_, to see how much of a result the recording's
    level alone explains. Deviations are of the population, floored at 0.5 dB. A label
    without songs has prior 0 and the mean and deviation of all songs.
    """
    levels, labels = _checked_levels(level_db), np.asarray(y)
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
    distance = (_checked_levels(level_db)[:, None] - mean) / deviation
    scores = np.log(np.where(prior > 0, prior, 1.0) / deviation) - distance**2 / 2
    scores = np.where(prior > 0, scores, -np.inf)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


def _checked_levels(level_db: Floats) -> NDArray[np.float64]:
    levels = np.asarray(level_db, dtype=np.float64)
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ValueError("levels must be a 1-D array of finite decibels")
    return levels
