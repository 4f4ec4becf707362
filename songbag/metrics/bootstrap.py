"""Confidence intervals of metrics by a cluster bootstrap: whole groups of songs are resampled.

A measure is a metric that lacks the weights only: a function of weights (resamples, n), or
of None for all ones. ``group`` (n,) holds the number of every song's group, by `group_index`.

References
----------
.. [1] Efron, Tibshirani (1993), An introduction to the bootstrap.
.. [2] Davison, Hinkley (1997), Bootstrap methods and their application.
.. [3] Clopper, Pearson (1934), The use of confidence or fiducial limits illustrated in the
   case of the binomial, Biometrika.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.classification import Floats, Ints, Scores

Measure: TypeAlias = Callable[[Floats | None], Scores]

SHARES = ("accuracy", "subset_accuracy", "hamming_accuracy")  # of songs that are right


def group_index(groups: Ints | None, songs: int) -> NDArray[np.int64]:
    """Return the number of every song's group (n,), from 0; without groups each song's own."""
    names = np.arange(songs) if groups is None else np.asarray(groups)
    if names.shape != (songs,):
        raise ValueError(f"groups must have shape ({songs},), one a song")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def resample_measures(
    measures: Mapping[str, Measure], group: Ints, rng: "np.random.Generator", resamples: int
) -> dict[str, NDArray[np.float64]]:
    """Return every measure (resamples,) under the same resamples of whole groups.

    As many groups as there are get drawn with replacement, each with all its songs ([1]_
    chapter 13, [2]_ section 3.8), in blocks of at most `classification.BLOCK_BYTES`.
    """
    if resamples < 1:
        raise ValueError("needs resamples of at least 1")
    groups, step = int(group.max()) + 1, max(1, classification.BLOCK_BYTES // (8 * len(group)))
    scores = {name: np.empty(resamples) for name in measures}
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * groups).astype(np.float64)
        weights = np.take(times.reshape(rows, groups), group, axis=1)
        for name, measure in measures.items():
            scores[name][start : start + step] = measure(weights)
    return scores


def percentile_interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the central interval of the values (resamples,) that are not NaN."""
    if not 0 < level < 1:
        raise ValueError("needs 0 < level < 1")
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def largest_unseen_share(groups: int, level: float = 0.95) -> float:
    """Return the largest share of groups that a sample of so many may miss, 0 to 1.

    The upper limit of the exact interval [3]_ where none of the groups shows an event.
    """
    return 1 - float(((1 - level) / 2) ** (1 / groups))


def cluster_intervals(
    measures: Mapping[str, Measure],
    group: Ints,
    rng: "np.random.Generator",
    resamples: int = 2000,
    level: float = 0.95,
    shares: Collection[str] = SHARES,
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of every measure, by `resample_measures`.

    Resamples where a measure is undefined are left out. One group alone says nothing of
    spread: (NaN, NaN). Where all resamples agree, as with every song right, a measure in
    ``shares``, a share of songs, gets the exact interval [3]_ of that many groups, others
    (NaN, NaN). Noise adds to a calibration error, in a resample once more, so its interval lies
    high and may exclude the value itself.
    """
    undefined, groups = (float("nan"), float("nan")), int(group.max()) + 1
    if groups < 2:
        return dict.fromkeys(measures, undefined)
    intervals = {}
    for name, values in resample_measures(measures, group, rng, resamples).items():
        low, high = percentile_interval(values, level)
        if not low < high:
            unseen = largest_unseen_share(groups, level)
            exact = {0.0: (0.0, unseen), 1.0: (1 - unseen, 1.0)} if name in shares else {}
            low, high = exact.get(low, undefined)
        intervals[name] = low, high
    return intervals


def standard_error(values: Floats, group: Ints) -> float:
    """Return the standard error of the mean over songs of values (n,), songs in groups.

    The linearised ratio of group sums to group sizes ([2]_ section 3.8), NaN for a single
    group; with every song its own group the textbook's deviation / sqrt(n).

    >>> right = np.array([1.0, 1.0, 0.0, 0.0])
    >>> round(standard_error(right, np.arange(4)), 3)
    0.289
    >>> round(standard_error(right, np.array([0, 0, 1, 1])), 3)  # two groups tell less
    0.5
    """
    groups = int(group.max()) + 1
    if groups < 2:
        return float("nan")
    sums = np.bincount(group, values - values.mean(), minlength=groups)
    return float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values))


def number_or_none(value: Scores | float) -> float | None:
    """Return a float that JSON can hold: None for NaN."""
    return None if np.isnan(value) else float(value)


def with_intervals(
    measures: Mapping[str, Measure],
    group: Ints,
    rng: "np.random.Generator",
    resamples: int = 2000,
    shares: Collection[str] = SHARES,
) -> dict[str, dict[str, float | None]]:
    """Return value, low and high of every measure, by `cluster_intervals` of 95 %; None for NaN."""
    intervals = cluster_intervals(measures, group, rng, resamples, shares=shares)
    return {
        name: {
            "value": number_or_none(measure(None)),
            "low": number_or_none(intervals[name][0]),
            "high": number_or_none(intervals[name][1]),
        }
        for name, measure in measures.items()
    }


def records(
    columns: Mapping[str, Scores], labels: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return columns (k,) as k dictionaries of plain numbers, None for NaN; names in ``label``."""
    rows = [
        {
            name: int(value) if name in ("support", "count") else number_or_none(value)
            for name, value in zip(columns, row, strict=True)
        }
        for row in zip(*map(np.atleast_1d, columns.values()), strict=True)
    ]
    if labels is None:
        return rows
    if len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels, but probabilities of {len(rows)}")
    return [{"label": label, **row} for label, row in zip(labels, rows, strict=True)]
