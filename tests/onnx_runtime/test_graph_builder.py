"""Graphs that are built and graphs that are included compute what their operations say."""

import numpy as np
import pytest

from songbag.errors import ModelFileError
from songbag.onnx_runtime.graph_builder import GraphBuilder, float32, int64
from songbag.onnx_runtime.session import open_session, run


def doubled():
    builder = GraphBuilder(20)
    return builder.model({"x": ("n",)}, {"y": (builder.add("Mul", "x", float32(2)), ("n",))})


def test_an_included_graph_computes_as_alone_and_equal_constants_are_stored_once():
    builder = GraphBuilder(20)
    inner = builder.include(doubled(), "inner", {"x": "wave"})
    total = builder.add("ReduceSum", builder.add("Add", inner["y"], float32(1)), int64(0))
    total = builder.add("Add", total, float32(1))
    model = builder.model({"wave": ("n",)}, {"total": (total, (1,))})
    (found,) = run(
        open_session(model.SerializeToString()), {"wave": np.arange(3, dtype="f4")}, (1,)
    )
    assert found.tolist() == [2 * 3 + 3 + 1]
    assert len(model.graph.initializer) == 3  # 1, the axis, and the included graph's 2


def test_an_included_graph_needs_all_its_inputs():
    with pytest.raises(ValueError, match=r"the graph inner takes \['x'\], not \['z'\]"):
        GraphBuilder(20).include(doubled(), "inner", {"z": "wave"})


def test_other_shapes_and_damaged_graphs_are_refused():
    session = open_session(doubled().SerializeToString())
    with pytest.raises(ModelFileError, match="computes shapes"):
        run(session, {"x": np.zeros(3, np.float32)}, (2,))
    with pytest.raises(ModelFileError, match="cannot be run"):
        run(session, {"z": np.zeros(3, np.float32)})
    with pytest.raises(ModelFileError, match="cannot be run"):
        open_session(b"no graph")
