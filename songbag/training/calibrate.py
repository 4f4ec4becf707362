"""Put a calibration into a model's card."""

import msgspec

from songbag.inference.model_file import Card
from songbag.metrics.calibration import Calibration
from songbag.metrics.label_kinds import kind_of


def calibrated(card: Card, calibration: Calibration) -> Card:
    """Return the card with another calibration; without thresholds those of its kind."""
    thresholds = kind_of(card.multilabel).default_thresholds(len(card.labels))
    return msgspec.structs.replace(
        card,
        temperature=calibration.temperature,
        thresholds=calibration.thresholds or thresholds,
        precision=calibration.precision,
    )
