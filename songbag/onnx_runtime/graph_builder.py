"""Build ONNX graphs: each method that adds an operation returns the name of its output."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper

IR_VERSION = 10  # read by onnxruntime since 1.18 and by onnxruntime-web

Value: TypeAlias = str | NDArray[Any]  # a name in the graph, or a constant
Axes: TypeAlias = tuple[str | int, ...]  # a name where the length varies


class GraphBuilder:
    """An ONNX graph that operations are added to; included graphs must have the same ``opset``.

    Examples
    --------
    >>> builder = GraphBuilder(opset=20)
    >>> twice = builder.add("Mul", "x", float32(2.0))
    >>> [node.op_type for node in builder.model({"x": ("n",)}, {"y": (twice, ("n",))}).graph.node]
    ['Mul', 'Identity']
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self._graph = onnx.GraphProto(name="songbag")
        self._constants: dict[tuple[Any, ...], str] = {}

    def add(self, operation: str, *inputs: Value, **attributes: Any) -> str:
        """Add one operation and return the name of its output."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = f"{operation.lower()}_{len(self._graph.node)}"
        self._graph.node.append(
            helper.make_node(operation, names, [output], name=output, **attributes)
        )
        return output

    def include(
        self, model: onnx.ModelProto, name: str, inputs: Mapping[str, str]
    ) -> dict[str, str]:
        """Add all nodes of another graph, and return the name here of each of its outputs.

        ``name`` becomes the prefix of its names; ``inputs`` gives a value of this graph for each of
        its inputs.
        """
        needed = {value.name for value in model.graph.input}
        if needed != set(inputs):
            raise ValueError(f"the graph {name} takes {sorted(needed)}, not {sorted(inputs)}.")
        other = compose.add_prefix(without_traces(model), f"{name}/").graph
        for theirs, ours in inputs.items():
            self._rename(ours, f"{name}/{theirs}")
        self._graph.node.extend(other.node)
        self._graph.initializer.extend(other.initializer)
        return {value.name: f"{name}/{value.name}" for value in model.graph.output}

    def model(
        self,
        inputs: Mapping[str, Axes],
        outputs: Mapping[str, tuple[str, Axes]],
        integer_inputs: tuple[str, ...] = (),
    ) -> onnx.ModelProto:
        """Return the finished model, checked by ``onnx.checker``.

        Inputs and outputs are float32, ``integer_inputs`` int64. ``outputs`` gives the value in
        the graph and the axes of each output.
        """
        for name, axes in inputs.items():
            self._graph.input.append(_value_info(name, axes, name in integer_inputs))
        for name, (value, axes) in outputs.items():
            self._rename(value, name)
            self._graph.output.append(_value_info(name, axes))
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(self._graph, opset_imports=[opset], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _rename(self, value: str, name: str) -> None:
        self._graph.node.append(helper.make_node("Identity", [value], [name], name=name))

    def _constant(self, values: NDArray[Any]) -> str:
        """Return the name of a constant; equal constants are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = name
            values = np.ascontiguousarray(values).reshape(values.shape)
            self._graph.initializer.append(numpy_helper.from_array(values, name))
        return self._constants[key]


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the program that wrote a graph says of itself, such as paths of its source."""
    graphs = [model.graph, *model.functions]
    for part in (
        *graphs,
        *(node for graph in graphs for node in graph.node),
        *model.graph.value_info,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    return model


def int64(*numbers: int) -> NDArray[np.int64]:
    """Return a constant of shape (numbers,)."""
    return np.array(numbers, dtype=np.int64)


def float32(number: float) -> NDArray[np.float32]:
    """Return a constant of shape ()."""
    return np.array(number, dtype=np.float32)


def _value_info(name: str, axes: Axes, integers: bool = False) -> onnx.ValueInfoProto:
    kind = onnx.TensorProto.INT64 if integers else onnx.TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, list(axes))
