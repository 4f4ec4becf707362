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
    """

    probabilities: NDArray[np.float64]
    score: Array
    offset: Array
    window_probabilities: NDArray[np.float64]
    contributions: Array
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]

    @property
    def label_index(self) -> int:
        """Index of the most probable label, the first one on ties."""
        return int(np.argmax(self.probabilities))


class Predictor:
    """Runs one model. Cheap to keep, safe to use for one song at a time."""

    def __init__(self, model: ModelFile) -> None:
        self.card = model.card
        self._network = _session(model.parts["network.onnx"])
        self._pooling = _session(model.parts["pooling.onnx"])
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
        logits, starts = self._song_logits(blocks, samples)
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        begin = windows.start_seconds(starts, sound)
        end = np.minimum(begin + cut.seconds, samples() / sound.sample_rate)
        return self._answer(logits, begin, end)

    def predict_windows(self, values: Array) -> Prediction:
        """Predict one song from its windows (windows, *window_shape)."""
        parts = [
            self._logits(len(some), windows=np.ascontiguousarray(some))
            for some in np.split(values, range(_WINDOWS, len(values), _WINDOWS))
        ]
        nowhere = np.full(len(values), np.nan)
        return self._answer(np.concatenate(parts), nowhere, nowhere)

    def _song_logits(
        self, blocks: Iterable[Array], samples: Callable[[], int]
    ) -> tuple[Array, NDArray[np.int64]]:
        """Run windows as soon as their frames are there; keep only their logits."""
        sound, cut = self.card.recipe.sound, self.card.recipe.windows
        waiting, behind = np.zeros((0, self._bands), dtype=np.float32), 0
        found: list[Array] = []
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            # The song is at least this long, so these windows exist whatever follows.
            least = (behind + len(waiting) - 1) * sound.hop_length
            while (starts := _next(windows.window_starts(least, sound, cut), found)) is not None:
                if starts[-1] + self._length > behind + len(waiting):
                    break
                found.append(self._window_logits(waiting[starts[0] - behind :], starts))
                waiting, behind = waiting[starts[-1] - behind :], int(starts[-1])
        starts = windows.window_starts(samples(), sound, cut)
        for first in range(len(found) * _WINDOWS, len(starts), _WINDOWS):
            some = starts[first : first + _WINDOWS]
            found.append(self._window_logits(waiting[some[0] - behind :], some))
        return np.concatenate(found), starts

    def _window_logits(self, frames: Array, starts: NDArray[np.int64]) -> Array:
        near = starts - starts[0]
        frames = windows.filled(frames[: near[-1] + self._length], self._length)
        return self._logits(len(near), frames=frames, starts=near)

    def _answer(
        self, logits: Array, begin: NDArray[np.float64], end: NDArray[np.float64]
    ) -> Prediction:
        classes = len(self.card.labels)
        song, score, *shares = self._run(self._pooling, {"logits": logits}, (classes,), (classes,))
        contributions = shares[0] if shares else self._left_out(logits, score)
        shares_of_song = probabilities(song, self.card.temperature)
        if contributions.shape != logits.shape:
            raise ModelFileError("the model's contributions are not one a window and label.")
        if not all(np.isfinite(v).all() for v in (logits, score, contributions, shares_of_song)):
            raise ModelFileError("the model's answer for this song is not a number.")
        offset = np.zeros_like(score)
        return Prediction(
            shares_of_song,
            score,
            offset,
            probabilities(logits, 1.0),
            contributions,
            begin,
            end,
        )

    def _left_out(self, logits: Array, score: Array) -> Array:
        """Return what the score loses when each window is left out."""
        if len(logits) == 1:
            return score[None]
        without = (np.delete(logits, window, axis=0) for window in range(len(logits)))
        return np.stack([score - self._run(self._pooling, {"logits": w})[1] for w in without])

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

    def _logits(self, count: int, **inputs: Any) -> Array:
        return self._run(self._network, inputs, (count, len(self.card.labels)))[0]


def _next(starts: NDArray[np.int64], found: list[Array]) -> NDArray[np.int64] | None:
    """Return the next full block of starts, None when it is not full yet."""
    first = len(found) * _WINDOWS
    return starts[first : first + _WINDOWS] if len(starts) >= first + _WINDOWS else None


def _session(graph: bytes) -> onnxruntime.InferenceSession:
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
