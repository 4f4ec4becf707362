"""From a song's logits to probabilities that mean what they say.

References
----------
.. [1] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.bootstrap import group_index, standard_error
from songbag.metrics.classification import Floats, Ints


def probabilities(
    logits: NDArray[np.floating[Any]], temperature: float, multilabel: bool = False
) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis, or the sigmoid of each.

    Temperature scaling ([1]_ section 4.2) acts on songs only, after pooling: calibrated
    windows do not make a calibrated song.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if multilabel:
        return np.asarray(np.exp(-np.logaddexp(0, -scaled)))
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


# --- confidence ---
#
# How sure answers may be: temperature, thresholds, and when to say nothing.
#
# References
# ----------
# .. [1] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
# .. [2] Wilson (1927), Probable inference, the law of succession, and statistical inference.
# .. [3] Lipton, Elkan, Naryanaswamy (2014), Optimal thresholding of classifiers to maximize F1.


COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried


@dataclass(frozen=True)
class FittedTemperature:
    """What `fit_temperature` found.

    Attributes
    ----------
    temperature : float
    nll_before, nll_after : float
        At temperature 1 and at this one, nats per song (multilabel: per label decision).
    at_bound : bool
        The best lies at or beyond the end of what is tried: the logits say either nothing
        or, on few songs, never err. Such a temperature should not be believed.
    """

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool


def fit_temperature(logits: Floats, y: NDArray[Any], multilabel: bool = False) -> FittedTemperature:
    """Return the temperature of least negative log-likelihood, 0.05 to 20 [1]_.

    Parameters
    ----------
    logits : (n, classes)
        Pooled, of songs not trained on (out of fold).
    y : (n,) integers, or (n, classes) bool for multilabel

    The likelihood is convex in 1 / temperature, so its slope has one zero: Newton's steps,
    replaced by the geometric middle of the bracket wherever they leave it. Where nothing is
    gained the temperature is 1.
    """
    table, truth = _logits_and_truth(logits, y, multilabel)
    low, high = 1 / HOTTEST, 1 / COLDEST
    at_bound, inverse = True, 1.0
    if _slope(table, truth, low, multilabel)[0] >= 0:
        inverse = low
    elif _slope(table, truth, high, multilabel)[0] <= 0:
        inverse = high
    else:
        at_bound, inverse = False, _slope_zero(table, truth, (low, high), multilabel)
    before = _likelihood(table, truth, 1.0, multilabel)
    after = _likelihood(table, truth, inverse, multilabel)
    if not after < before:
        return FittedTemperature(1.0, before, before, False)
    return FittedTemperature(1 / inverse, before, after, at_bound)


def _logits_and_truth(
    logits: Floats, y: NDArray[Any], multilabel: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits and 0 or 1, both (n, classes), or refuse them."""
    table, truth = np.asarray(logits, dtype=np.float64), np.asarray(y)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError("logits must be finite, of shape (n, classes), n at least 1")
    if multilabel:
        if truth.shape != table.shape or not np.isin(truth, (0, 1)).all():
            raise ValueError("y must be bool of the shape of the logits")
        return table, truth.astype(np.float64)
    if truth.shape != table.shape[:1] or truth.dtype.kind not in "iu":
        raise ValueError("y must be integers of shape (n,)")
    if truth.min() < 0 or truth.max() >= table.shape[1]:
        raise ValueError(f"labels must lie in 0 .. {table.shape[1] - 1}")
    return table, np.eye(table.shape[1])[truth]


def _likelihood(table: Floats, truth: Floats, inverse: float, multilabel: bool) -> float:
    """Return the mean negative log-likelihood at temperature 1 / inverse."""
    scaled = table * inverse
    if multilabel:
        return float((np.logaddexp(0, scaled) - truth * scaled).mean())
    top = scaled.max(axis=1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float((total - (truth * scaled).sum(axis=1)).mean())


def _slope(table: Floats, truth: Floats, inverse: float, multilabel: bool) -> tuple[float, float]:
    """Return the first and second derivative of `_likelihood` by ``inverse``."""
    p = probabilities(table, 1 / inverse, multilabel)
    slope, bend = (p - truth) * table, p * table**2
    if multilabel:
        return float(slope.mean()), float((bend * (1 - p)).mean())
    spread = bend.sum(axis=1) - (p * table).sum(axis=1) ** 2
    return float(slope.sum(axis=1).mean()), float(spread.mean())


def _slope_zero(
    table: Floats, truth: Floats, bracket: tuple[float, float], multilabel: bool
) -> float:
    """Return the inverse temperature in the bracket where the slope is 0."""
    low, high = bracket
    at = min(max(1.0, low), high)
    for _ in range(100):
        slope, bend = _slope(table, truth, at, multilabel)
        low, high = (low, at) if slope > 0 else (at, high)
        step = at - slope / bend if bend > 0 else low
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - at) <= 1e-12 * at or high - low <= 1e-12 * high:
            return following
        at = following
    return at


