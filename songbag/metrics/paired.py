"""Compare systems on the same songs: differences in accuracy, tests, and the power of the data.

``right_a`` and ``right_b`` say which songs a system has right: (n,) bool, shares from 0 to 1,
or (runs, n), one row for every seed of the same configuration, which is averaged per song
first. Intervals and p-values hold for these songs and these runs: more songs narrow the
interval, more seeds do not. Runs that share their songs are not independent tests, so p-values
per seed can be neither pooled nor picked from.

References
----------
.. [1] McNemar (1947), Note on the sampling error of the difference between correlated
   proportions, Psychometrika; exact as in Fagerland, Lydersen, Laake (2013), BMC Medical
   Research Methodology.
.. [2] Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat.
.. [3] Efron, Tibshirani (1993), An introduction to the bootstrap, chapter 13.
.. [4] Phipson, Smyth (2010), Permutation p-values should never be zero, SAGMB.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from math import ceil, exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.bootstrap import (
    group_index,
    largest_unseen_share,
    percentile_interval,
    resample_measures,
    standard_error,
)
from songbag.metrics.classification import Floats, Ints, weighted_mean

Right: TypeAlias = NDArray[Any]  # of bool or float, (n,) or (runs, n)
Difference: TypeAlias = dict[str, float | None]


def mean_right(right: Right) -> NDArray[np.float64]:
    """Return the share of runs that have each song right, (n,)."""
    shares = np.asarray(right, dtype=np.float64)
    if shares.ndim not in (1, 2) or shares.size == 0:
        raise ValueError("right must be non-empty, of shape (n,) or (runs, n)")
    if not (shares.min() >= 0 and shares.max() <= 1):
        raise ValueError("right must be yes or no, or shares from 0 to 1")
    return shares if shares.ndim == 1 else shares.mean(axis=0)


def majority_right(runs: Right) -> NDArray[np.bool_]:
    """Return which songs (n,) most runs (runs, n) have right; the runs must be odd in number."""
    table = np.asarray(runs)
    if table.ndim != 2 or table.dtype != np.bool_ or len(table) % 2 == 0:
        raise ValueError("runs must be bool of shape (runs, n), an odd number of runs")
    return mean_right(table) > 0.5


def _gain(right_a: Right, right_b: Right) -> NDArray[np.float64]:
    """Return a - b per song, (n,)."""
    first, second = mean_right(right_a), mean_right(right_b)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} songs of a, but {len(second)} of b")
    return first - second


def accuracy_difference(
    right_a: Right,
    right_b: Right,
    groups: Ints | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Return the difference in accuracy a - b with a cluster-bootstrap interval.

    ``value``; ``low`` and ``high``, its percentile interval [3]_ over resamples of whole groups,
    None with a single group; ``seed_error``, the standard error that the choice of seeds adds
    to the difference, None unless both have two runs or more: the interval holds the runs fixed.

    The interval needs a few dozen groups or more. Where both systems have the same songs right,
    its limits are those of a difference that no group shows.

    >>> a, b = np.arange(100) < 80, np.arange(100) < 60
    >>> difference = accuracy_difference(a, b, None, np.random.default_rng(0))
    >>> {name: value and round(value, 3) for name, value in difference.items()}
    {'value': 0.2, 'low': 0.12, 'high': 0.28, 'seed_error': None}
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    number, measure = int(group.max()) + 1, partial(weighted_mean, gain)
    tables = [np.asarray(right, dtype=np.float64) for right in (right_a, right_b)]
    seed_error = None
    if all(table.ndim == 2 and len(table) > 1 for table in tables):
        seed_error = sqrt(sum(table.mean(axis=1).var(ddof=1) / len(table) for table in tables))
    difference: Difference = {"value": float(measure(None)), "low": None, "high": None}
    difference["seed_error"] = seed_error
    if number < 2:
        return difference
    draws = resample_measures({"gain": measure}, group, rng, resamples)["gain"]
    low, high = percentile_interval(draws, level)
    if low == high == 0:
        high = largest_unseen_share(number, level)
        low = -high
    return difference if low == high else difference | {"low": low, "high": high}


def mcnemar_exact(right_a: Right, right_b: Right) -> dict[str, float]:
    """Return how many songs only a and only b has right, and McNemar's exact p [1]_.

    Both (n,) bool; for several seeds take `majority_right`. p is two-sided, the binomial test of
    the smaller count among both with chance 1/2. Songs are taken for independent, so p is too
    small where they come in groups; that of `swap_test` is not.
    """
    first, second = np.asarray(right_a), np.asarray(right_b)
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1:
        raise ValueError("needs bool (n,); of several runs take majority_right or swap_test")
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} songs of a, but {len(second)} of b")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return {"only_a": b, "only_b": c, "p": min(1.0, 2 * _binomial_tail(min(b, c), b + c))}


def _binomial_tail(most: int, n: int) -> float:
    """Return the chance of at most ``most`` heads, no more than half, in ``n`` throws.

    The last term, and from it the others by their ratios, as long as they count.
    """
    log_ways = lgamma(n + 1) - lgamma(most + 1) - lgamma(n - most + 1)
    term = total = 1.0
    for k in range(most, 0, -1):
        term *= k / (n - k + 1)
        total += term
        if term < 1e-18 * total:
            break
    return exp(log_ways - n * log(2)) * total


def swap_test(
    right_a: Right,
    right_b: Right,
    groups: Ints | None,
    rng: np.random.Generator,
    draws: int = 10_000,
) -> float:
    """Return the two-sided p of accuracy a - b by a permutation test over groups.

    In every draw each group swaps the two systems with chance 1/2. The p is exact, up to the
    draws [4]_, if a and b are alike in every group but for chance: no limit theorem is
    needed, few groups only cost power. Without groups and with bool it is McNemar's exact
    test. Shares over seeds are allowed.
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    sums = np.bincount(group, gain)
    sums = sums[np.abs(sums) > 1e-12]
    observed, beyond = abs(sums.sum()) - 1e-9, 1
    step = max(1, classification.BLOCK_BYTES // (8 * max(1, len(sums))))
    for start in range(0, draws, step):
        size = (min(step, draws - start), len(sums))
        signs = rng.integers(2, size=size, dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ sums) >= observed).sum())
    return beyond / (draws + 1)


