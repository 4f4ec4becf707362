"""Probabilities that mean what they say: from answers about songs held out in turn."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.answers.calibration import probabilities
from songbag.answers.confidence import abstention, best_thresholds, fit_temperature
from songbag.answers.modelfile import Card

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
