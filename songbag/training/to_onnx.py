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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.errors import ExportError
from songbag.models.song_network import Ensemble, SongNetwork, SongPooling
from songbag.training import onnx_templates

OPSET = 20  # read by onnxruntime since 1.18 and by onnxruntime-web
TOLERANCE = 1e-4  # relative to the largest logit, at least absolute
_CHECKED_WINDOWS = (1, 2, 57)

_Cases = Mapping[int, tuple[NDArray[Any], ...]]  # inputs by their number of windows


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
    shape, length = network.window_shape, network.window_shape[0]
    cases: _Cases
    if not whole_songs:
        cases = {count: (_noise(count, *shape),) for count in _CHECKED_WINDOWS}
        call = _Call(["windows"], ["outputs"], ({0: "windows"},))
        return _exported(network, (torch.randn(3, *shape),), call, cases)
    call = _Call(["frames", "starts"], ["outputs"], ({0: "frames"}, {0: "windows"}))
    example = torch.randn(length + 2 * hop_frames, shape[1]), torch.arange(3) * hop_frames
    cases = {
        count: (
            _noise(length + (count - 1) * hop_frames, shape[1]),
            np.arange(count, dtype=np.int64) * hop_frames,
        )
        for count in _CHECKED_WINDOWS
    }
    return _exported(_Song(network), example, call, cases)


def export_pooling(pooling: SongPooling) -> bytes:
    """Return ``pooling.onnx``.

    Raises
    ------
    ExportError
        The graph differs from torch at 1, 2 or 57 windows.
    """
    module, width = _Pooled(pooling), pooling.classes + pooling.heads
    example = torch.from_numpy(_noise(5, width))
    names = ["song", "score", "contributions"][: len(module(example))]
    # Not simplified: for the vote that takes longer than all else, and the graph is tiny.
    call = _Call(["outputs"], names, ({0: "windows"},), simplify=False)
    cases = {count: (_noise(count, width),) for count in _CHECKED_WINDOWS}
    return _exported(module, (example,), call, cases)


@dataclass(frozen=True)
class _Call:
    """What an export is asked for: names, and the names of axes of any length."""

    inputs: list[str]
    outputs: list[str]
    shapes: tuple[dict[int, str], ...]
    simplify: bool = True


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


def _exported(module: nn.Module, example: tuple[Tensor, ...], call: _Call, cases: _Cases) -> bytes:
    """Return a module's graph, which agrees with it in all cases."""
    module.eval()
    plan = onnx_templates.plan_of(module, (example, call, OPSET))
    if plan is not None:
        try:
            return _from_template(plan, module, example, call, cases)
        except Exception:  # damaged, or weights went into it under other names: the long way
            onnx_templates.forget(plan)
    graph = _translated(module, example, call)
    _check(graph, module, call, cases)
    return graph


def _from_template(
    plan: str, module: nn.Module, example: tuple[Tensor, ...], call: _Call, cases: _Cases
) -> bytes:
    template = onnx_templates.kept(plan)
    if template is None:
        template = _translated(onnx_templates.blank(module), example, call)
        onnx_templates.keep(plan, template)
    graph = onnx_templates.filled(template, module)
    _check(graph, module, call, cases)
    return graph


def _translated(module: nn.Module, example: tuple[Tensor, ...], call: _Call) -> bytes:
    dynamic = tuple(
        {axis: torch.export.Dim(name, min=1) for axis, name in axes.items()} for axes in call.shapes
    )
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=call.inputs,
                output_names=call.outputs,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                verbose=False,
                optimize=call.simplify,
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


def _check(graph: bytes, module: nn.Module, call: _Call, cases: _Cases) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for count, inputs in cases.items():
        found = session.run(None, dict(zip(call.inputs, inputs, strict=True)))
        with torch.no_grad():
            truth = module(*map(torch.from_numpy, inputs))
        expected = [truth] if isinstance(truth, Tensor) else truth
        for ours, theirs in zip(found, expected, strict=True):
            _compare(ours, theirs.numpy(), count)


def _compare(ours: NDArray[Any], wanted: NDArray[Any], count: int) -> None:
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
