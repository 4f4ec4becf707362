"""A song's frames to its prediction, with NumPy and ONNX Runtime alone.

One song a call on one thread: a song's prediction never depends on the songs beside it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from songbag.audio import windows
from songbag.errors import ModelFileError
from songbag.inference.model_file import TYPICALITY, Model
from songbag.metrics.label_kinds import SINGLE_LABEL, LabelKind
from songbag.metrics.typicality import Typicality
from songbag.onnx_runtime.session import open_session, run

Array = NDArray[np.float32]
Seconds = NDArray[np.float64]

_WINDOWS = 64  # windows run at once, always: bounds memory, and fixes every rounding


class WindowOutputs(NamedTuple):
    """The network's outputs for a song's windows, and where those are; NaN for a table's."""

    outputs: Array  # (windows, classes + k)
    starts: Seconds  # (windows,)
    ends: Seconds


@dataclass(frozen=True)
class Prediction:
    """The prediction for one song and for each of its windows.

    The score is the pooled value in the pooling's space: the sum of the contributions over
    windows (to 1e-5). Where the pooling has no space, contributions are what leaving a window
    out takes from the score.
    """

    probabilities: NDArray[np.float64]  # (classes,) of the song, calibrated
    logits: Array  # (classes,) of the song, before calibration
    score: Array  # (classes,)
    window_probabilities: NDArray[np.float64]  # (windows, classes)
    contributions: Array  # (windows, classes)
    start_seconds: Seconds  # (windows,) in what was read of the song; NaN for a table
    end_seconds: Seconds
    outputs: Array  # (windows, classes + k + values) of the network
    thresholds: tuple[float, ...] = ()  # multilabel: from which each label is predicted
    kind: LabelKind = SINGLE_LABEL
    # p-values among known songs and windows (`songbag.metrics.typicality`), where the model can.
    typicality: float | None = None
    window_typicality: Seconds | None = None  # (windows,)

    @property
    def label_indices(self) -> list[int]:
        """Index of the most probable label (the first one on ties), or of all predicted ones."""
        return self.kind.decide(self.probabilities, self.thresholds)

    @property
    def confidence(self) -> float:
        """Probability of the predicted label; with several labels of its least sure decision."""
        return self.kind.confidence(self.probabilities, self.thresholds)

    @property
    def margin(self) -> float | None:
        """Probability of the best label less that of the second; None with several labels.

        Labels that may all be right do not compete: there `confidence` is what is comparable.
        """
        if self.kind.multilabel:
            return None
        second, best = np.partition(self.probabilities, -2)[-2:]
        return float(best - second)


