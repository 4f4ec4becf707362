"""How much each kind of network has to say, from what it said of songs it had not heard.

References
----------
.. [1] Wolpert (1992), Stacked generalization, Neural Networks 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.inference.model_file import Card
from songbag.metrics.calibration import abstention, best_thresholds, fit_temperature, probabilities
from songbag.metrics.classification import Floats

_STEPS = 20  # shares tried: 0, 1/20, ... 1


def branch_weights(
    logits: Sequence[Floats], y: NDArray[Any], multilabel: bool = False
) -> list[float]:
    """Return what to multiply each branch's logits with before adding them.

    Stacking [1]_ with one number a branch: each branch is brought to its own best
    temperature, then branches are joined one by one, each time with the share that gives
    the least negative log-likelihood. A share is one of twenty-one, because a few hundred
    songs cannot tell finer ones apart.

    Parameters
    ----------
    logits : sequence of (n, classes)
        Pooled, of songs not trained on; one table a branch.
    y : (n,) integers, or (n, classes) bool for multilabel
    """
    if len(logits) == 1:
        return [1.0]
    inverse = [1 / fit_temperature(table, y, multilabel).temperature for table in logits]
    joined, weights = inverse[0] * logits[0], [inverse[0]]
    for scale, table in zip(inverse[1:], logits[1:], strict=True):
        shares = np.arange(_STEPS + 1) / _STEPS
        losses = [
            fit_temperature((1 - share) * joined + share * scale * table, y, multilabel).nll_after
            for share in shares
        ]
        share = float(shares[int(np.argmin(losses))])
        joined = (1 - share) * joined + share * scale * table
        weights = [(1 - share) * weight for weight in weights] + [share * scale]
    return weights


# --- calibrating ---
#
# Probabilities that mean what they say: from answers about songs held out in turn.


_CURVE = ("threshold", "coverage", "accuracy", "low")
_POINTS = 200  # of the curve that a model keeps


@dataclass(frozen=True)
class Calibration:
    """What turns a song's logits into probabilities and answers (see `Card`)."""

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    precision: tuple[tuple[float, float, float, float], ...] = ()


def calibrate(shares: NDArray[np.float64], y: NDArray[np.int64]) -> Calibration:
    """Return the calibration that fits uncalibrated answers to the truth.

    Parameters
    ----------
    shares : ndarray, shape (songs, classes)
        Probabilities at temperature 1 from models that had not heard the song.
    y : ndarray
        Label indices (songs,), or 0 and 1 (songs, labels).
    """
    multilabel = y.ndim == 2
    held = np.clip(shares, 1e-12, 1 - 1e-12)
    logits = np.log(held) - np.log1p(-held) if multilabel else np.log(held)
    fitted = fit_temperature(logits, y, multilabel)
    # A bound below 1 only says that these few songs were never wrong: that proves nothing.
    sure = fitted.at_bound and fitted.temperature < 1
    temperature = 1.0 if sure else fitted.temperature
    found = probabilities(logits, temperature, multilabel)
    if multilabel:
        return Calibration(temperature, tuple(best_thresholds(y, found).tolist()))
    curve = abstention(y, found)["curve"]
    points = list(zip(*(curve[name] for name in _CURVE), strict=True))
    kept = points[:: max(1, len(points) // _POINTS)]
    return Calibration(temperature, precision=tuple(kept))


def calibrated(card: Card, calibration: Calibration) -> Card:
    """Return the card with another calibration."""
    halves = (0.5,) * len(card.labels) if card.multilabel else ()
    return msgspec.structs.replace(
        card,
        temperature=calibration.temperature,
        thresholds=calibration.thresholds or halves,
        precision=calibration.precision,
    )
