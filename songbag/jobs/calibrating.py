"""Probabilities that mean what they say: from answers about songs held out in turn."""

from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.answers.calibration import probabilities
from songbag.answers.confidence import abstention, best_thresholds, fit_temperature
from songbag.answers.modelfile import Card
from songbag.jobs.modelling import Labels, Learning, fit_bags
from songbag.songs.song_bags import SongBags, cut_on_grid
from songbag.songs.splits import folds
from songbag.songs.table import split_names

_VOTE_FOLDS = 3
_CURVE = ("threshold", "coverage", "accuracy", "low")
_POINTS = 200  # of the curve that a model keeps


@dataclass(frozen=True)
class Calibration:
    """What turns a song's logits into probabilities and answers (see `Card`)."""

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    precision: tuple[tuple[float, float, float, float], ...] = ()


def calibrate(shares: NDArray[np.float64], y: Labels) -> Calibration:
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


def calibration_by_folds(heard: SongBags, learning: Learning) -> Calibration:
    """Train on all but each fold in turn, and calibrate on what the others say of it.

    A vote is calibrated even if the recipe asks for no folds: it takes windows as
    independent, which they are not, and would claim certainty about every long song.

    Raises
    ------
    TrainingError
        There are too few songs to hold any out.
    """
    asked, voted = learning.recipe.training.folds, learning.recipe.training.pooling == "vote"
    count = asked or (_VOTE_FOLDS if voted else 0)
    if count == 0:
        return Calibration()
    groups, names = [song.group for song in heard.songs], split_names(heard.songs)
    count = max(2, min(count, len(set(groups)), max(Counter(names).values())))
    fold_of = folds(names, groups, count, learning.seed)
    shares = np.zeros((len(heard), len(learning.labels)))
    for fold in range(count):
        learning.console.say(f"calibration, fold {fold + 1} of {count}")
        shares[fold_of == fold] = _held_out(heard, fold_of == fold, learning)
    return calibrate(shares, learning.truths(heard.bags))


def _held_out(heard: SongBags, held: NDArray[np.bool_], learning: Learning) -> NDArray[np.float64]:
    from songbag.learning.scoring import song_logits

    rest, asked = heard.part((~held).tolist()), heard.part(held.tolist())
    fit, card = fit_bags(rest.bags, [], learning)
    bags = cut_on_grid(asked.bags, card.recipe.sound, card.recipe.windows)
    logits = song_logits(fit.network, fit.pooling, bags).numpy()
    return probabilities(logits, 1.0, learning.multilabel)
