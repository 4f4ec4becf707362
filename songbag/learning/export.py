"""Trained modules to the two ONNX graphs that prediction runs, checked against torch.

``network.onnx``   (frames (T, bands), starts (W,)) -> outputs (W, classes + k)
                   or, for windows of a table, windows (W, ...) -> outputs (W, classes + k):
                   logits, then the k scores of a pooling that learns
``pooling.onnx``   outputs (W, classes + k) -> song (classes,), score (classes,) and, unless
                   they are found by pooling again, contributions (W, classes)
"""

import io
import logging
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.errors import ExportError
from songbag.learning.ensemble import Ensemble
from songbag.learning.networks import SongNetwork
from songbag.learning.pooling import SongPooling

OPSET = 20  # read by onnxruntime since 1.18 and by onnxruntime-web
TOLERANCE = 1e-4  # relative to the largest logit, at least absolute
_CHECKED_WINDOWS = (1, 2, 57)


def export_network(network: SongNetwork | Ensemble, whole_songs: bool, hop_frames: int) -> bytes:
    """Return ``network.onnx``.

    Parameters
    ----------
    whole_songs : bool
        Whether the network will see frames and starts, or windows of a table.
    hop_frames : int
        Distance of starts used in the check.

    Raises
    ------
    ExportError
        The graph's logits differ from torch's at 1, 2 or 57 windows.
    """
    length = network.window_shape[0]
    if not whole_songs:
        windows = torch.randn(3, *network.window_shape)
        graph = _exported(network, (windows,), ["windows"], ["outputs"], ({0: "windows"},))
        for count in _CHECKED_WINDOWS:
            values = {"windows": _noise(count, *network.window_shape)}
            _check(graph, values, network(torch.from_numpy(values["windows"])), count)
        return graph
    frames, starts = torch.randn(length + 2 * hop_frames, network.window_shape[1]), _starts(3, 1)
    module = _Song(network)
    shapes = ({0: "frames"}, {0: "windows"})
    names = ["frames", "starts"]
    graph = _exported(module, (frames, starts * hop_frames), names, ["outputs"], shapes)
    for count in _CHECKED_WINDOWS:
        song = {
            "frames": _noise(length + (count - 1) * hop_frames, network.window_shape[1]),
            "starts": _starts(count, hop_frames).numpy(),
        }
        truth = module(torch.from_numpy(song["frames"]), torch.from_numpy(song["starts"]))
        _check(graph, song, truth, count)
    return graph


@lru_cache(maxsize=8)
def export_pooling(pooling: SongPooling) -> bytes:
    """Return ``pooling.onnx``; the same for every fold, so it is made once.

    Raises
    ------
    ExportError
        The graph differs from torch at 1, 2 or 57 windows.
    """
    module, width = _Pooled(pooling), pooling.classes + pooling.heads
    example = torch.from_numpy(_noise(5, width))
    names = ["song", "score", "contributions"][: len(module(example))]
    # Not simplified: for the vote that takes longer than all else, and the graph is tiny.
    graph = _exported(module, (example,), ["outputs"], names, ({0: "windows"},), simplify=False)
    for count in _CHECKED_WINDOWS:
        outputs = _noise(count, width)
        _check(graph, {"outputs": outputs}, module(torch.from_numpy(outputs)), count)
    return graph


class _Song(nn.Module):
    """One song: frames (T, bands), starts (W,) -> outputs (W, classes + k)."""

    def __init__(self, network: SongNetwork | Ensemble) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, starts: Tensor) -> Tensor:
        return self.network.song(frames.unsqueeze(0), starts).squeeze(0)


class _Pooled(nn.Module):
    """One song: outputs (W, classes + k) -> song logits, score and contributions."""

    def __init__(self, pooling: SongPooling) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        songs = outputs.unsqueeze(0)
        song = self.pooling.song(songs)
        score = self.pooling.score(song)
        found = song, score, self.pooling.contributions(songs, score)
        return tuple(value.squeeze(0) for value in found if value is not None)


def _exported(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    shapes: tuple[dict[int, str], ...],
    simplify: bool = True,
) -> bytes:
    dynamic = tuple(
        {axis: torch.export.Dim(name, min=1) for axis, name in axes.items()} for axes in shapes
    )
    module.eval()
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                verbose=False,
                optimize=simplify,
            )
    except Exception as error:  # torch raises a family of its own, with pages of text
        raise ExportError(
            f"this module cannot be exported: {_operation(error)}. Nothing was saved. Write it "
            "with operations that ONNX has (sums, means, sorting, softmax, ...), whose shapes "
            "follow their inputs."
        ) from error
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    buffer = io.BytesIO()
    import onnx

    onnx.save(program.model_proto, buffer)
    return buffer.getvalue()


def _operation(error: BaseException) -> str:
    """Return the operation without a translation, or the error's first line."""
    found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
    if found:
        return f"ONNX has no operation for {found[1].replace('aten', 'torch')}"
    return str(error).strip().partition("\n")[0][:200]


def _check(
    graph: bytes, inputs: dict[str, NDArray[Any]], truth: Tensor | Sequence[Tensor], count: int
) -> None:
    found = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )
    expected = [truth] if isinstance(truth, Tensor) else truth
    for ours, theirs in zip(found, expected, strict=True):
        wanted = theirs.detach().numpy()
        allowed = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        if ours.shape != wanted.shape or not np.abs(ours - wanted).max() <= allowed:
            raise ExportError(
                f"the exported graph disagrees with the trained network at {count} windows: "
                f"shapes {ours.shape} and {wanted.shape}, largest difference "
                f"{np.abs(ours - wanted).max() if ours.shape == wanted.shape else 'unknown'}. "
                "Nothing was saved. Write the network with operations whose shapes follow "
                "their inputs."
            )


def _noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _starts(count: int, hop_frames: int) -> Tensor:
    return torch.arange(count) * hop_frames
