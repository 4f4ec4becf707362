"""Metrics of songs that may have several labels, or none.

Every metric takes the same first three arguments:

y : (n, labels) bool or 0 and 1, which labels every song has.
probabilities : (n, labels), each from 0 to 1; rows need not sum to anything. The metrics of
    `DECISION_METRICS` take ``decisions`` (n, labels) bool instead: `decide`.
weights : as in `songbag.metrics.classification`, and so are the shapes of what is returned.

A label that no song has, or every song, cannot be ranked: its average precision and AUC are
NaN, and averages over labels leave NaN out. Broken arguments raise ValueError.

References
----------
.. [1] Davis, Goadrich (2006), The relationship between precision-recall and ROC curves, ICML.
.. [2] Tsoumakas, Katakis, Vlahavas (2010), Mining multi-label data.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.bootstrap import Measure, cluster_intervals, group_index, judged, records
from songbag.metrics.classification import Floats, Ints, Scores, mean_defined, mean_song, ratio

Truth: TypeAlias = NDArray[Any]  # of bool, or of 0 and 1
Bools: TypeAlias = NDArray[np.bool_]


def checked(
    y: Truth, probabilities: Floats | Bools, weights: Floats | None
) -> tuple[Bools, NDArray[np.float64], NDArray[np.float64]]:
    """Return the three arguments that every metric shares, checked and converted."""
    truth, table = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or truth.shape != table.shape:
        raise ValueError("y and probabilities must be non-empty, both of shape (n, labels)")
    if not (table.min() >= 0 and table.max() <= 1):
        raise ValueError("probabilities must lie in 0 .. 1")
    if truth.dtype.kind not in "biu" or truth.min() < 0 or truth.max() > 1:
        raise ValueError("y must be bool, or 0 and 1")
    return truth.astype(np.bool_), table, classification.checked_weights(weights, len(table))


def decide(probabilities: Floats, thresholds: Floats | None = None) -> Bools:
    """Return which labels (n, labels) a song is given: probability >= threshold (labels,).

    Thresholds are 0.5 unless given.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    limits = np.full(table.shape[1], 0.5) if thresholds is None else np.asarray(thresholds)
    if limits.shape != table.shape[1:]:
        raise ValueError("thresholds must have shape (labels,)")
    return np.asarray(table >= limits)


def _decided(
    y: Truth, decisions: Bools, weights: Floats | None
) -> tuple[Bools, Bools, NDArray[np.float64]]:
    if np.asarray(decisions).dtype != np.bool_:
        raise ValueError("decisions must be bool: decide(probabilities, thresholds)")
    truth, said, rows = checked(y, decisions, weights)
    return truth, said > 0, rows


def _tallies(truth: Bools, said: Bools, rows: Floats) -> tuple[Scores, Scores, Scores]:
    """Return per label the weight of songs that have it, are given it, and both."""
    return (
        rows @ truth.astype(float),
        rows @ said.astype(float),
        rows @ (truth & said).astype(float),
    )


def _label_precision(positive: Bools, scores: Floats, rows: Floats) -> Scores:
    """Return the average precision of scores (n,) for positive (n,) songs.

    The precision among songs that score as high as a positive one or higher, averaged over
    the positive ones: scikit-learn's sum over thresholds, tied songs together.
    """
    falling = -scores
    order = np.argsort(falling, kind="stable")
    drawn = np.take(rows, order, axis=-1)
    last = np.searchsorted(falling[order], falling[positive], "right") - 1
    hits = np.cumsum(drawn * positive[order], axis=-1)[..., last]
    heard = np.cumsum(drawn, axis=-1)[..., last]
    gained = rows[..., positive]
    found = (gained * hits / np.where(heard > 0, heard, 1.0)).sum(axis=-1)
    known = np.where(rows[..., ~positive].sum(axis=-1) > 0, gained.sum(axis=-1), 0.0)
    return ratio(found, known)


def _per_column(
    function: Callable[[Bools, Floats, Floats], Scores], truth: Bools, table: Floats, rows: Floats
) -> NDArray[np.float64]:
    columns = zip(truth.T, table.T, strict=True)
    return np.stack([function(has, scores, rows) for has, scores in columns], axis=-1)


