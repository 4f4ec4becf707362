"""Two or more systems judged on the same songs: what differs, and what could be seen at all.

``right_a`` and ``right_b`` say which songs a system has right: (n,) yes or no, shares from
0 to 1, or (runs, n), one row for every seed of the same configuration, which is averaged per
song first. What rests on that average holds for these songs and these runs: more songs
narrow it, more seeds do not. How far apart the seeds lie is ``seed_error``, to be read
beside the interval.

McNemar's test counts yes and no, and takes songs for independent. Runs that share their
songs are no independent tests, so p-values per seed can be neither pooled nor picked from.
For several seeds test the majority of the runs (`majority_right`), or better use `swap_test`,
which takes shares and keeps groups together. Where songs come in groups McNemar's p is too
small, the other two are not.

References
----------
.. [1] McNemar (1947), Note on the sampling error of the difference between correlated
   proportions, Psychometrika; exact and mid-p as in Fagerland, Lydersen, Laake (2013), BMC
   Medical Research Methodology.
.. [2] Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat.
.. [3] Efron, Tibshirani (1993), An introduction to the bootstrap, chapters 13 and 15.
.. [4] Phipson, Smyth (2010), Permutation p-values should never be zero, SAGMB.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil, exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.bootstrap import (
    SHARES,
    Measure,
    bound,
    group_index,
    interval,
    plain,
    rarest,
    resampled,
    standard_error,
)
from songbag.metrics.classification import Floats, Ints, mean_song

Right: TypeAlias = NDArray[Any]  # of bool or float, (n,) or (runs, n)
Difference: TypeAlias = dict[str, float | None]


def mean_right(right: Right) -> NDArray[np.float64]:
    """Return the share of runs that have each song right, (n,), or refuse ``right``."""
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


def _told(value: float, draws: Floats, groups: int, level: float, share: bool) -> Difference:
    """Return value, low, high and p of one difference from its resamples (resamples,).

    p inverts the percentile interval [3]_: the smallest 1 - level whose interval leaves 0
    out, ties and one more resample counted [4]_, and never below 2^(1 - groups), the least
    that any paired test of that many groups can say.
    """
    drawn = draws[~np.isnan(draws)]
    if groups < 2 or len(drawn) == 0 or np.isnan(value):
        return {"value": plain(value), "low": None, "high": None, "p": None}
    low, high = interval(drawn, level)
    if low == high:
        far = rarest(groups, level) if share and low == 0 else float("nan")
        low, high = -far, far
    tail = 1 + min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, max(2 * float(tail) / (len(drawn) + 1), 2.0 ** (1 - groups)))
    return {"value": plain(value), "low": plain(low), "high": plain(high), "p": p}


def bootstrap_differences(
    measures_a: Mapping[str, Measure],
    measures_b: Mapping[str, Measure],
    group: Ints,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Return value, low, high and p of a - b for every measure that both systems have.

    Both see the same resamples of whole groups (`intervals.resampled`). Undefined: None. p is
    two-sided, the bootstrap's own: it is below 1 - level where the interval leaves 0 out. It
    and the interval lean on a few dozen groups or more. With equal answers throughout the
    accuracy's limits are those of a difference that no group shows, other measures have none.
    """
    both = {name: _minus(measures_a[name], measures_b[name]) for name in measures_a}
    draws = resampled(both, group, rng, resamples)
    groups = int(group.max()) + 1
    return {
        name: _told(float(both[name](None)), draws[name], groups, level, name in SHARES)
        for name in both
    }


def _minus(first: Measure, second: Measure) -> Measure:
    return lambda rows: np.asarray(first(rows) - second(rows))


