"""A song's frames to its answer, with numpy and ONNX Runtime alone.

One song a call on one thread: a song's answer never depends on the company it is in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio import windows
from songbag.errors import ModelFileError
from songbag.inference.model_file import ModelFile
from songbag.metrics.label_kinds import kind_of
from songbag.onnx_runtime.session import open_session, run

Array = NDArray[np.float32]
Seconds = NDArray[np.float64]
Said = tuple[Array, Seconds, Seconds]  # outputs, starts and ends of a song's windows

_WINDOWS = 64  # windows run at once, always: bounds memory, and fixes every rounding


@dataclass(frozen=True)
class Prediction:
    """The answer for one song, and what each window said.

    Attributes
    ----------
    probabilities : ndarray, shape (classes,)
        Of the song, calibrated.
    score, offset : ndarray, shape (classes,)
        ``score`` is the pooled value in the pooling's space and equals ``offset`` plus
        the sum of the contributions over windows (to 1e-5); where the pooling has no
        space, contributions are what leaving a window out takes from the score.
    window_probabilities, contributions : ndarray, shape (windows, classes)
    start_seconds, end_seconds : ndarray, shape (windows,)
        Where each window lies in what was heard; NaN for windows of a table.
    outputs : ndarray, shape (windows, classes + k)
        What the network said of each window: all that `Predictor.predict_outputs` needs.
    thresholds : tuple of float
        With several labels a song: the probability from which each holds.
    """

    probabilities: NDArray[np.float64]
    score: Array
    offset: Array
    window_probabilities: NDArray[np.float64]
    contributions: Array
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    outputs: Array
    thresholds: tuple[float, ...] = ()

    @property
    def answer(self) -> list[int]:
        """Index of the most probable label (the first one on ties), or of all that hold."""
        if not self.thresholds:
            return [int(np.argmax(self.probabilities))]
        return np.flatnonzero(self.probabilities >= np.asarray(self.thresholds)).tolist()

    @property
    def confidence(self) -> float:
        """Probability of the answer; with several labels of its least sure yes or no."""
        if not self.thresholds:
            return float(self.probabilities.max())
        yes = self.probabilities >= np.asarray(self.thresholds)
        return float(np.where(yes, self.probabilities, 1 - self.probabilities).min())


class Predictor:
    """Runs one model. Cheap to keep, safe to use for one song at a time."""

    def __init__(self, model: ModelFile) -> None:
        self.card = model.card
        self._network = open_session(model.parts["network.onnx"])
        self._pooling = open_session(model.parts["pooling.onnx"])
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        self._length = self.card.window_shape[0]
        self._bands = self.card.window_shape[-1]
        if self.card.source == "audio" and self.card.window_shape != (
            windows.window_frames(sound, cut),
            sound.bands,
        ):
            raise ModelFileError(
                f"the model states windows of {self.card.window_shape} but its settings make "
                f"{(windows.window_frames(sound, cut), sound.bands)}; it cannot be used."
            )

    def predict(self, blocks: Iterable[Array], samples: Callable[[], int]) -> Prediction:
        """Predict one song from blocks of frames.

        Parameters
        ----------
        blocks : iterable of ndarray (n, bands)
        samples : callable
            Returns the song's samples; called once the blocks are exhausted.
        """
        return self.predict_outputs(*self.window_outputs(blocks, samples))

    def predict_windows(self, values: Array) -> Prediction:
        """Predict one song from its windows (windows, *window_shape)."""
        parts = [
            self._outputs(len(some), windows=np.ascontiguousarray(some))
            for some in np.split(values, range(_WINDOWS, len(values), _WINDOWS))
        ]
        nowhere = np.full(len(values), np.nan)
        return self.predict_outputs(np.concatenate(parts), nowhere, nowhere)

    def window_outputs(self, blocks: Iterable[Array], samples: Callable[[], int]) -> Said:
        """Return what the network says of a song's windows, and their starts and ends (s).

        Windows are run as soon as their frames are there; only their outputs are kept.
        """
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        waiting, behind = np.zeros((0, self._bands), dtype=np.float32), 0
        found: list[Array] = []
        for block in blocks:
            waiting = np.concatenate([waiting, block]) if len(waiting) else block
            # The song is at least this long, so these windows exist whatever follows.
            least = (behind + len(waiting) - 1) * sound.hop_length
            while (starts := self._next_starts(least, len(found) * _WINDOWS)) is not None:
                if starts[-1] + self._length > behind + len(waiting):
                    break
                found.append(self._window_outputs(waiting[starts[0] - behind :], starts))
                waiting, behind = waiting[starts[-1] - behind :], int(starts[-1])
        starts = windows.window_starts(samples(), sound, cut)
        for first in range(len(found) * _WINDOWS, len(starts), _WINDOWS):
            some = starts[first : first + _WINDOWS]
            found.append(self._window_outputs(waiting[some[0] - behind :], some))
        begin = windows.start_seconds(starts, sound)
        end = np.minimum(begin + cut.seconds, samples() / sound.sample_rate)
        return np.concatenate(found), begin, end

    def _next_starts(self, least: int, first: int) -> NDArray[np.int64] | None:
        """Return the next full block of starts in so many samples, None when it is not full."""
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        if windows.window_count(least, sound, cut) < first + _WINDOWS:
            return None
        return windows.window_starts(least, sound, cut)[first : first + _WINDOWS]

    def _window_outputs(self, frames: Array, starts: NDArray[np.int64]) -> Array:
        near = starts - starts[0]
        frames = windows.repeat_frames(frames[: near[-1] + self._length], self._length)
        return self._outputs(len(near), frames=frames, starts=near)

    def predict_outputs(self, outputs: Array, begin: Seconds, end: Seconds) -> Prediction:
        """Predict one song from what the network said of its windows.

        Given some rows of `Prediction.outputs` and their times, this is the answer for a
        song that never had the other windows, whatever the pooling.
        """
        classes = len(self.card.labels)
        pooled = run(self._pooling, {"outputs": outputs}, (classes,), (classes,))
        song, score, *shares = pooled
        contributions = shares[0] if shares else self._left_out(outputs, score)
        logits = outputs[:, :classes]
        if contributions.shape != logits.shape:
            raise ModelFileError("the model's contributions are not one a window and label.")
        # All at once, the song as one more row: small arrays cost by the call.
        calibrated = song[None].astype(np.float64) / self.card.temperature
        rows = np.concatenate((calibrated, logits), dtype=np.float64)
        told = kind_of(self.card.multilabel).probabilities(rows)
        if not np.isfinite(np.concatenate((outputs, score, contributions, told), axis=None)).all():
            raise ModelFileError("the model's answer for this song is not a number.")
        return Prediction(
            told[0],
            score,
            np.zeros_like(score),
            told[1:],
            contributions,
            begin,
            end,
            outputs,
            self.card.thresholds,
        )

    def _left_out(self, outputs: Array, score: Array) -> Array:
        """Return what the score loses when each window is left out."""
        if len(outputs) == 1:
            return score[None]
        without = (np.delete(outputs, window, axis=0) for window in range(len(outputs)))
        return np.stack([score - run(self._pooling, {"outputs": w})[1] for w in without])

    def _outputs(self, count: int, **inputs: Any) -> Array:
        found = run(self._network, inputs)[0]
        if found.ndim != 2 or len(found) != count or found.shape[1] < len(self.card.labels):
            raise ModelFileError(
                f"the model computes the shape {found.shape} where {count} windows and "
                f"{len(self.card.labels)} labels need a row a window."
            )
        return found