def average_precision(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the average precision of every label, 0 to 1, the last axis [1]_."""
    return _per_column(_label_precision, *checked(y, probabilities, weights))


def mean_average_precision(
    y: Truth, probabilities: Floats, weights: Floats | None = None
) -> Scores:
    """Return the mean of `average_precision` over labels (mAP), 0 to 1."""
    return mean_defined(average_precision(y, probabilities, weights))


def roc_auc(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean over labels of the area under the ROC curve, 0 to 1."""
    return mean_defined(_per_column(classification.label_auc, *checked(y, probabilities, weights)))


def log_loss(y: Truth, probabilities: Floats, weights: Floats | None = None) -> Scores:
    """Return the mean over label decisions of -ln p(what is true), p held in 1e-15 .. 1."""
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
    found: Scores = np.concatenate(errors).reshape(rows.shape[:-1])[()]
    return found


def micro_f1(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the F1 of all label decisions together, 0 to 1 [2]_; NaN without any yes."""
    support, given, both = _tallies(*_decided(y, decisions, weights))
    return ratio(2 * both.sum(axis=-1), (support + given).sum(axis=-1))


def macro_f1(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the mean F1 over labels that a song of the resample has or is given, 0 to 1."""
    support, given, both = _tallies(*_decided(y, decisions, weights))
    return mean_defined(ratio(2 * both, support + given))


def subset_accuracy(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the share of songs with every label decision right, 0 to 1."""
    truth, said, rows = _decided(y, decisions, weights)
    return mean_song((truth == said).all(axis=1).astype(np.float64), rows)


def hamming_accuracy(y: Truth, decisions: Bools, weights: Floats | None = None) -> Scores:
    """Return the share of label decisions that are right, 0 to 1."""
    truth, said, rows = _decided(y, decisions, weights)
    return mean_song((truth == said).mean(axis=1), rows)


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


def bound(y: Truth, probabilities: Floats, decisions: Bools | None = None) -> dict[str, Measure]:
    """Return every metric of these songs, wanting only weights."""
    decisions = decide(probabilities) if decisions is None else decisions
    measures: dict[str, Measure] = {}
    measures |= {name: partial(metric, y, probabilities) for name, metric in METRICS.items()}
    measures |= {name: partial(f, y, decisions) for name, f in DECISION_METRICS.items()}
    return measures


def per_label(y: Truth, probabilities: Floats, decisions: Bools | None = None) -> dict[str, Scores]:
    """Return support, precision, recall, f1, ap and auc, each (labels,).

    NaN: precision of a label no song is given, recall of one no song has, F1 of one
    neither given nor had, AP and AUC of one that none or all have.
    """
    truth, table, rows = checked(y, probabilities, None)
    said = decide(table) if decisions is None else decisions
    support, given, both = _tallies(truth, said, rows)
    return {
        "support": support,
        "precision": ratio(both, given),
        "recall": ratio(both, support),
        "f1": ratio(2 * both, support + given),
        "ap": _per_column(_label_precision, truth, table, rows),
        "auc": _per_column(classification.label_auc, truth, table, rows),
    }


def reliability(y: Truth, probabilities: Floats, bins: int = 10) -> dict[str, Scores]:
    """Return confidence, accuracy and count of label decisions per bin, each (bins,).

    Named as in `classification.reliability`, so that one drawing serves both: here ``confidence``
    is the mean probability of yes, and ``accuracy`` the share of yes.
    """
    truth, table, _ = checked(y, probabilities, None)
    chance, rows = table.ravel(), np.ones(table.size)
    index = classification.bin_index(chance, rows, bins)
    count = classification.bin_sums(index, rows, bins, rows)
    yes = classification.bin_sums(index, rows, bins, truth.ravel().astype(np.float64))
    mean = ratio(classification.bin_sums(index, rows, bins, chance), count)
    return {"confidence": mean, "accuracy": ratio(yes, count), "count": count}


def base_rate_precision(y: Truth) -> float:
    """Return the mAP of giving every song the same probabilities: the mean share of yes.

    Over the labels that some songs have and some do not; NaN if there are none.
    """
    share = np.asarray(y, dtype=np.float64).mean(axis=0)
    return float(mean_defined(np.where((share > 0) & (share < 1), share, np.nan)))


def evaluate(
    y: Truth,
    probabilities: Floats,
    labels: Sequence[str],
    decisions: Bools | None = None,
    groups: Ints | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, object]:
    """Return every metric as one dictionary that JSON can hold, as `intervals.evaluate` does.

    ``decisions`` (n, labels) say which labels each song was given, by thresholds that need
    not be the same for all songs; at 0.5 unless given.
    ``ece_calibrated_q90`` draws the labels of a song independently; where labels go
    together a calibrated model's error spreads more.
    """
    if len(labels) != probabilities.shape[1]:
        raise ValueError("labels must name every column of probabilities")
    rng, measures = np.random.default_rng(seed), bound(y, probabilities, decisions)
    group = group_index(groups, len(y))
    intervals = cluster_intervals(measures, group, rng, resamples)
    chance, base = np.ravel(probabilities).astype(np.float64), base_rate_precision(y)
    rows = zip(labels, records(per_label(y, probabilities, decisions)), strict=True)
    return {
        "multilabel": True,
        "songs": len(y),
        "groups": None if groups is None else int(group.max()) + 1,
        "metrics": judged(measures, intervals),
        "baselines": {"map": None if np.isnan(base) else base},
        "ece_calibrated_q90": classification.calibrated_quantile(chance, np.ones(chance.size), rng),
        "labels": list(labels),
        "per_label": [{"label": label, **row} for label, row in rows],
        "reliability": records(reliability(y, probabilities)),
    }
