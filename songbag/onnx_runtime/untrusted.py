"""What may be inside a model's parts: numbers and plain operations, nothing that leads out.

A graph is an ONNX protobuf. onnxruntime opens other files for tensors with "external
data", so a graph is looked through for them before onnxruntime sees it. That takes a walk
over field numbers only (the ``onnx`` package would cost the cold start 0.3 s): every
message that can hold a tensor or a node is entered, whatever else it holds.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from songbag.errors import ModelFileError

# Which fields of a message lead to which message, by the numbers in onnx.proto.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DOMAINS = (b"", b"ai.onnx")
_DEEPEST = 40  # messages in messages
_MOST_FIELDS = 1_000_000
_FLOATS: dict[Any, Any] = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType


def refuse_part(name: str, data: bytes) -> None:
    """Refuse a part that is damaged or could do more than compute.

    Raises
    ------
    ModelFileError
        Not ONNX or safetensors, tensors in other files, operations that are not ONNX's
        own, weights that are not numbers.
    """
    if name.endswith(".onnx"):
        _refuse_graph(name, data)
    if name.endswith(".safetensors"):
        _refuse_weights(name, data)


def _refuse_graph(name: str, data: bytes) -> None:
    if data[4:8] == b"ORTM":
        raise ModelFileError(f"{name} is in onnxruntime's own format; only ONNX is read.")
    try:
        _walk(name, "model", memoryview(data), 0, count())
    except (IndexError, ValueError, TypeError):
        raise ModelFileError(f"{name} is not an ONNX graph.") from None


def _walk(name: str, kind: str, data: memoryview, depth: int, fields: Iterator[int]) -> None:
    if depth > _DEEPEST:
        raise ModelFileError(f"{name} has graphs in graphs, deeper than any network needs.")
    if kind == "tensor":
        _refuse_tensor(name, data)
        return
    for number, value in _fields(data):
        if next(fields) > _MOST_FIELDS:
            raise ModelFileError(f"{name} has more operations than any network needs.")
        if kind == "node" and number == 7 and value not in _DOMAINS:
            said = bytes(value).decode(errors="replace")[:60]
            raise ModelFileError(f"{name} has an operation of '{said}'; only ONNX's own are run.")
        inner = _INSIDE[kind].get(number)
        if inner is not None:
            if not isinstance(value, memoryview):
                raise ValueError("a message was expected")
            _walk(name, inner, value, depth + 1, fields)


def _refuse_tensor(name: str, data: memoryview) -> None:
    found = dict(_fields(data))
    if 13 in found or found.get(14, 0) != 0:
        raise ModelFileError(f"{name} keeps weights in other files; a model file is read alone.")
    kind, raw = _FLOATS.get(found.get(2, 0)), found.get(9)
    values: list[Any] = [np.frombuffer(raw, kind)] if kind and raw is not None and len(raw) else []
    # The same field may be packed, or stand once a number.
    for number, value in _fields(data):
        if number in (4, 10):
            values.append(np.frombuffer(value, _FLOATS[1 if number == 4 else 11]))
    if any(np.isnan(one).any() for one in values):
        raise ModelFileError(f"{name} has weights that are not numbers (NaN).")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of a protobuf message: an int, or the bytes of the field."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)  # groups are not used by ONNX
        if size < 0 or number == 0 or place + size > len(data):
            raise ValueError("not a message")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number without an end")


def _refuse_weights(name: str, data: bytes) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{name} is not a safetensors file ({error}).") from None
    for tensor, values in weights.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelFileError(f"{name}: '{tensor[:80]}' holds what is not a number.")
