"""How sure the figures are: cluster-bootstrap intervals, and the whole evaluation.

References
----------
.. [1] Efron, Tibshirani (1993), An introduction to the bootstrap.
.. [2] Davison, Hinkley (1997), Bootstrap methods and their application.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.classification import Floats, Ints, Scores

Measure: TypeAlias = Callable[[Floats | None], Scores]  # a metric that lacks the weights only

METRICS: dict[str, Callable[[Ints, Floats, Floats | None], Scores]] = {
    "accuracy": classification.accuracy,
    "balanced_accuracy": classification.balanced_accuracy,
    "macro_f1": classification.macro_f1,
    "roc_auc": classification.roc_auc,
    "nll": classification.negative_log_likelihood,
    "brier": classification.brier,
    "ece": classification.expected_calibration_error,
}

SHARES = ("accuracy", "subset_accuracy", "hamming_accuracy")  # of songs that are right


def group_index(groups: Ints | None, songs: int) -> NDArray[np.int64]:
    """Return the number of every song's group (n,), from 0; without groups every song is one."""
    names = np.arange(songs) if groups is None else np.asarray(groups)
    if names.shape != (songs,):
        raise ValueError(f"groups must have shape ({songs},), one a song")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _resample(group: Ints, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return weights (resamples, n): how often the group (n,) of every song is drawn."""
    groups = int(group.max()) + 1
    drawn = rng.integers(groups, size=(resamples, groups))
    drawn += groups * np.arange(resamples)[:, None]
    times = np.bincount(drawn.ravel(), minlength=resamples * groups).astype(np.float64)
    return np.take(times.reshape(resamples, groups), group, axis=1)


def resampled(
    measures: Mapping[str, Measure], group: Ints, rng: np.random.Generator, resamples: int
) -> dict[str, NDArray[np.float64]]:
    """Return every measure (resamples,) under the same resamples of whole groups.

    As many groups as there are get drawn with replacement, each with all its songs ([1]_
    chapter 13, [2]_ section 3.8). ``group`` (n,) is of `group_index`. Blocks of weights
    hold at most `classification.BLOCK_BYTES`.
    """
    if resamples < 1:
        raise ValueError("needs resamples of at least 1")
    step, scores = max(1, classification.BLOCK_BYTES // (8 * len(group))), {}
    for name in measures:
        scores[name] = np.empty(resamples)
    for start in range(0, resamples, step):
        rows = _resample(group, rng, min(step, resamples - start))
        for name, measure in measures.items():
            scores[name][start : start + step] = measure(rows)
    return scores


def interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the central interval of the values (resamples,) that are not NaN."""
    if not 0 < level < 1:
        raise ValueError("needs 0 < level < 1")
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rarest(groups: int, level: float) -> float:
    """Return the largest share that may well go unseen in that many groups, 0 to 1.

    Clopper and Pearson's (1934) exact limit where none of the groups shows it.
    """
    return 1 - float(((1 - level) / 2) ** (1 / groups))


def _honest(
    limits: tuple[float, float], groups: int, level: float, share: bool
) -> tuple[float, float]:
    """Return limits that do not claim certainty where every resample was alike.

    With every song right (or wrong) a bootstrap sees no spread at all. A share of songs
    gets exact limits for that many groups, other measures none.
    """
    low, high = limits
    if low < high:
        return limits
    if share and low in (0.0, 1.0):
        far = rarest(groups, level)
        return (1 - far, 1.0) if low == 1.0 else (0.0, far)
    return float("nan"), float("nan")


def cluster_intervals(
    measures: Mapping[str, Measure],
    group: Ints,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
    shares: Collection[str] = SHARES,
) -> dict[str, tuple[float, float]]:
    """Return the percentile cluster-bootstrap interval of every measure, by `resampled`.

    Resamples where a measure is undefined are left out. One group alone says nothing of
    spread: (NaN, NaN). ``shares`` names the measures that are shares of songs.
    """
    groups = int(group.max()) + 1
    if groups < 2:
        return {name: (float("nan"), float("nan")) for name in measures}
    draws = resampled(measures, group, rng, resamples)
    found = {name: interval(values, level) for name, values in draws.items()}
    return {name: _honest(found[name], groups, level, name in shares) for name in measures}


def bootstrap_intervals(
    y: Ints,
    probabilities: Floats,
    groups: Ints | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return the percentile cluster-bootstrap interval of every metric in `METRICS`.

    By `cluster_intervals` over groups (n,); without groups every song is one.
    Noise adds to the calibration error, in a resample once more, so its interval lies high
    and may exclude the value itself.
    """
    group = group_index(groups, len(classification.checked(y, probabilities, None)[0]))
    return cluster_intervals(bound(y, probabilities), group, rng, resamples, level)


def bound(y: Ints, probabilities: Floats) -> dict[str, Measure]:
    """Return `METRICS` of these songs, wanting only weights."""
    return {name: partial(metric, y, probabilities) for name, metric in METRICS.items()}


def standard_error(values: Floats, group: Ints) -> float:
    """Return the standard error of the mean over songs of values (n,), songs in groups.

    The linearised ratio of group sums to group sizes ([2]_ section 3.8), NaN for one group;
    with every song its own group the textbook deviation / sqrt(n).
    """
    groups = int(group.max()) + 1
    if groups < 2:
        return float("nan")
    sums = np.bincount(group, values - values.mean(), minlength=groups)
    return float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values))


def plain(value: Scores | float) -> float | None:
    """Return a float that JSON can hold, None for NaN."""
    return None if np.isnan(value) else float(value)


def records(columns: Mapping[str, Scores]) -> list[dict[str, float | None]]:
    """Return the columns, each (k,), as k dictionaries of plain numbers."""
    rows = zip(*(np.atleast_1d(column) for column in columns.values()), strict=True)
    whole = ("support", "count")
    return [
        {k: int(v) if k in whole else plain(v) for k, v in zip(columns, row, strict=True)}
        for row in rows
    ]


def judged(
    measures: Mapping[str, Measure], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, float | None]]:
    """Return value, low and high of every measure as plain numbers."""
    return {
        name: {
            "value": plain(measure(None)),
            "low": plain(intervals[name][0]),
            "high": plain(intervals[name][1]),
        }
        for name, measure in measures.items()
    }


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
    rows = zip(labels, records(classification.per_label(y, probabilities)), strict=True)
    return {
        "songs": len(y),
        "groups": None if groups is None else len(np.unique(groups)),
        "metrics": judged(bound(y, probabilities), intervals),
        "ece_calibrated_q90": classification.calibrated_ece_quantile(probabilities, rng),
        "confusion": classification.confusion_matrix(y, probabilities).astype(int).tolist(),
        "labels": list(labels),
        "per_label": [{"label": label, **row} for label, row in rows],
        "reliability": records(classification.reliability(y, probabilities)),
    }