class Predictor:
    """Runs one model. It is cheap to keep, and several threads may use it."""

    def __init__(self, model: Model) -> None:
        self.card = model.card
        self._network = open_session(model.parts["network.onnx"])
        self._pooling = open_session(model.parts["pooling.onnx"])
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        self._length = self.card.window_shape[0]
        self.typicality: Typicality | None = None
        if self.card.unknown:
            self.typicality = Typicality.from_part(model.parts[TYPICALITY])
        if self.card.source == "audio":
            expected = (windows.window_frames(sound, cut), sound.bands)
            if self.card.window_shape != expected:
                raise ModelFileError(
                    f"the model states windows of {self.card.window_shape} but its settings make "
                    f"{expected}; it cannot be used."
                )

    def predict(self, blocks: Iterable[Array], samples: Callable[[], int]) -> Prediction:
        """Predict one song from blocks of frames (n, bands).

        Windows are run as soon as their frames have arrived; only their outputs stay in memory.
        ``samples`` returns the song's number of samples, once the blocks are exhausted.
        """
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        waiting, behind = np.zeros((0, self.card.window_shape[-1]), np.float32), 0
        outputs: list[Array] = []
        for block in blocks:
            waiting = np.concatenate([waiting, block]) if len(waiting) else block
            # The song is at least this long, so these windows exist whatever follows.
            least = (behind + len(waiting) - 1) * sound.step
            while windows.window_count(least, sound, cut) >= (len(outputs) + 1) * _WINDOWS:
                first = len(outputs) * _WINDOWS
                starts = windows.window_starts(least, sound, cut)[first : first + _WINDOWS]
                if starts[-1] + self._length > behind + len(waiting):
                    break
                outputs.append(self._run_windows(waiting[starts[0] - behind :], starts))
                waiting, behind = waiting[starts[-1] - behind :], int(starts[-1])
        starts = windows.window_starts(samples(), sound, cut)
        for first in range(len(outputs) * _WINDOWS, len(starts), _WINDOWS):
            part = starts[first : first + _WINDOWS]
            outputs.append(self._run_windows(waiting[part[0] - behind :], part))
        begin = windows.start_seconds(starts, sound)
        end = np.minimum(begin + cut.seconds, samples() / sound.sample_rate)
        return self.predict_outputs(WindowOutputs(np.concatenate(outputs), begin, end))

    def predict_windows(self, values: Array) -> Prediction:
        """Predict one song from its windows (windows, *window_shape)."""
        outputs = [
            self._run_network(len(part), windows=np.ascontiguousarray(part))
            for part in np.split(values, range(_WINDOWS, len(values), _WINDOWS))
        ]
        nowhere = np.full(len(values), np.nan)
        return self.predict_outputs(WindowOutputs(np.concatenate(outputs), nowhere, nowhere))

    def _run_windows(self, frames: Array, starts: NDArray[np.int64]) -> Array:
        near = starts - starts[0]
        frames = windows.repeat_frames(frames[: near[-1] + self._length], self._length)
        return self._run_network(len(near), frames=frames, starts=near)

    def _run_network(self, count: int, **inputs: Any) -> Array:
        outputs = run(self._network, inputs)[0]
        least = len(self.card.labels) + (self.typicality.values if self.typicality else 0)
        if outputs.ndim != 2 or len(outputs) != count or outputs.shape[1] < least:
            raise ModelFileError(
                f"the model computes the shape {outputs.shape} where {count} windows need a row "
                f"each, of at least {least} values."
            )
        return outputs

    def predict_outputs(self, window_outputs: WindowOutputs) -> Prediction:
        """Predict one song from the network's outputs for its windows.

        For some rows of `Prediction.outputs` and their positions, this is the prediction for
        a song that never had the other windows, whatever the pooling.
        """
        seen, begin, end = window_outputs
        outputs, typicality, window_typicality = seen, None, None
        if self.typicality is not None:  # white vectors behind what the pooling takes
            values = self.typicality.values
            outputs, vectors = seen[:, :-values], seen[:, -values:]
            typicality = self.typicality.of_song(vectors)
            window_typicality = self.typicality.of_windows(vectors)
        classes, kind = len(self.card.labels), self.card.kind
        song, score, *summands = run(self._pooling, {"outputs": outputs}, (classes,), (classes,))
        contributions = summands[0] if summands else self._leave_one_out(outputs, score)
        logits = outputs[:, :classes]
        if contributions.shape != logits.shape:
            raise ModelFileError("the model's contributions are not one a window and label.")
        # All at once, the song as one more row: small arrays cost by the call.
        calibrated = song[None].astype(np.float64) / self.card.temperature
        rows = np.concatenate((calibrated, logits), dtype=np.float64)
        probabilities = kind.probabilities(rows)
        checked = np.concatenate((seen, score, contributions, probabilities), axis=None)
        if not np.isfinite(checked).all():
            raise ModelFileError("the model's answer for this song is not a number.")
        return Prediction(
            probabilities=probabilities[0],
            logits=song,
            score=score,
            window_probabilities=probabilities[1:],
            contributions=contributions,
            start_seconds=begin,
            end_seconds=end,
            outputs=seen,
            thresholds=self.card.thresholds,
            kind=kind,
            typicality=typicality,
            window_typicality=window_typicality,
        )

    def _leave_one_out(self, outputs: Array, score: Array) -> Array:
        """Return what the score loses when each window is left out."""
        if len(outputs) == 1:
            return score[None]
        without = (np.delete(outputs, window, axis=0) for window in range(len(outputs)))
        return np.stack([score - run(self._pooling, {"outputs": w})[1] for w in without])