def best_thresholds(y: NDArray[Any], probabilities: Floats) -> NDArray[np.float64]:
    """Return for every label the threshold (labels,) of greatest F1 on these songs [3]_.

    y (n, labels) bool; a song is given a label if its probability is at least the threshold.
    Tried are the middles between neighbouring distinct probabilities, and half the
    smallest; of equals the one nearest 0.5. A label that no song has gets 0.5. Take
    songs that were not trained on; on those chosen from, the F1 is flattered.
    """
    truth, table = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if truth.shape != table.shape or table.ndim != 2 or table.size == 0:
        raise ValueError("y and probabilities must be non-empty, both of shape (n, labels)")
    columns = zip(truth.astype(np.bool_).T, table.T, strict=True)
    return np.array([_best_threshold(has, chance) for has, chance in columns])


def _best_threshold(has: NDArray[np.bool_], chance: Floats) -> float:
    if not has.any():
        return 0.5
    distinct, place = np.unique(chance, return_inverse=True)
    given = np.bincount(place)[::-1].cumsum()[::-1]
    both = np.bincount(place, has)[::-1].cumsum()[::-1]
    f1 = 2 * both / (given + has.sum())
    below = np.concatenate([[0.0], distinct[:-1]])
    middle = (below + distinct) / 2
    middle = np.where(middle > below, middle, distinct)  # neighbours have no number between
    best = middle[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def wilson_low(right: Floats, songs: Floats, level: float = 0.95) -> NDArray[np.float64]:
    """Return the lower limit of Wilson's interval [2]_ for ``right`` of ``songs``."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / songs
    spread = z * np.sqrt(share * (1 - share) / songs + z**2 / (4 * songs**2))
    low: NDArray[np.float64] = (share + z**2 / (2 * songs) - spread) / (1 + z**2 / songs)
    return np.maximum(low, 0.0)


def abstention(
    y: Ints, probabilities: Floats, precision: float = 0.9, groups: Ints | None = None
) -> dict[str, Any]:
    """Return from which confidence on answers reach a wanted precision on these songs.

    Confidence is a song's largest probability, an answered song has at least the threshold.

    Returns
    -------
    dict
        ``curve``: threshold, coverage (share of songs answered), accuracy of those, and low,
        its Wilson limit at 95 %, as lists from the fewest answered to all. ``point`` and
        ``sure``: threshold, coverage, accuracy and low where most songs are answered and
        the accuracy, or for sure low, is at least ``precision``; None if nowhere.

    The best of many thresholds is chosen on the songs it is judged on, so ``point`` is
    flattered; prefer ``sure``. With groups (n,) songs count for less by how much groups
    widen the error of the accuracy (never for more).
    """
    labels, table, _ = classification.checked(y, probabilities, None)
    right = (table.argmax(axis=1) == labels).astype(np.float64)
    widening = _widening(right, group_index(groups, len(right)))
    distinct, place = np.unique(-table.max(axis=1), return_inverse=True)
    answered, hits = np.bincount(place).cumsum(), np.bincount(place, right).cumsum()
    low = wilson_low(hits / widening, answered / widening)
    curve = {
        "threshold": -distinct,
        "coverage": answered / len(right),
        "accuracy": hits / answered,
        "low": low,
    }
    return {
        "precision": precision,
        "point": _furthest(curve, curve["accuracy"] >= precision - 1e-12),
        "sure": _furthest(curve, low >= precision),
        "curve": {name: values.tolist() for name, values in curve.items()},
    }


def _widening(right: Floats, group: Ints) -> float:
    """Return how many times larger groups make the variance of the accuracy, at least 1."""
    alone = standard_error(right, np.arange(len(right)))
    clustered = standard_error(right, group)
    return max(1.0, (clustered / alone) ** 2) if alone > 0 and clustered > 0 else 1.0


def _furthest(
    curve: dict[str, NDArray[np.float64]], reached: NDArray[np.bool_]
) -> dict[str, float] | None:
    places = np.flatnonzero(reached)
    if len(places) == 0:
        return None
    return {name: float(values[places[-1]]) for name, values in curve.items()}


def confidence_for(
    curve: Sequence[tuple[float, float, float, float]], precision: float
) -> tuple[float, float] | None:
    """Return the confidence from which answers reach a precision, and the share answered.

    ``curve`` is a model's (confidence, share answered, share right, its lower limit), from
    the fewest answered on; the lower limit must reach the precision. None if nowhere.
    """
    reached = [(point[0], point[1]) for point in curve if point[3] >= precision]
    return reached[-1] if reached else None
