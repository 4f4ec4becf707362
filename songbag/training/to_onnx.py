"""Export trained modules to the two ONNX graphs that prediction runs, checked against torch.

``network.onnx``   (frames (T, bands), starts (W,)) -> outputs (W, classes + k)
                   or, for windows of a table, windows (W, ...) -> outputs (W, classes + k):
                   logits, then the k scores of a pooling that learns
``pooling.onnx``   outputs (W, classes + k) -> song (classes,), score (classes,) and, unless
                   they are computed by pooling again, contributions (W, classes)
"""

import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.errors import ExportError
from songbag.models.song_network import Ensemble, SongNetwork, SongPooling
from songbag.models.window_vectors import WithVectors
from songbag.training import onnx_templates

OPSET = 20  # read by onnxruntime since 1.18 and by onnxruntime-web
TOLERANCE = 1e-4  # relative to the largest logit, at least absolute
_CHECKED_WINDOWS = (1, 2, 57)

# Inputs that graph and module are compared on, by their number of windows.
Cases: TypeAlias = Mapping[int, tuple[NDArray[Any], ...]]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a graph."""

    inputs: list[str]
    outputs: list[str]
    # For every input, by number its axes of any length: their names and least lengths. What a
    # network cannot take is said at once: torch would find it out and begin again.
    axes: tuple[dict[int, tuple[str, int]], ...]
    simplify: bool = True  # whether torch simplifies the graph


def export_network(
    network: SongNetwork | Ensemble | WithVectors, whole_songs: bool, hop_frames: int
) -> bytes:
    """Return ``network.onnx``, whose inputs are frames and starts, or windows of a table.

    Raises ExportError if there is no graph, or its logits differ from torch's at 1, 2 or 57
    windows, of whole songs every ``hop_frames``.
    """
    shape, length = network.window_shape, network.window_shape[0]
    cases: Cases
    if not whole_songs:
        signature = Signature(["windows"], ["outputs"], ({0: ("windows", 1)},))
        cases = {count: (_noise(count, *shape),) for count in _CHECKED_WINDOWS}
        return _export(network, (torch.randn(3, *shape),), signature, cases)
    axes = {0: ("frames", length)}, {0: ("windows", 1)}
    signature = Signature(["frames", "starts"], ["outputs"], axes)
    example = torch.randn(length + 2 * hop_frames, shape[1]), torch.arange(3) * hop_frames
    cases = {
        count: (
            _noise(length + (count - 1) * hop_frames, shape[1]),
            np.arange(count, dtype=np.int64) * hop_frames,
        )
        for count in _CHECKED_WINDOWS
    }
    return _export(_Song(network), example, signature, cases)


def export_pooling(pooling: SongPooling) -> bytes:
    """Return ``pooling.onnx``; raise ExportError as `export_network` does."""
    module, width = _Pooled(pooling), pooling.classes + pooling.heads
    example = torch.from_numpy(_noise(5, width))
    names = ["song", "score", "contributions"][: len(module(example))]
    # Not simplified: for the vote that takes longer than all else, and the graph is tiny.
    signature = Signature(["outputs"], names, ({0: ("windows", 1)},), simplify=False)
    cases = {count: (_noise(count, width),) for count in _CHECKED_WINDOWS}
    return _export(module, (example,), signature, cases)


class _Song(nn.Module):
    """One song: frames (T, bands), starts (W,) -> outputs (W, classes + k)."""

    def __init__(self, network: SongNetwork | Ensemble | WithVectors) -> None:
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
        contributions = self.pooling.contributions(songs, score)
        values = (song, score) if contributions is None else (song, score, contributions)
        return tuple(value.squeeze(0) for value in values)


def _export(
    module: nn.Module, example: tuple[Tensor, ...], signature: Signature, cases: Cases
) -> bytes:
    """Return a module's graph, which agrees with it in all cases."""
    module.eval()
    plan = onnx_templates.plan_of(module, (example, signature, OPSET))
    if plan is not None:
        try:
            template = onnx_templates.load(plan)
            if template is None:
                template = translate(onnx_templates.blank(module), example, signature)
                onnx_templates.save(plan, template)
            graph = onnx_templates.fill(template, module)
            check(graph, module, signature, cases)
            return graph
        except Exception:  # damaged, or weights went into it under other names
            onnx_templates.remove(plan)
    graph = translate(module, example, signature)
    check(graph, module, signature, cases)
    return graph


def translate(module: nn.Module, example: tuple[Tensor, ...], signature: Signature) -> bytes:
    """Return the graph that torch makes of a module, or raise ExportError with the reason."""
    from songbag.onnx_runtime.graph_builder import without_traces

    shapes = tuple(
        {axis: torch.export.Dim(name, min=least) for axis, (name, least) in axes.items()}
        for axes in signature.axes
    )
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=signature.inputs,
                output_names=signature.outputs,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                verbose=False,
                optimize=signature.simplify,
            )
    except Exception as error:  # torch raises a family of its own, with pages of text
        unknown = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
        reason = str(error).strip().partition("\n")[0][:200]
        if unknown:
            reason = f"ONNX has no operation for {unknown[1].replace('aten', 'torch')}"
        raise ExportError(
            f"this module cannot be exported: {reason}. Nothing was saved. Write it "
            "with operations that ONNX has (sums, means, sorting, softmax, ...), whose shapes "
            "follow their inputs."
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None
    return bytes(without_traces(program.model_proto).SerializeToString())


def check(graph: bytes, module: nn.Module, signature: Signature, cases: Cases) -> None:
    """Raise ExportError if an output of a graph differs from its module's."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for count, inputs in cases.items():
        try:
            outputs = session.run(None, dict(zip(signature.inputs, inputs, strict=True)))
        except Exception as error:  # onnxruntime's have no common base class
            raise ExportError(
                f"the exported graph does not run on {count} windows, because a shape in it is "
                "fixed. Nothing was saved. Take the number of windows as x.shape[0], not len(x)."
            ) from error
        with torch.no_grad():
            truth = module(*map(torch.from_numpy, inputs))
        truths = [truth] if isinstance(truth, Tensor) else truth
        for ours, theirs in zip(outputs, truths, strict=True):
            wanted = theirs.numpy()
            same_shape = ours.shape == wanted.shape
            difference = float(np.abs(ours - wanted).max()) if same_shape else np.inf
            if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
                raise ExportError(
                    f"the exported graph disagrees with the trained network at {count} windows: "
                    f"shapes {ours.shape} and {wanted.shape}, largest difference {difference:g}. "
                    "Nothing was saved. Write the network with operations whose shapes follow "
                    "their inputs."
                )


def _noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
