"""Embed windows with a pre-trained encoder from an ONNX file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import repeat_frames, window_and_hop, window_frames
from songbag.console import Console
from songbag.data.bag import Bag
from songbag.errors import ModelFileError, SettingsError, TrainingError
from songbag.onnx_runtime.session import open_session
from songbag.onnx_runtime.untrusted import check_part
from songbag.parts import features
from songbag.settings import Recipe

_AT_ONCE = 16  # windows


def read_encoder(path: str | Path, recipe: Recipe) -> bytes:
    """Return an encoder's graph, or refuse it before any song is read.

    Raises
    ------
    SettingsError
        The file cannot be read, is no ONNX graph with one input and one output, or cannot
        take windows as the recipe cuts them; or the feature of the recipe is not the waveform.
    """
    if not features()[recipe.sound.feature].is_waveform:
        raise SettingsError(
            f"an encoder takes samples, and the feature of the recipe '{recipe.name}' is "
            f"{recipe.sound.feature}. Use it with --recipe embeddings."
        )
    try:
        data = Path(path).read_bytes()
        check_part(Path(path).name, data)
        Encoder(data, recipe)(
            np.zeros((2, 1 + window_and_hop(recipe.sound, recipe.windows)[0]), np.float32)
        )
    except OSError as error:
        raise SettingsError(f"{path}: the encoder cannot be read: {error.strerror}.") from None
    except (ModelFileError, TrainingError) as error:
        raise SettingsError(f"{path}: {error}") from None
    return data


class Encoder:
    """Runs an encoder on windows of samples.

    Parameters
    ----------
    data : bytes
        An ONNX graph from (windows, samples) to (windows, values).
    recipe : Recipe
        Says how many samples a window has.
    """

    def __init__(self, data: bytes, recipe: Recipe) -> None:
        self._session = open_session(data)
        self.samples = window_and_hop(recipe.sound, recipe.windows)[0]
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise TrainingError(
                f"an encoder has one input and one output, this one {len(inputs)} and "
                f"{len(outputs)}. Export it with (windows, samples) in, (windows, values) out."
            )
        self._input = inputs[0].name

    def __call__(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings (windows, values) of windows (windows, at least the samples)."""
        samples = np.ascontiguousarray(windows[:, : self.samples])
        try:
            vectors = self._session.run(None, {self._input: samples})[0]
        except Exception as error:  # onnxruntime raises its own untyped family
            reason = str(error).strip().splitlines()[-1][:200]
            raise TrainingError(
                f"the encoder does not take {len(samples)} windows of {self.samples} samples "
                f"({reason}). Set windows.seconds and sound.sample_rate as it wants them, and "
                "export it with any number of windows."
            ) from None
        if vectors.ndim != 2 or len(vectors) != len(samples) or not np.isfinite(vectors).all():
            raise TrainingError(
                f"the encoder turns {len(samples)} windows into the shape {vectors.shape}; needed "
                "is one row of numbers a window."
            )
        return np.asarray(vectors, dtype=np.float32)


def embedded(bags: Sequence[Bag], encoder: bytes, recipe: Recipe, console: Console) -> list[Bag]:
    """Return bags whose windows are the embeddings of the windows of bags of waveforms."""
    run, length = Encoder(encoder, recipe), window_frames(recipe.sound, recipe.windows)
    embedded_bags = []
    for bag in console.track(bags, len(bags), "Embedding"):
        assert bag.starts is not None
        frames = repeat_frames(bag.features, length)
        vectors = [
            run(np.stack([frames[start : start + length].ravel() for start in batch]))
            for batch in np.split(bag.starts, range(_AT_ONCE, len(bag.starts), _AT_ONCE))
        ]
        embedded_bags.append(replace(bag, features=np.concatenate(vectors), starts=None))
    return embedded_bags
