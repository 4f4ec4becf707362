"""Metrics of songs that may have several labels, or none.

Every metric takes the same first three arguments and raises ValueError for others:

y : (n, labels) bool or 0 and 1, which labels every song has.
probabilities : (n, labels), each from 0 to 1; rows need not sum to anything. The metrics of
    `DECISION_METRICS` take ``decisions`` (n, labels) bool instead: `decide`.
weights : as in `songbag.metrics.classification`, and so are the shapes of what is returned.

A label that no song has, or every song, cannot be ranked: its average precision and AUC are
NaN, and averages over labels leave NaN out.

References
----------
.. [1] Davis, Goadrich (2006), The relationship between precision-recall and ROC curves, ICML.
.. [2] Tsoumakas, Katakis, Vlahavas (2010), Mining multi-label data.
.. [3] Lipton, Elkan, Naryanaswamy (2014), Optimal thresholding of classifiers to maximize F1.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.classification import Floats, Scores, mean_defined, mean_song, ratio, tallies

Truth: TypeAlias = NDArray[Any]  # of bool, or of 0 and 1
Bools: TypeAlias = NDArray[np.bool_]


def checked_truth(y: Truth) -> Bools:
    """Return y as bool (n, labels), or raise ValueError."""
    truth = np.asarray(y)
    if truth.ndim != 2 or truth.size == 0:
        raise ValueError("y must be non-empty, of shape (n, labels)")
    if truth.dtype.kind not in "biu" or truth.min() < 0 or truth.max() > 1:
        raise ValueError("y must be bool, or 0 and 1")
    return truth.astype(np.bool_)


def checked(
    y: Truth, probabilities: Floats | Bools, weights: Floats | None
) -> tuple[Bools, NDArray[np.float64], NDArray[np.float64]]:
    """Return the arguments that every metric shares, checked and converted."""
    truth, table = checked_truth(y), np.asarray(probabilities, dtype=np.float64)
    if truth.shape != table.shape:
        raise ValueError(f"y has the shape {truth.shape}, probabilities have {table.shape}")
    if not (table.min() >= 0 and table.max() <= 1):
        raise ValueError("probabilities must lie in 0 .. 1")
    return truth, table, classification.checked_weights(weights, len(table))


def decide(probabilities: Floats, thresholds: Sequence[float] | Floats = ()) -> Bools:
    """Return which labels songs are given: probability >= threshold, both (..., labels).

    Without thresholds they are 0.5.

    >>> decide(np.array([0.6, 0.3])), decide(np.array([0.6, 0.3]), [0.7, 0.2])
    (array([ True, False]), array([False,  True]))
    """
    table, limits = np.asarray(probabilities, dtype=np.float64), np.asarray(thresholds)
    if limits.size == 0:
        limits = np.full(table.shape[-1], 0.5)
    if limits.shape != table.shape[-1:]:
        raise ValueError(f"thresholds must be {table.shape[-1]}, one a label")
    return np.asarray(table >= limits)


def best_thresholds(y: Truth, probabilities: Floats) -> NDArray[np.float64]:
    """Return for every label the threshold (labels,) of greatest F1 on these songs [3]_.

    Tried are the middles between neighbouring distinct probabilities, and half the smallest;
    of equals the one nearest 0.5. A label that no song has gets 0.5. On the songs that the
    thresholds were chosen from, the F1 is flattered.
    """
    truth, table, _ = checked(y, probabilities, None)
    thresholds = np.full(table.shape[1], 0.5)
    for label in np.flatnonzero(truth.any(axis=0)):
        has, (distinct, place) = truth[:, label], np.unique(table[:, label], return_inverse=True)
        reached = np.bincount(place)[::-1].cumsum()[::-1]  # songs at or above each probability
        both = np.bincount(place, has)[::-1].cumsum()[::-1]
        f1 = 2 * both / (reached + has.sum())
        below = np.concatenate([[0.0], distinct[:-1]])
        middle = (below + distinct) / 2
        middle = np.where(middle > below, middle, distinct)  # neighbours have no number between
        best = middle[f1 >= f1.max() - 1e-12]
        thresholds[label] = best[np.abs(best - 0.5).argmin()]
    return thresholds


def _checked_decisions(
    y: Truth, decisions: Bools, weights: Floats | None
) -> tuple[Bools, Bools, NDArray[np.float64]]:
    if np.asarray(decisions).dtype != np.bool_:
        raise ValueError("decisions must be bool: decide(probabilities, thresholds)")
    truth, table, rows = checked(y, decisions, weights)
    return truth, table > 0, rows


def label_precision(positive: Bools, scores: Floats, rows: Floats) -> Scores:
    """Return the average precision of scores (n,) for positive (n,) songs.

    The precision among songs that score as high as a positive song or higher, averaged over
    the positive songs: scikit-learn's sum over thresholds, tied songs together.
    """
    falling = -scores
    order = np.argsort(falling, kind="stable")
    drawn = np.take(rows, order, axis=-1)
    last = np.searchsorted(falling[order], falling[positive], "right") - 1
    hits = np.cumsum(drawn * positive[order], axis=-1)[..., last]
    ranked = np.cumsum(drawn, axis=-1)[..., last]
    weight = rows[..., positive]
    precision = (weight * hits / np.where(ranked > 0, ranked, 1.0)).sum(axis=-1)
    total = np.where(rows[..., ~positive].sum(axis=-1) > 0, weight.sum(axis=-1), 0.0)
    return ratio(precision, total)


def _per_column(
    function: Callable[[Bools, Floats, Floats], Scores], truth: Bools, table: Floats, rows: Floats
) -> NDArray[np.float64]:
    columns = zip(truth.T, table.T, strict=True)
    return np.stack([function(has, scores, rows) for has, scores in columns], axis=-1)


def average_precision(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the average precision of every label, 0 to 1, the last axis [1]_."""
    return _per_column(label_precision, *checked(y, probabilities, weights))


