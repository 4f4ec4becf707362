"""How sure the figures are: cluster-bootstrap intervals, and the whole evaluation.

References
----------
.. [1] Efron, Tibshirani (1993), An introduction to the bootstrap.
.. [2] Davison, Hinkley (1997), Bootstrap methods and their application.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from songbag.answers import metrics
from songbag.answers.metrics import Floats, Ints, Scores

METRICS: dict[str, Callable[[Ints, Floats, Floats | None], Scores]] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_f1": metrics.macro_f1,
    "roc_auc": metrics.roc_auc,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier,
    "ece": metrics.expected_calibration_error,
}


def _resample(group: Ints, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return weights (resamples, n): how often the group (n,) of every song is drawn."""
    groups = int(group.max()) + 1
    drawn = rng.integers(groups, size=(resamples, groups))
    drawn += groups * np.arange(resamples)[:, None]
    times = np.bincount(drawn.ravel(), minlength=resamples * groups).astype(np.float64)
    return np.take(times.reshape(resamples, groups), group, axis=1)


def _interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the central interval of the values (resamples,) that are not NaN."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _honest(
    name: str, limits: tuple[float, float], groups: int, level: float
) -> tuple[float, float]:
    """Return limits that do not claim certainty where every resample was alike.

    With every song right (or wrong) a bootstrap sees no spread at all. The accuracy gets
    Clopper and Pearson's (1934) exact limits for that many groups, the others none.
    """
    low, high = limits
    if low < high:
        return limits
    if name == "accuracy" and low in (0.0, 1.0):
        far = float(((1 - level) / 2) ** (1 / groups))
        return (far, 1.0) if low == 1.0 else (0.0, 1 - far)
    return float("nan"), float("nan")


def bootstrap_intervals(
    y: Ints,
    probabilities: Floats,
    groups: Ints | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return the percentile cluster-bootstrap interval of every metric in `METRICS`.

    As many groups as there are get drawn with replacement, each with all its songs ([1]_
    chapter 13, [2]_ section 3.8); without groups (n,) every song is one. Resamples where a
    metric is undefined are left out. One group alone says nothing of spread: (NaN, NaN).
    Noise adds to the calibration error, in a resample once more, so its interval lies high
    and may exclude the value itself. Blocks of weights hold at most `metrics.BLOCK_BYTES`.
    """
    songs = len(metrics.checked(y, probabilities, None)[0])
    names = np.arange(songs) if groups is None else np.asarray(groups)
    if names.shape != (songs,) or resamples < 1 or not 0 < level < 1:
        raise ValueError("needs groups (n,), resamples of at least 1 and 0 < level < 1")
    distinct, group = np.unique(names, return_inverse=True)
    if len(distinct) < 2:
        return {name: (float("nan"), float("nan")) for name in METRICS}
    step, scores = max(1, metrics.BLOCK_BYTES // (8 * songs)), np.empty((len(METRICS), resamples))
    for start in range(0, resamples, step):
        block = scores[:, start : start + step]
        rows = _resample(group, rng, block.shape[1])
        block[:] = [metric(y, probabilities, rows) for metric in METRICS.values()]
    found = {name: _interval(values, level) for name, values in zip(METRICS, scores, strict=True)}
    return {name: _honest(name, limits, len(distinct), level) for name, limits in found.items()}


def _plain(value: Scores | float) -> float | None:
    """Return a float that JSON can hold, None for NaN."""
    return None if np.isnan(value) else float(value)


def _records(columns: dict[str, Scores]) -> list[dict[str, float | None]]:
    """Return the columns, each (k,), as k dictionaries of plain numbers."""
    rows = zip(*(np.atleast_1d(column) for column in columns.values()), strict=True)
    whole = ("support", "count")
    return [
        {k: int(v) if k in whole else _plain(v) for k, v in zip(columns, row, strict=True)}
        for row in rows
    ]


def evaluate(
    y: Ints,
    probabilities: Floats,
    labels: Sequence[str],
    groups: Ints | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, object]:
    """Return every metric as one dictionary that JSON can hold.

    ``labels`` names the columns of probabilities; intervals are of 95 % over ``groups``.
    """
    if len(labels) != probabilities.shape[1]:
        raise ValueError("labels must name every column of probabilities")
    rng = np.random.default_rng(seed)
    intervals = bootstrap_intervals(y, probabilities, groups, rng, resamples)
    values = {}
    for name, metric in METRICS.items():
        numbers = {"value": float(metric(y, probabilities, None))}
        numbers["low"], numbers["high"] = intervals[name]
        values[name] = {key: _plain(number) for key, number in numbers.items()}
    rows = zip(labels, _records(metrics.per_label(y, probabilities)), strict=True)
    return {
        "songs": len(y),
        "groups": None if groups is None else len(np.unique(groups)),
        "metrics": values,
        "ece_calibrated_q90": metrics.calibrated_ece_quantile(probabilities, rng),
        "confusion": metrics.confusion_matrix(y, probabilities).astype(int).tolist(),
        "labels": list(labels),
        "per_label": [{"label": label, **row} for label, row in rows],
        "reliability": _records(metrics.reliability(y, probabilities)),
    }
