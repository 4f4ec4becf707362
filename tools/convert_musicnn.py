"""Make ``songbag/encoders/musicnn*`` from the public wheel of musicnn, without TensorFlow.

Usage::

    pip download --no-deps musicnn==0.1.0
    python tools/convert_musicnn.py musicnn-0.1.0-py3-none-any.whl

Writes ``musicnn.onnx`` (log-mel frames to vectors of cells), ``musicnn_head.safetensors`` (vectors
to tags), ``musicnn.json`` (what they are) and ``musicnn_license.txt`` into the package.

The network: J. Pons, X. Serra, "musicnn: Pre-trained convolutional neural networks for music
audio tagging", 2019, arXiv 1909.06654; here the one trained on the Million Song Dataset.
"""

import ast
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save

from songbag.onnx_runtime.graph_builder import GraphBuilder, Value, float32, int64

WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
OPSET = 20
FOLDER = Path(__file__).parent.parent / "songbag" / "encoders"
CELL = 32  # frames
MEL, CHANNELS = 96, 753
_BANDS = 8  # of the temporal branches at once: all of a long song would need too much memory
Weights = dict[str, NDArray[np.float64]]


def main() -> None:
    """Convert the wheel that the first argument names."""
    data = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(data).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{sys.argv[1]} is not the wheel of musicnn 0.1.0.")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        checkpoint = "musicnn/MSD_musicnn/"
        weights = dict(
            read_checkpoint(
                wheel.read(checkpoint + ".index"),
                wheel.read(checkpoint + ".data-00000-of-00001"),
            )
        )
        settings = wheel.read("musicnn/configuration.py").decode()
        notice = wheel.read("musicnn-0.1.0.dist-info/LICENSE.md")
    tags = ast.literal_eval(settings.split("MSD_LABELS = ")[1].strip())
    _write("musicnn.onnx", _stripped(cells_graph(weights)))
    _write("musicnn_head.safetensors", save(head(weights)))
    _write("musicnn_license.txt", notice)
    _write("musicnn.json", (json.dumps(_manifest(tags), indent=1) + "\n").encode())


def _manifest(tags: list[str]) -> dict[str, Any]:
    return {
        "name": "musicnn",
        "trained_on": "the Million Song Dataset, 50 tags of Last.fm listeners",
        "source": "musicnn 0.1.0 on PyPI, MSD_musicnn",
        "source_sha256": WHEEL_SHA256,
        "license": "ISC",
        "cite": "Pons and Serra 2019, arXiv 1909.06654",
        "remarks": [
            "Songs of the GTZAN collection may be among those that it was trained on.",
            "Its sibling trained on MagnaTagATune is not used: that is Magnatune's music, as "
            "that of Emotify is.",
        ],
        "sound": {
            "feature": "logmel",
            "sample_rate": 16000,
            "frame_length": 512,
            "hop_length": 256,
            "mel_bands": MEL,
        },
        "cell": CELL,
        "context": 96,
        "values": 2 * CHANNELS,
        "maxima": CHANNELS,
        "levels": 8,
        "piece": 6,
        "tags": tags,
    }


def _stripped(model: onnx.ModelProto) -> bytes:
    model.producer_name = "songbag"
    return bytes(model.SerializeToString(deterministic=True))


