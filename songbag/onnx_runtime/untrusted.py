"""Check the parts of a model file before they are used: numbers and ONNX's own operations only.

onnxruntime opens other files for tensors with "external data", so a graph is searched for
them before onnxruntime sees it. The search walks over the field numbers of the protobuf
messages and enters every message that can contain a tensor or a node. Parsing with the
``onnx`` package would add 0.3 s to the start of a prediction.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from songbag.errors import ModelFileError

# Fields that contain other messages, by the field numbers in onnx.proto.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DOMAINS = (b"", b"ai.onnx")
_MAX_DEPTH = 40  # messages in messages
_MAX_FIELDS = 1_000_000
_FLOATS: dict[Any, Any] = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType


def check_part(name: str, data: bytes) -> None:
    """Refuse a part of a model file that is damaged or could do more than compute.

    Raises
    ------
    ModelFileError
        Not ONNX or safetensors, tensors in other files, operations that are not ONNX's
        own, weights that are not finite.
    """
    if name.endswith(".onnx"):
        if data[4:8] == b"ORTM":
            raise ModelFileError(f"{name} is in onnxruntime's own format; only ONNX is read.")
        try:
            _walk(name, "model", memoryview(data), 0, count())
        except (IndexError, ValueError, TypeError):
            raise ModelFileError(f"{name} is not an ONNX graph.") from None
    if name.endswith(".safetensors"):
        _check_weights(name, data)


def _walk(name: str, kind: str, data: memoryview, depth: int, fields: Iterator[int]) -> None:
    """Check a protobuf message and the messages in it; ``fields`` counts all of them."""
    if depth > _MAX_DEPTH:
        raise ModelFileError(f"{name} has graphs in graphs, deeper than any network needs.")
    if kind == "tensor":
        _check_tensor(name, data)
        return
    for number, value in _fields(data):
        if next(fields) > _MAX_FIELDS:
            raise ModelFileError(f"{name} has more operations than any network needs.")
        if kind == "node" and number == 7 and value not in _DOMAINS:
            domain = bytes(value).decode(errors="replace")[:60]
            raise ModelFileError(f"{name} has an operation of '{domain}'; only ONNX's own are run.")
        child = _CHILDREN[kind].get(number)
        if child is not None:
            if not isinstance(value, memoryview):
                raise ValueError("a message was expected")
            _walk(name, child, value, depth + 1, fields)


def _check_tensor(name: str, data: memoryview) -> None:
    by_number = dict(_fields(data))
    if 13 in by_number or by_number.get(14, 0) != 0:
        raise ModelFileError(f"{name} keeps weights in other files; a model file is read alone.")
    values: list[Any] = []
    kind, raw = _FLOATS.get(by_number.get(2, 0)), by_number.get(9)
    if kind and raw is not None and len(raw):
        values.append(np.frombuffer(raw, kind))
    # float_data and double_data: one field with all numbers, or a field for each number.
    for number, value in _fields(data):
        if number in (4, 10):
            values.append(np.frombuffer(value, _FLOATS[1 if number == 4 else 11]))
    if any(np.isnan(part).any() for part in values):
        raise ModelFileError(f"{name} has weights that are not numbers (NaN).")


def _check_weights(name: str, data: bytes) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{name} is not a safetensors file ({error}).") from None
    for tensor, values in weights.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelFileError(f"{name}: '{tensor[:80]}' contains values that are not finite.")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of each field of a protobuf message; values are int or bytes.

    The encoding: https://protobuf.dev/programming-guides/encoding
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _varint(data, position)
        else:
            size = {1: 8, 5: 4}.get(wire_type, -1)  # ONNX does not use groups
        if size < 0 or number == 0 or position + size > len(data):
            raise ValueError("not a message")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number without an end")