def holm(p_values: Sequence[float] | Floats) -> NDArray[np.float64]:
    """Return the p-values (k,) adjusted for k tests by Holm's method [2]_, in their order.

    Calling all below alpha a difference makes one false call or more with a chance of alpha.

    >>> holm([0.01, 0.04, 0.02])
    array([0.03, 0.04, 0.04])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be 1-D, from 0 to 1")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def compare(
    right: Mapping[str, Right], groups: Ints | None, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return a row for every pair of named systems, in order.

    Rows hold a, b, what `accuracy_difference` returns, p of `swap_test` and ``smallest``
    (`smallest_difference`).
    """
    rows: list[dict[str, Any]] = []
    pairs = list(combinations(right, 2))
    draws = max(10_000, 100 * len(pairs))  # the least p must survive `holm`
    for a, b in pairs:
        pair = right[a], right[b]
        row = {"a": a, "b": b, **accuracy_difference(*pair, groups, rng)}
        row["p"] = swap_test(*pair, groups, rng, draws)
        row["smallest"] = smallest_difference(*pair, groups)
        rows.append(row)
    return rows


def smallest_difference(
    right_a: Right,
    right_b: Right,
    groups: Ints | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the smallest true difference in accuracy that a test would detect, 0 to 1.

    With z = z(1 - alpha / 2) + z(power), it is z standard errors of the observed paired
    difference, by groups. A difference needs as many discordant songs as it is large, so it
    is never less than z^2 / (n + z^2), where n is the effective number of songs: their number
    over the variance inflation by groups, or the number of groups where no song differs.
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    clustered = standard_error(gain, group)
    if np.isnan(clustered):
        return 1.0
    alone = standard_error(gain, np.arange(len(gain)))
    effective = len(gain) * min(1.0, (alone / clustered) ** 2) if clustered else group.max() + 1
    return min(1.0, max(z * clustered, z**2 / (float(effective) + z**2)))


def sentence(smallest: float, songs: int, groups: int | None = None, noun: str = "groups") -> str:
    """Return in words the smallest difference that so many songs can show.

    ``noun`` names the groups in the plural; percentage points are rounded up, never down.

    >>> sentence(0.046, 290, 97, "artists")
    '290 songs of 97 artists: differences under 5 points cannot be told apart.'
    """
    subject = f"{songs} song" + ("" if songs == 1 else "s")
    if groups is not None:
        subject += f" of {groups} {noun.removesuffix('s') if groups == 1 else noun}"
    if smallest >= 1:
        return f"{subject}: no difference can be told apart."
    tenths = ceil(round(smallest * 1000, 6))
    points = str(ceil(tenths / 10)) if tenths >= 10 else f"{tenths / 10:.1f}"
    unit = "point" if points == "1" else "points"
    return f"{subject}: differences under {points} {unit} cannot be told apart."
