"""Calibrated probabilities: temperature, weights of branches, and when to give no answer.

References
----------
.. [1] Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML.
.. [2] Wilson (1927), Probable inference, the law of succession, and statistical inference.
.. [3] Wolpert (1992), Stacked generalization, Neural Networks 5.
.. [4] Perks (1947), Some observations on inverse probability including a new indifference rule,
   Journal of the Institute of Actuaries 73.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification
from songbag.metrics.classification import Floats, Ints
from songbag.metrics.label_kinds import LabelKind, Truths

Point: TypeAlias = tuple[float, float, float, float]

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
_SHARES = np.arange(21) / 20  # shares of a branch that are tried
_POINTS = 200  # of the curve that a model keeps


@dataclass(frozen=True)
class FittedTemperature:
    """The result of `fit_temperature`.

    ``nll_before`` and ``nll_after`` are at temperature 1 and at this one, nats per song
    (multilabel: per label decision).
    """

    temperature: float
    nll_before: float
    nll_after: float


def fit_temperature(logits: Floats, y: Truths, kind: LabelKind) -> FittedTemperature:
    """Return the temperature of least negative log-likelihood, 0.05 to 20 [1]_.

    ``logits`` (n, classes) are pooled, of songs not trained on; ``y`` is the truth as ``kind``
    has it. The likelihood is convex in 1 / temperature, so its slope has one zero: Brent's
    method finds it. Where nothing is gained the temperature is 1. One outcome more than was seen
    is counted, shared by all classes ([4]_): songs that were never wrong do not show that none
    will be.

    >>> from songbag.metrics.label_kinds import SINGLE_LABEL
    >>> logits = np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]])
    >>> fitted = fit_temperature(logits, np.array([0, 0, 1, 1]), SINGLE_LABEL)  # 3 of 4 right
    >>> round(fitted.temperature, 2), round(fitted.nll_before, 2), round(fitted.nll_after, 2)
    (4.72, 1.22, 0.61)
    """
    from scipy.optimize import brentq  # installed with what trains, and slow to import

    table = np.asarray(logits, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError("logits must be finite, of shape (n, classes), n at least 1")
    targets = kind.targets(y, table.shape[1])
    if len(targets) != len(table):
        raise ValueError(f"logits of {len(table)} songs, but y of {len(targets)}")
    outcomes = 2 if kind.multilabel else table.shape[1]
    unseen = 1 / (len(table) + 1)
    targets = targets * (1 - unseen) + unseen / outcomes

    def slope(inverse: float) -> float:
        return kind.loss(table, targets, inverse)[1]

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        inverse = low
    elif slope(high) <= 0:
        inverse = high
    else:
        inverse = float(brentq(slope, low, high, xtol=1e-12))
    before, after = (kind.loss(table, targets, at)[0] for at in (1.0, inverse))
    if not after < before:
        return FittedTemperature(1.0, before, before)
    return FittedTemperature(1 / inverse, before, after)


def branch_weights(logits: Sequence[Floats], y: Truths, kind: LabelKind) -> list[float]:
    """Return the factor of each branch's logits (n, classes) in their sum.

    Stacking [3]_ with one number a branch: each branch is brought to its own best
    temperature, then branches are joined one by one, each time with the share that gives
    the least negative log-likelihood. A share is one of twenty-one, because a few hundred
    songs cannot tell finer ones apart. Logits and truth as in `fit_temperature`.
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

    Logits are divided by the temperature; ``thresholds`` are as `LabelKind.decisions` takes
    them; ``precision`` holds at most 200 to 400 points of `precision_curve`.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    precision: tuple[Point, ...] = ()


def calibrate(probabilities: Floats, y: Truths, kind: LabelKind) -> Calibration:
    """Return the calibration that fits uncalibrated probabilities to the truth.

    ``probabilities`` (n, classes) are at temperature 1, of songs not trained on; ``y`` is the
    truth as ``kind`` has it.
    """
    logits = kind.logits(probabilities)
    fitted = fit_temperature(logits, y, kind)
    temperature = fitted.temperature
    calibrated = kind.probabilities(logits, temperature)
    points = precision_curve(y, calibrated) if kind.abstains else []
    step = max(1, len(points) // _POINTS)
    thresholds = kind.best_thresholds(y, calibrated)
    return Calibration(temperature, thresholds, tuple(points[::step]))


def wilson_low(right: Floats, songs: Floats, level: float = 0.95) -> NDArray[np.float64]:
    """Return the lower limit of Wilson's interval [2]_ for ``right`` of ``songs``, 0 to 1."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / songs
    spread = z * np.sqrt(share * (1 - share) / songs + z**2 / (4 * songs**2))
    low: NDArray[np.float64] = (share + z**2 / (2 * songs) - spread) / (1 + z**2 / songs)
    return np.maximum(low, 0.0)


def precision_curve(y: Ints, probabilities: Floats) -> list[Point]:
    """Return how right the songs are that are answered from a confidence on.

    Confidence is a song's largest probability. Points, from the fewest answered to all:
    confidence, share of songs answered, share of those that are right, and its Wilson limit
    at 95 %. Choosing the confidence by the share itself would flatter it: take the limit.
    """
    labels, table, _ = classification.checked(y, probabilities, None)
    right = (table.argmax(axis=1) == labels).astype(np.float64)
    distinct, place = np.unique(-table.max(axis=1), return_inverse=True)
    answered, hits = np.bincount(place).cumsum(), np.bincount(place, right).cumsum()
    columns = -distinct, answered / len(right), hits / answered, wilson_low(hits, answered)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def confidence_for(curve: Sequence[Point], precision: float) -> tuple[float, float] | None:
    """Return the confidence from which answers reach a precision, and the share answered.

    ``curve`` is of `precision_curve`; its lower limit must reach the precision. None if nowhere.

    >>> curve = [(0.9, 0.2, 1.0, 0.95), (0.7, 0.6, 0.95, 0.9), (0.5, 1.0, 0.8, 0.75)]
    >>> confidence_for(curve, 0.9)
    (0.7, 0.6)
    """
    reached = [(point[0], point[1]) for point in curve if point[3] >= precision]
    return reached[-1] if reached else None
