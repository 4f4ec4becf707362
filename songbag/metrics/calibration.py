"""Calibrated probabilities: temperature, weights of branches, and when to give no answer.

References
----------
.. [1] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
.. [2] Wilson (1927), Probable inference, the law of succession, and statistical inference.
.. [3] Wolpert (1992), Stacked generalization, Neural Networks 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.bootstrap import group_index, standard_error
from songbag.metrics.classification import Floats, Ints
from songbag.metrics.label_kinds import LabelKind, Truths

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
_SHARES = np.arange(21) / 20  # shares of a branch that are tried
_POINTS = 200  # of the curve that a model keeps


@dataclass(frozen=True)
class FittedTemperature:
    """The result of `fit_temperature`.

    Attributes
    ----------
    temperature : float
    nll_before, nll_after : float
        At temperature 1 and at this temperature, nats per song (multilabel: per label
        decision).
    at_bound : bool
        The best lies at or beyond the end of what is tried: the logits say either nothing
        or, on few songs, never err. Such a temperature should not be believed.
    """

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool


def fit_temperature(logits: Floats, y: Truths, kind: LabelKind) -> FittedTemperature:
    """Return the temperature of least negative log-likelihood, 0.05 to 20 [1]_.

    Parameters
    ----------
    logits : (n, classes)
        Pooled, of songs not trained on (out of fold).
    y
        The truth as ``kind`` has it.
    kind : LabelKind

    The likelihood is convex in 1 / temperature, so its slope has one zero: Brent's method finds
    it. Where nothing is gained the temperature is 1.

    Examples
    --------
    >>> from songbag.metrics.label_kinds import SINGLE_LABEL
    >>> logits = np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]])
    >>> fitted = fit_temperature(logits, np.array([0, 0, 1, 1]), SINGLE_LABEL)  # 3 of 4 right
    >>> round(fitted.temperature, 2)
    3.64
    >>> round(fitted.nll_before, 2), round(fitted.nll_after, 2)
    (1.02, 0.56)
    """
    from scipy.optimize import brentq  # installed with what trains, and slow to import

    table = np.asarray(logits, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError("logits must be finite, of shape (n, classes), n at least 1")
    targets = kind.targets(y, table.shape[1])
    if len(targets) != len(table):
        raise ValueError(f"logits of {len(table)} songs, but y of {len(targets)}")
    slope = partial(kind.loss_slope, table, targets)
    low, high = 1 / HOTTEST, 1 / COLDEST
    at_bound = True
    if slope(low) >= 0:
        inverse = low
    elif slope(high) <= 0:
        inverse = high
    else:
        at_bound, inverse = False, float(brentq(slope, low, high, xtol=1e-12))
    before, after = (kind.loss(table, targets, at) for at in (1.0, inverse))
    if not after < before:
        return FittedTemperature(1.0, before, before, False)
    return FittedTemperature(1 / inverse, before, after, at_bound)


def branch_weights(logits: Sequence[Floats], y: Truths, kind: LabelKind) -> list[float]:
    """Return the factor of each branch's logits (n, classes) in their sum.

    Stacking [3]_ with one number a branch: each branch is brought to its own best
    temperature, then branches are joined one by one, each time with the share that gives
    the least negative log-likelihood. A share is one of twenty-one, because a few hundred
    songs cannot tell finer ones apart.

    Parameters
    ----------
    logits : sequence of (n, classes)
        Pooled, of songs not trained on; one table a branch.
    y
        The truth as ``kind`` has it.
    """
    if len(logits) == 1:
        return [1.0]
    scales = [1 / fit_temperature(table, y, kind).temperature for table in logits]
    joined, weights = scales[0] * logits[0], [scales[0]]
    for scale, table in zip(scales[1:], logits[1:], strict=True):
        sums = [(1 - share) * joined + share * scale * table for share in _SHARES]
        best = int(np.argmin([fit_temperature(total, y, kind).nll_after for total in sums]))
        share, joined = float(_SHARES[best]), sums[best]
        weights = [(1 - share) * weight for weight in weights] + [share * scale]
    return weights


@dataclass(frozen=True)
class Calibration:
    """How a model's song logits become probabilities and decisions.

    Attributes
    ----------
    temperature : float
        Logits are divided by it.
    thresholds : tuple of float
        As `LabelKind.decisions` takes them; none for one label a song.
    precision : tuple of (confidence, share answered, share right, its lower limit)
        The curve of `abstention`, at most 200 to 400 points of it; see `confidence_for`.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    precision: tuple[tuple[float, float, float, float], ...] = ()


