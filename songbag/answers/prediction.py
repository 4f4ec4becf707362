"""A song's frames to its answer, with numpy and ONNX Runtime alone.

One song a call on one thread: a song's answer never depends on the company it is in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from songbag.answers.calibration import probabilities
from songbag.answers.modelfile import ModelFile
from songbag.errors import ModelFileError
from songbag.sound import windows

Array = NDArray[np.float32]

_GRAPH_BYTES = 1 << 30
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
        self._network = session(model.parts["network.onnx"])
        self._pooling = session(model.parts["pooling.onnx"])
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
        outputs, starts = self._song_outputs(blocks, samples)
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        begin = windows.start_seconds(starts, sound)
        end = np.minimum(begin + cut.seconds, samples() / sound.sample_rate)
        return self.predict_outputs(outputs, begin, end)

    def predict_windows(self, values: Array) -> Prediction:
        """Predict one song from its windows (windows, *window_shape)."""
        parts = [
            self._outputs(len(some), windows=np.ascontiguousarray(some))
            for some in np.split(values, range(_WINDOWS, len(values), _WINDOWS))
        ]
        nowhere = np.full(len(values), np.nan)
        return self.predict_outputs(np.concatenate(parts), nowhere, nowhere)

    def _song_outputs(
        self, blocks: Iterable[Array], samples: Callable[[], int]
    ) -> tuple[Array, NDArray[np.int64]]:
        """Run windows as soon as their frames are there; keep only their outputs."""
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
        return np.concatenate(found), starts

    def _next_starts(self, least: int, first: int) -> NDArray[np.int64] | None:
        """Return the next full block of starts in so many samples, None when it is not full."""
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        if windows.window_count(least, sound, cut) < first + _WINDOWS:
            return None
        return windows.window_starts(least, sound, cut)[first : first + _WINDOWS]

    def _window_outputs(self, frames: Array, starts: NDArray[np.int64]) -> Array:
        near = starts - starts[0]
        frames = windows.filled(frames[: near[-1] + self._length], self._length)
        return self._outputs(len(near), frames=frames, starts=near)

    def predict_outputs(
        self, outputs: Array, begin: NDArray[np.float64], end: NDArray[np.float64]
    ) -> Prediction:
        """Predict one song from what the network said of its windows.

        Given some rows of `Prediction.outputs` and their times, this is the answer for a
        song that never had the other windows, whatever the pooling.
        """
        classes, multilabel = len(self.card.labels), self.card.multilabel
        pooled = self._run(self._pooling, {"outputs": outputs}, (classes,), (classes,))
        song, score, *shares = pooled
        contributions = shares[0] if shares else self._left_out(outputs, score)
        logits = outputs[:, :classes]
        shares_of_song = probabilities(song, self.card.temperature, multilabel)
        if contributions.shape != logits.shape:
            raise ModelFileError("the model's contributions are not one a window and label.")
        if not all(np.isfinite(v).all() for v in (outputs, score, contributions, shares_of_song)):
            raise ModelFileError("the model's answer for this song is not a number.")
        return Prediction(
            shares_of_song,
            score,
            np.zeros_like(score),
            probabilities(logits, 1.0, multilabel),
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
        return np.stack([score - self._run(self._pooling, {"outputs": w})[1] for w in without])

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        inputs: dict[str, Any],
        *shapes: tuple[int, ...],
    ) -> list[Array]:
        try:
            found: list[Array] = session.run(None, inputs)
        except Exception as error:  # onnxruntime raises its own untyped family
            raise ModelFileError(f"the model cannot be run: {_first_line(error)}") from None
        if [one.shape for one in found[: len(shapes)]] != list(shapes):
            raise ModelFileError(
                f"the model computes shapes {[one.shape for one in found]} where its labels "
                f"need {list(shapes)}."
            )
        return found

    def _outputs(self, count: int, **inputs: Any) -> Array:
        found = self._run(self._network, inputs)[0]
        if found.ndim != 2 or len(found) != count or found.shape[1] < len(self.card.labels):
            raise ModelFileError(
                f"the model computes the shape {found.shape} where {count} windows and "
                f"{len(self.card.labels)} labels need a row a window."
            )
        return found


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Return what runs a graph: on one thread, so that every sum has one order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    options.add_session_config_entry("session.use_env_allocators", "1")
    _cap_memory()
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own untyped family
        raise ModelFileError(f"a graph of the model cannot be run: {_first_line(error)}") from None


@lru_cache(maxsize=1)
def _cap_memory() -> None:
    """Let graphs have so much memory and no more: a few bytes can ask for all there is."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(
        info, onnxruntime.OrtArenaCfg({"max_mem": _GRAPH_BYTES})
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
