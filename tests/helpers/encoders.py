"""A small encoder in an ONNX file, as somebody else might bring one."""

import json

import onnx

from songbag.onnx_runtime.graph_builder import GraphBuilder, int64

STATED = {"sample_rate": 8000, "window": 4000, "hop": 2000}


def write_encoder(path, model=None, stated=STATED, beside=True):
    """Write mean, loudest, lowest and highest sample of a piece as an encoder."""
    onnx.save(model or statistics(), path)
    if beside:
        path.with_suffix(".json").write_text(json.dumps(stated))
    return path


def statistics(window=STATED["window"]):
    graph = GraphBuilder(20)
    reduced = [
        graph.add("ReduceMean", "samples", int64(1), keepdims=1),
        graph.add("ReduceMax", graph.add("Abs", "samples"), int64(1), keepdims=1),
        graph.add("ReduceMin", "samples", int64(1), keepdims=1),
        graph.add("ReduceMax", "samples", int64(1), keepdims=1),
    ]
    output = graph.add("Concat", *reduced, axis=1)
    return graph.model({"samples": ("pieces", window)}, {"vectors": (output, ("pieces", 4))})