def mean_average_precision(
    y: Truth, probabilities: Floats, weights: Floats | None = None
) -> Scores:
    """Return the mean of `average_precision` over labels (mAP), 0 to 1."""
    return mean_defined(average_precision(y, probabilities, weights))


def roc_auc(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean over labels of the area under the ROC curve, 0 to 1."""
    return mean_defined(_per_column(classification.label_auc, *checked(y, probabilities, weights)))


def log_loss(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean over label decisions of -ln p(truth), p held in 1e-15 .. 1: in nats."""
    truth, table, rows = checked(y, probabilities, weights)
    likelihood = np.where(truth, table, 1 - table)
    return mean_song(-np.log(np.clip(likelihood, 1e-15, 1.0)).mean(axis=1), rows)


def brier(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean squared error over label decisions, 0 to 1."""
    truth, table, rows = checked(y, probabilities, weights)
    return mean_song(((table - truth) ** 2).mean(axis=1), rows)


def expected_calibration_error(
    y: Truth, probabilities: Floats, weights: Floats | None = None, bins: int = 10
) -> Scores:
    """Return the mean over bins of |share of yes - mean probability of yes|, 0 to 1.

    All label decisions go into bins of equal mass by their probability of yes, as in
    `classification.expected_calibration_error`.
    """
    truth, table, rows = checked(y, probabilities, weights)
    gap, chance = (truth - table).ravel(), table.ravel()
    step = max(1, classification.BLOCK_BYTES // (8 * table.size))
    errors = []
    for start in range(0, len(np.atleast_2d(rows)), step):
        row = np.repeat(np.atleast_2d(rows)[start : start + step], table.shape[1], axis=1)
        gaps = classification.bin_sums(classification.bin_index(chance, row, bins), row, bins, gap)
        errors.append(ratio(np.abs(gaps).sum(axis=-1), row.sum(axis=-1)))
    every_row: Scores = np.concatenate(errors).reshape(rows.shape[:-1])[()]
    return every_row


def micro_f1(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the F1 of all label decisions together, 0 to 1 [2]_; NaN without any yes."""
    support, decided, both = tallies(*_checked_decisions(y, decisions, weights))
    return ratio(2 * both.sum(axis=-1), (support + decided).sum(axis=-1))


def macro_f1(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the mean F1 over labels that songs of the resample have or are given, 0 to 1."""
    support, decided, both = tallies(*_checked_decisions(y, decisions, weights))
    return mean_defined(ratio(2 * both, support + decided))


def subset_accuracy(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the share of songs with every label decision right, 0 to 1."""
    truth, decided, rows = _checked_decisions(y, decisions, weights)
    return mean_song((truth == decided).all(axis=1).astype(np.float64), rows)


def hamming_accuracy(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the share of label decisions that are right, 0 to 1."""
    truth, decided, rows = _checked_decisions(y, decisions, weights)
    return mean_song((truth == decided).mean(axis=1), rows)


METRICS: dict[str, Callable[[Truth, Floats, Floats | None], Scores]] = {
    "map": mean_average_precision,
    "roc_auc": roc_auc,
    "nll": log_loss,
    "brier": brier,
    "ece": expected_calibration_error,
}
DECISION_METRICS: dict[str, Callable[[Truth, Bools, Floats | None], Scores]] = {
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "subset_accuracy": subset_accuracy,
    "hamming_accuracy": hamming_accuracy,
}


def per_label(y: Truth, probabilities: Floats, decisions: Bools | None = None) -> dict[str, Scores]:
    """Return support, precision, recall, f1, ap and auc, each (labels,).

    NaN: precision of a label no song is given, recall of a label no song has, F1 of a label
    neither given nor had, AP and AUC of a label that none or all have.
    """
    truth, table, rows = checked(y, probabilities, None)
    decisions = decide(table) if decisions is None else decisions
    support, decided, both = tallies(truth, decisions, rows)
    return {
        "support": support,
        "precision": ratio(both, decided),
        "recall": ratio(both, support),
        "f1": ratio(2 * both, support + decided),
        "ap": _per_column(label_precision, truth, table, rows),
        "auc": _per_column(classification.label_auc, truth, table, rows),
    }


def base_rate_precision(y: Truth) -> float:
    """Return the mAP of giving every song the same probabilities: the mean share of yes.

    Over the labels that some songs have and some do not; NaN if there are none.
    """
    share = np.asarray(y, dtype=np.float64).mean(axis=0)
    return float(mean_defined(np.where((share > 0) & (share < 1), share, np.nan)))