def _write(name: str, data: bytes) -> None:
    (FOLDER / name).write_bytes(data)
    print(f"{name}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


# --- the network ---


def cells_graph(weights: Weights) -> onnx.ModelProto:
    """Return the graph from frames (frames, 96), dB, to cells (cells, 1506).

    A cell's values are the maxima over its 32 frames of the 753 channels, then their means. The
    last cell may have fewer frames.
    """
    graph = GraphBuilder(OPSET)
    mel = _normalised_mel(graph, weights)
    frames = graph.add("Shape", mel, start=0, end=1)
    front = [
        *_timbral_branches(graph, weights, mel, frames),
        *_temporal_branches(graph, weights, mel),
    ]
    channels = graph.add("Transpose", graph.add("Concat", *front, axis=1), perm=[1, 0])
    layers = _middle(graph, weights, graph.add("Unsqueeze", channels, int64(0)))
    everything = graph.add("Squeeze", graph.add("Concat", *layers, axis=1), int64(0))
    cells = _cells(graph, everything, frames)
    return graph.model({"frames": ("frames", MEL)}, {"cells": (cells, ("cells", 2 * CHANNELS))})


def _normalised_mel(graph: GraphBuilder, weights: Weights) -> str:
    """Add log10(10000 mel + 1) with its batch norm, (frames, 96), from levels in dB.

    The original holds mel values in float16 for a moment. Without the same rounding maxima
    differ from its by up to 0.01.
    """
    power = graph.add("Exp", graph.add("Mul", "frames", float32(np.log(10) / 10)))
    rounded = graph.add("Cast", power, to=onnx.TensorProto.FLOAT16)
    power = graph.add("Cast", rounded, to=onnx.TensorProto.FLOAT)
    loud = graph.add("Add", graph.add("Mul", power, float32(1e4)), float32(1))
    scale, shift = _batch_norm(weights, 0)
    scaled = graph.add("Mul", graph.add("Log", loud), _narrow(scale / np.log(10)))
    return graph.add("Add", scaled, _narrow(shift))


def _timbral_branches(graph: GraphBuilder, weights: Weights, mel: str, frames: str) -> list[str]:
    """Add the branches (frames, 204) with kernels of 7 frames and 38 or 67 bands.

    Convolved along time by short Fourier transforms: 23 products for 10 frames instead of 70.
    Every position on the mel axis is one small product of matrices. Beside onnxruntime's
    convolution: two thirds of the time, and 4e-6 of difference.
    """
    taps, size = 7, 16
    analysis, kernels, synthesis = fourier_products(size, taps)
    step, products = size - taps + 1, len(analysis)
    tiles = graph.add("Div", graph.add("Add", frames, int64(step - 1)), int64(step))
    end = graph.add("Sub", graph.add("Mul", tiles, int64(step)), frames)
    pads = graph.add("Concat", int64(3, 0), graph.add("Add", end, int64(3)), int64(0), axis=0)
    first = graph.add("Range", np.array(0), graph.add("Squeeze", tiles), np.array(1))
    first = graph.add("Mul", graph.add("Unsqueeze", first, int64(0)), int64(step))
    places = graph.add("Add", first, np.arange(size)[:, None])
    tiled = graph.add("Gather", graph.add("Pad", mel, pads), places, axis=0)
    spectra = graph.add("MatMul", _narrow(analysis), graph.add("Reshape", tiled, int64(size, -1)))
    spectra = graph.add("Reshape", spectra, int64(products, -1, MEL))

    def branch(number: int, bands: int) -> str:
        kernel, sign = _signed(weights, number)
        transformed = _narrow(np.einsum("pt,tbf->pbf", kernels, kernel[:, :, 0]))
        filters, best = kernel.shape[-1], ""
        for band in range(MEL - bands + 1):
            first, last = _after(graph, best, band, band + bands)
            seen = graph.add("Slice", spectra, first, last, int64(2))
            flat = graph.add("Reshape", graph.add("MatMul", seen, transformed), int64(products, -1))
            here = graph.add("MatMul", _narrow(synthesis), flat)
            best = graph.add("Max", best, here) if best else here
        best = graph.add("Reshape", best, int64(step, -1, filters))
        best = graph.add("Transpose", best, perm=[1, 0, 2])
        best = graph.add("Reshape", best, int64(-1, filters))
        best = graph.add("Slice", best, int64(0), frames, int64(0))
        return _activated(graph, weights, number, best, sign)

    return [branch(0, 38), branch(1, 67)]


def fourier_products(
    size: int, taps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return matrices with which a correlation is few products of real numbers.

    ``y[i] = sum(x[i + t] * w[t])`` for ``size - taps + 1`` places ``i`` is
    ``synthesis @ ((analysis @ x) * (kernels @ w))``. Products of complex numbers take three
    real ones: with ``p = ac``, ``q = bd`` and ``r = (a + b)(c + d)``, the real part is
    ``p - q`` and the imaginary one ``r - p - q``.
    """
    places, bins = np.arange(size), np.arange(size // 2 + 1)
    waves = np.exp(-2j * np.pi * np.outer(bins, places) / size)
    back = np.conj(waves[:, : size - taps + 1]) / size
    analysis, kernels, synthesis = [], [], []
    for number, (wave, inverse) in enumerate(zip(waves, back, strict=True)):
        kernel = np.conj(wave[:taps])
        if number in (0, size // 2):  # real
            analysis.append(wave.real)
            kernels.append(kernel.real)
            synthesis.append(inverse.real)
            continue
        real, imaginary = 2 * inverse.real, 2 * inverse.imag  # the bin and its mirror
        analysis += [wave.real, wave.imag, wave.real + wave.imag]
        kernels += [kernel.real, kernel.imag, kernel.real + kernel.imag]
        synthesis += [real + imaginary, imaginary - real, -imaginary]
    return np.array(analysis), np.array(kernels), np.array(synthesis).T


def _temporal_branches(graph: GraphBuilder, weights: Weights, mel: str) -> list[str]:
    """Add the branches (frames, 51) with kernels of 128, 64 and 32 frames and one band."""
    bands = graph.add("Unsqueeze", graph.add("Transpose", mel, perm=[1, 0]), int64(1))

    def branch(number: int) -> str:
        kernel, sign = _signed(weights, number)
        taps = len(kernel)
        before = (taps - 1) // 2  # of an even kernel TensorFlow pads one more behind
        filters = _narrow(kernel[:, 0].transpose(2, 1, 0))
        best = ""
        for band in range(0, MEL, _BANDS):
            first, last = _after(graph, best, band, band + _BANDS)
            part = graph.add("Slice", bands, first, last, int64(0))
            seen = graph.add("Conv", part, filters, pads=[before, taps - 1 - before])
            here = graph.add("ReduceMax", seen, int64(0), keepdims=0)
            best = graph.add("Max", best, here) if best else here
        best = graph.add("Transpose", best, perm=[1, 0])
        return _activated(graph, weights, number, best, sign)

    return [branch(number) for number in (2, 3, 4)]


def _after(graph: GraphBuilder, value: str, *numbers: int) -> list[Value]:
    """Return numbers that are known only when ``value`` is.

    onnxruntime would compute the products of all mel positions first and their maximum then, in
    ten times the memory.
    """
    if not value:
        return [int64(number) for number in numbers]
    zero = graph.add("Mul", graph.add("Shape", value, start=0, end=1), int64(0))
    return [graph.add("Add", zero, int64(number)) for number in numbers]


def _middle(graph: GraphBuilder, weights: Weights, front: str) -> list[str]:
    """Add three residual convolutions (1, 64, frames); return them after the front-end."""
    layers, below = [front], front
    for number in (5, 6, 7):
        kernel = _narrow(weights[f"{_name('conv2d', number)}/kernel"][:, :, 0].transpose(2, 1, 0))
        bias = _narrow(weights[f"{_name('conv2d', number)}/bias"])
        scale, shift = (_narrow(values[:, None]) for values in _batch_norm(weights, number + 1))
        seen = graph.add("Relu", graph.add("Conv", below, kernel, bias, pads=[3, 3]))
        seen = graph.add("Add", graph.add("Mul", seen, scale), shift)
        below = seen if below == front else graph.add("Add", seen, below)
        layers.append(below)
    return layers


def _cells(graph: GraphBuilder, channels: str, frames: str) -> str:
    """Add maxima and means (cells, 1506) over cells of channels (753, frames)."""
    cells = graph.add("Div", graph.add("Add", frames, int64(CELL - 1)), int64(CELL))
    missing = graph.add("Sub", graph.add("Mul", cells, int64(CELL)), frames)
    pads = graph.add("Concat", int64(0, 0, 0), missing, axis=0)

    def pooled(operation: str, fill: float, values: str, pads: str, axes: tuple[int, ...]) -> str:
        padded = graph.add("Pad", values, pads, float32(fill))
        cut = graph.add("Reshape", padded, int64(*axes, -1, CELL))
        return graph.add(operation, cut, int64(len(axes) + 1), keepdims=0)

    maxima = pooled("ReduceMax", -3e38, channels, pads, (CHANNELS,))
    sums = pooled("ReduceSum", 0.0, channels, pads, (CHANNELS,))
    ones = graph.add("Expand", np.ones(1, np.float32), frames)
    counts = pooled("ReduceSum", 0.0, ones, graph.add("Concat", int64(0), missing, axis=0), ())
    both = graph.add("Concat", maxima, graph.add("Div", sums, counts), axis=0)
    return graph.add("Transpose", both, perm=[1, 0])


def head(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Return the dense layers after the pooling, each as one matrix and one bias.

    ``summary``: from a pooled vector (1506,), maxima and then means where the original
    interleaves them, to the hidden layer (200,) before its ReLU. ``tags``: from there, after
    the ReLU, to logits (50,).
    """
    order = np.arange(2 * CHANNELS).reshape(CHANNELS, 2).T.ravel()
    scale, shift = _batch_norm(weights, 9)
    kernel = weights["dense/kernel"]
    arrays = {
        "summary": (kernel * scale[:, None])[order],
        "summary_bias": shift @ kernel + weights["dense/bias"],
    }
    scale, shift = _batch_norm(weights, 10)
    kernel = weights["dense_1/kernel"]
    arrays |= {
        "tags": kernel * scale[:, None],
        "tags_bias": shift @ kernel + weights["dense_1/bias"],
    }
    return {name: np.ascontiguousarray(_narrow(values)) for name, values in arrays.items()}


# --- layers ---


def _name(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _batch_norm(weights: Weights, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift of a batch norm in use, epsilon 1e-3."""
    gamma, beta, mean, variance = (
        weights[f"{_name('batch_normalization', number)}/{value}"]
        for value in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + 1e-3)
    return scale, beta - mean * scale


def _signed(weights: Weights, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a kernel whose maximum over mel positions is the one after ReLU and batch norm.

    Both are monotone: they may follow the maximum, but where a filter's batch norm has a negative
    scale the minimum is wanted, which is the maximum of the negated filter.
    """
    scale, _ = _batch_norm(weights, number + 1)
    sign = np.where(scale < 0, -1.0, 1.0)
    return weights[f"{_name('conv2d', number)}/kernel"] * sign, sign


def _activated(
    graph: GraphBuilder, weights: Weights, number: int, best: str, sign: NDArray[np.float64]
) -> str:
    """Add bias, ReLU and batch norm after the maximum over mel positions, (frames, filters)."""
    bias = _narrow(weights[f"{_name('conv2d', number)}/bias"])
    scale, shift = map(_narrow, _batch_norm(weights, number + 1))
    seen = graph.add("Add", graph.add("Mul", best, _narrow(sign)), bias)
    return graph.add("Add", graph.add("Mul", graph.add("Relu", seen), scale), shift)


def _narrow(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


# --- TensorFlow's checkpoints ---
#
# A table of LevelDB: blocks of (key, value) with prefixes left out, an index block that points
# at them, and a footer that points at the index. A value is a small protobuf that says where
# in the data file a tensor lies (tensorflow/core/protobuf/tensor_bundle.proto).

_FOOTER, _MAGIC, _FLOAT = 48, 0xDB4775248B80FB57, 1


def read_checkpoint(index: bytes, data: bytes) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield (name, values) of each float tensor of a TensorFlow checkpoint."""
    if int.from_bytes(index[-8:], "little") != _MAGIC:
        raise ValueError("not the index of a checkpoint")
    footer = index[-_FOOTER:]
    _, _, at = _handle(footer, 0)
    for _, pointer in _block(index, *_handle(footer, at)[:2]):
        for name, entry in _block(index, *_handle(pointer, 0)[:2]):
            stated = dict(_fields(entry))
            if not name or stated[1] != _FLOAT:
                continue
            shape = [dict(_fields(axis))[1] for _, axis in _fields(stated.get(2, b""))]
            first = stated.get(4, 0)
            values = np.frombuffer(data[first : first + stated[5]], "<f4")
            yield name.decode(), values.reshape(shape).astype(np.float64)


def _block(table: bytes, first: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block = table[first : first + size]
    restarts = int.from_bytes(block[-4:], "little")
    at, end, key = 0, len(block) - 4 * (restarts + 1), b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    first, at = _varint(data, at)
    size, at = _varint(data, at)
    return first, size, at


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if key & 7 == 2 else (4, at)
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


if __name__ == "__main__":
    main()