def paired_bootstrap(
    y: Ints,
    probabilities_a: Floats,
    probabilities_b: Floats,
    groups: Ints | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Return value, low, high and p of a - b for every metric of `intervals.METRICS`.

    Of nll, brier and ece less is better. See `bootstrap_differences`.
    """
    group = group_index(groups, len(classification.checked(y, probabilities_a, None)[0]))
    first, second = bound(y, probabilities_a), bound(y, probabilities_b)
    return bootstrap_differences(first, second, group, rng, resamples, level)


def accuracy_difference(
    right_a: Right,
    right_b: Right,
    groups: Ints | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Return value, low, high and p of accuracy a - b, and ``seed_error``.

    The last is the standard error that the choice of seeds adds to the difference, None
    unless both have two runs or more; the interval holds the runs fixed.
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    zero: dict[str, Measure] = {"accuracy": lambda rows: np.float64(0)}
    ours: dict[str, Measure] = {
        "accuracy": lambda rows: mean_song(gain, classification.checked_weights(rows, len(gain)))
    }
    told = bootstrap_differences(ours, zero, group, rng, resamples, level)["accuracy"]
    return told | {"seed_error": _seed_error(right_a, right_b)}


def _seed_error(right_a: Right, right_b: Right) -> float | None:
    tables = [np.asarray(right, dtype=np.float64) for right in (right_a, right_b)]
    if any(table.ndim == 1 or len(table) < 2 for table in tables):
        return None
    return sqrt(sum(table.mean(axis=1).var(ddof=1) / len(table) for table in tables))


def mcnemar_exact(right_a: Right, right_b: Right) -> dict[str, float]:
    """Return how many songs only a and only b has right, and McNemar's exact p and mid-p [1]_.

    Both (n,) bool; songs are taken for independent. p is two-sided, the binomial test of
    the smaller count among both with chance 1/2; mid-p counts what was seen half.
    """
    first, second = np.asarray(right_a), np.asarray(right_b)
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1:
        raise ValueError("needs bool (n,); of several runs take majority_right or swap_test")
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} songs of a, but {len(second)} of b")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    at_most, exactly = _coin(min(b, c), b + c)
    mid = min(1.0, 2 * at_most - exactly)
    return {"only_a": b, "only_b": c, "p": min(1.0, 2 * at_most), "mid_p": mid}


def _coin(heads: int, tosses: int) -> tuple[float, float]:
    """Return P(at most ``heads``) and P(exactly) of a fair coin, heads <= tosses / 2."""
    ways = lgamma(tosses + 1) - lgamma(heads + 1) - lgamma(tosses - heads + 1)
    exactly = exp(ways - tosses * log(2))
    total = relative = 1.0  # the sum in units of its largest term, from there down
    for k in range(heads, 0, -1):
        relative *= k / (tosses - k + 1)
        total += relative
        if relative < 1e-17 * total:
            break
    return exactly * total, exactly


def swap_test(
    right_a: Right,
    right_b: Right,
    groups: Ints | None,
    rng: np.random.Generator,
    draws: int = 10_000,
) -> float:
    """Return the two-sided p of accuracy a - b when whole groups swap systems by a coin.

    Exact, up to the draws [4]_, if in every group a and b are alike but for chance: no
    limit theorem is needed, few groups only cost power. Without groups and with yes and no
    it is McNemar's exact test. Takes shares over seeds.
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    sums = np.bincount(group, gain)
    sums = sums[np.abs(sums) > 1e-12]
    seen, beyond = abs(sums.sum()) - 1e-9, 1
    step = max(1, classification.BLOCK_BYTES // (8 * max(1, len(sums))))
    for start in range(0, draws, step):
        size = (min(step, draws - start), len(sums))
        signs = rng.integers(2, size=size, dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ sums) >= seen).sum())
    return beyond / (draws + 1)


def holm(p_values: Sequence[float] | Floats) -> NDArray[np.float64]:
    """Return the p-values (k,) adjusted for being k together, in their order [2]_.

    Those below alpha may be called differences with a chance of alpha of one false call.
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
    """Return one row for every pair of named systems, in order.

    Rows hold a, b, what `accuracy_difference` returns with p from `swap_test`, ``p_holm``
    over all pairs, and ``smallest`` (`smallest_difference`).
    """
    rows: list[dict[str, Any]] = []
    pairs = list(combinations(right, 2))
    draws = max(10_000, 100 * len(pairs))  # the least p must survive its correction
    for a, b in pairs:
        pair = right[a], right[b]
        told = accuracy_difference(*pair, groups, rng)
        told["p"] = swap_test(*pair, groups, rng, draws)
        rows.append({"a": a, "b": b, **told, "smallest": smallest_difference(*pair, groups)})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(p)
    return rows


def smallest_difference(
    right_a: Right,
    right_b: Right,
    groups: Ints | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the smallest true difference in accuracy that would have been told apart, 0 to 1.

    (z(1 - alpha / 2) + z(power)) standard errors of the observed paired difference, by
    groups. A difference needs as many discordant songs as it is large, so it is never less
    than z^2 / (n + z^2) of the n songs' worth of independent ones: their number over
    the widening by groups, or the number of groups where no song differs.
    """
    gain = _gain(right_a, right_b)
    group = group_index(groups, len(gain))
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    clustered = standard_error(gain, group)
    if np.isnan(clustered):
        return 1.0
    alone = standard_error(gain, np.arange(len(gain)))
    worth = len(gain) * min(1.0, (alone / clustered) ** 2) if clustered > 0 else group.max() + 1
    return min(1.0, max(z * clustered, z**2 / (float(worth) + z**2)))


def sentence(smallest: float, songs: int, groups: int | None = None, noun: str = "groups") -> str:
    """Return in words what the data can tell, e.g. of 290 songs of 97 artists.

    ``noun`` names the groups in the plural; points are rounded up, never down.
    """
    who = f"{songs} song" + ("" if songs == 1 else "s")
    if groups is not None:
        who += f" of {groups} {noun.removesuffix('s') if groups == 1 else noun}"
    if smallest >= 1:
        return f"{who}: no difference can be told apart."
    tenths = ceil(round(smallest * 1000, 6))
    points = str(ceil(tenths / 10)) if tenths >= 10 else f"{tenths / 10:.1f}"
    unit = "point" if points == "1" else "points"
    return f"{who}: differences under {points} {unit} cannot be told apart."
