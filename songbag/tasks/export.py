"""Export a model as one ONNX graph from samples to the song's probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.audio import features
from songbag.audio.synthesis import synthesise
from songbag.console import Console
from songbag.encoders.known import find_encoder
from songbag.errors import ExportError
from songbag.inference.model_file import Model
from songbag.inference.predictor import Prediction, Predictor
from songbag.onnx_runtime.session import open_session
from songbag.storage.files import write_bytes

TOLERANCE = 1e-4  # of probabilities, seconds; of contributions relative to max(1, largest)
# Of a window's, with an encoder: its vectors are rounded to float16, and what lies between two
# numbers goes either way. A song's probabilities are means, and agree to the first.
_WINDOW_TOLERANCE = 1e-3
_OF_WINDOWS = ("window_probabilities", "contributions")

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class ExportReport:
    """The file, its size, and the largest difference of a probability or contribution."""

    path: Path
    bytes: int
    difference: float


def export_model(model: Model, output: str | Path, console: Console) -> ExportReport:
    """Write the model as one ONNX graph, where it agrees with the library on every test sound."""
    if model.card.source == "table":
        raise ExportError(
            f"{model.path}: this model predicts on a table of window features, not on sound, "
            "so there is no way from samples to write down. Export a model trained on audio."
        )
    try:
        from songbag.inference.sound_graph import song_graph
    except ModuleNotFoundError as error:
        raise ExportError(
            f"exporting needs the package '{error.name}', which is not installed. "
            "Run: pip install 'songbag[export]'"
        ) from None
    data: bytes = song_graph(model).SerializeToString()
    console.say("Comparing the graph with the library on sounds of all lengths ...")
    difference = _check(data, Predictor(model))
    write_bytes(output, data)
    return ExportReport(Path(output), len(data), difference)


def _check(data: bytes, predictor: Predictor) -> float:
    """Return the largest difference over all sounds, or refuse."""
    graph = open_session(data)
    names = [one.name for one in graph.get_outputs()]
    largest = 0.0
    sound = predictor.card.recipe.sound
    minutes = 2 if sound.encoding else 10  # an encoder needs seconds for a minute
    for what, waveform in checked_sounds(sound.sample_rate, minutes):
        outputs = dict(zip(names, graph.run(None, {"waveform": waveform}), strict=True))
        blocks = features.frame_blocks([waveform], sound.frames)
        if sound.encoding:
            blocks = find_encoder(sound).rows(blocks)
        expected = predictor.predict(blocks, partial(len, waveform))
        differences = _differences(outputs, expected)
        for name, value in differences.items():
            limit = _WINDOW_TOLERANCE if sound.encoding and name in _OF_WINDOWS else TOLERANCE
            if not value <= limit:
                raise ExportError(
                    f"the graph does not say what the library says: on {what}, its {name} differ "
                    f"by {value:.2g}, more than {limit:g}. Nothing was written. Predict with "
                    "the library instead."
                )
        del differences["starts_seconds"]  # float32 seconds are coarser than probabilities
        largest = max(largest, *differences.values())
    return largest


def _differences(outputs: dict[str, Waveform], expected: Prediction) -> dict[str, float]:
    """Return the largest difference of each output; of score and contributions relative."""
    differences = {}
    for name, value in outputs.items():
        right = np.asarray(getattr(expected, "start_seconds" if name == "starts_seconds" else name))
        if value.shape != right.shape:
            return {name: np.inf}
        relative = name in ("score", "contributions")
        scale = max(1.0, float(np.abs(right).max())) if relative else 1.0
        differences[name] = float(np.abs(value - right).max()) / scale
    return differences


def checked_sounds(sample_rate: int, minutes: int = 10) -> Iterator[tuple[str, Waveform]]:
    """Yield (name, samples) of what the graph and the library must agree on, ``minutes`` last."""
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(10 * sample_rate)).astype(np.float32)
    time = np.arange(10 * sample_rate) / sample_rate
    minute = synthesise("waltz", rng, 60.0, sample_rate)
    yield "a single sample", noise[:1]
    yield "half a second", noise[: sample_rate // 2]
    yield "noise", noise
    yield "silence", np.zeros_like(noise)
    yield "a loud square wave", np.sign(np.sin(2 * np.pi * 441 * time)).astype(np.float32)
    yield "a minute", minute
    gains = np.linspace(0.1, 1, minutes, dtype=np.float32)
    yield f"{minutes} minutes", np.concatenate([gain * minute for gain in gains])