def calibrate(probabilities: Floats, y: Truths, kind: LabelKind) -> Calibration:
    """Return the calibration that fits uncalibrated probabilities to the truth.

    Parameters
    ----------
    probabilities : (n, classes)
        At temperature 1, of songs not trained on (out of fold).
    y
        The truth as ``kind`` has it.
    """
    logits = kind.logits(probabilities)
    fitted = fit_temperature(logits, y, kind)
    # A bound below 1 only says that these few songs were never wrong: that proves nothing.
    never_wrong = fitted.at_bound and fitted.temperature < 1
    temperature = 1.0 if never_wrong else fitted.temperature
    calibrated = kind.probabilities(logits, temperature)
    points: list[tuple[float, float, float, float]] = []
    if kind.abstains:
        curve = abstention(y, calibrated)["curve"]
        points = list(zip(*curve.values(), strict=True))
    step = max(1, len(points) // _POINTS)
    thresholds = kind.best_thresholds(y, calibrated)
    return Calibration(temperature, thresholds, tuple(points[::step]))


def wilson_low(right: Floats, songs: Floats, level: float = 0.95) -> NDArray[np.float64]:
    """Return the lower limit of Wilson's interval [2]_ for ``right`` of ``songs``, 0 to 1.

    >>> wilson_low(np.array([9.0, 90.0]), np.array([10.0, 100.0])).round(3)
    array([0.596, 0.826])
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / songs
    spread = z * np.sqrt(share * (1 - share) / songs + z**2 / (4 * songs**2))
    low: NDArray[np.float64] = (share + z**2 / (2 * songs) - spread) / (1 + z**2 / songs)
    return np.maximum(low, 0.0)


def abstention(
    y: Ints, probabilities: Floats, precision: float = 0.9, groups: Ints | None = None
) -> dict[str, Any]:
    """Return from which confidence on answers reach a wanted precision on these songs.

    Confidence is a song's largest probability; a song is answered from the threshold on.

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

    Examples
    --------
    >>> confidence = np.linspace(0.5, 0.99, 50)
    >>> y = (confidence < 0.7).astype(int)  # below 0.7 every label is wrong
    >>> result = abstention(y, np.stack([confidence, 1 - confidence], axis=1), precision=0.8)
    >>> round(result["point"]["threshold"], 2), round(result["sure"]["threshold"], 2)
    (0.63, 0.69)
    """
    labels, table, _ = classification.checked(y, probabilities, None)
    right = (table.argmax(axis=1) == labels).astype(np.float64)
    alone = standard_error(right, np.arange(len(right)))
    clustered = standard_error(right, group_index(groups, len(right)))
    # How many times larger groups make the variance of the accuracy.
    widening = max(1.0, (clustered / alone) ** 2) if alone > 0 and clustered > 0 else 1.0
    distinct, place = np.unique(-table.max(axis=1), return_inverse=True)
    answered, hits = np.bincount(place).cumsum(), np.bincount(place, right).cumsum()
    curve = {
        "threshold": -distinct,
        "coverage": answered / len(right),
        "accuracy": hits / answered,
        "low": wilson_low(hits / widening, answered / widening),
    }
    reached = {
        "point": np.flatnonzero(curve["accuracy"] >= precision - 1e-12),
        "sure": np.flatnonzero(curve["low"] >= precision),
    }
    return {
        "precision": precision,
        **{
            name: {key: float(values[places[-1]]) for key, values in curve.items()}
            if len(places)
            else None
            for name, places in reached.items()
        },
        "curve": {name: values.tolist() for name, values in curve.items()},
    }


def confidence_for(
    curve: Sequence[tuple[float, float, float, float]], precision: float
) -> tuple[float, float] | None:
    """Return the confidence from which answers reach a precision, and the share answered.

    ``curve`` is a model's (confidence, share answered, share right, its lower limit), from
    the fewest answered on; the lower limit must reach the precision. None if nowhere.

    >>> curve = [(0.9, 0.2, 1.0, 0.95), (0.7, 0.6, 0.95, 0.9), (0.5, 1.0, 0.8, 0.75)]
    >>> confidence_for(curve, 0.9)
    (0.7, 0.6)
    """
    reached = [(point[0], point[1]) for point in curve if point[3] >= precision]
    return reached[-1] if reached else None
