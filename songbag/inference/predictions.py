"""Predictions as typed arrays, by song and window; `songbag.inference.writers` writes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song
from songbag.inference.model_file import Card
from songbag.inference.predictor import Prediction


@dataclass(frozen=True)
class SongPrediction:
    """One song's prediction or failure.

    Attributes
    ----------
    song : Song
    prediction : Prediction or None
        None for a failure.
    reason, message : str
        A short word and a sentence for a failure, else empty.
    warnings : tuple of str
        What a listener should know about the recording.
    level_db : float or None
        Level of the recording, dB of full scale.
    window_names : tuple of str
        Names of the windows of a table; empty where they are numbered.
    """

    song: Song
    prediction: Prediction | None
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    level_db: float | None = None
    window_names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The song's id."""
        return self.song.id

    @property
    def status(self) -> str:
        """Return "ok" or "failed"."""
        return "failed" if self.prediction is None else "ok"


@dataclass(frozen=True)
class Predictions:
    """Predictions for songs, in their order, each id once.

    Attributes
    ----------
    labels : tuple of str
        In the order of every probability column.
    items : sequence of SongPrediction
    """

    labels: tuple[str, ...]
    items: Sequence[SongPrediction]

    @cached_property
    def ok(self) -> NDArray[np.bool_]:
        """Which songs have a prediction, shape (songs,)."""
        return np.array([item.prediction is not None for item in self.items], dtype=np.bool_)

    @cached_property
    def ids(self) -> list[str]:
        """Song ids."""
        return [item.id for item in self.items]

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (songs, labels); NaN for failures."""
        return self._rows("probabilities")

    @cached_property
    def logits(self) -> NDArray[np.float64]:
        """Song logits before calibration, shape (songs, labels); NaN for failures."""
        return self._rows("logits")

    @cached_property
    def decisions(self) -> NDArray[np.bool_]:
        """Which labels are predicted, shape (songs, labels); none for failures."""
        table = np.zeros((len(self.items), len(self.labels)), dtype=np.bool_)
        for row, item in zip(table, self.items, strict=True):
            if item.prediction is not None:
                row[item.prediction.label_indices] = True
        return table

    @cached_property
    def window_counts(self) -> NDArray[np.int64]:
        """Number of windows of each song, shape (songs,); 0 for failures."""
        windows = [0 if p is None else len(p.contributions) for p in self._predictions]
        return np.array(windows, dtype=np.int64)

    @cached_property
    def window_probabilities(self) -> list[NDArray[np.float64]]:
        """Probabilities (windows, labels) of each song's windows; no rows for failures."""
        nothing = np.zeros((0, len(self.labels)))
        return [nothing if p is None else p.window_probabilities for p in self._predictions]

    @property
    def _predictions(self) -> list[Prediction | None]:
        return [item.prediction for item in self.items]

    def _rows(self, name: str) -> NDArray[np.float64]:
        unknown = np.full(len(self.labels), np.nan)
        rows = [unknown if p is None else getattr(p, name) for p in self._predictions]
        return np.array(rows, dtype=np.float64).reshape(len(self.items), len(self.labels))


def recalibrated(item: SongPrediction, card: Card) -> SongPrediction:
    """Return a song's prediction under the calibration of a model's card."""
    if item.prediction is None:
        return item
    shares = card.kind.probabilities(item.prediction.logits, card.temperature)
    prediction = replace(item.prediction, probabilities=shares, thresholds=card.thresholds)
    return replace(item, prediction=prediction)
