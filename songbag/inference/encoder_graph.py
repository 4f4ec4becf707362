"""An encoder and what was learned on its embeddings, as one network of a model file."""

import numpy as np
import onnx

from songbag.errors import ExportError
from songbag.onnx_runtime.graph_builder import GraphBuilder, int64


def encoded_network(
    encoder: bytes, network: bytes, window_frames: int, width: int, samples: int
) -> bytes:
    """Return ``network.onnx`` from frames of samples to outputs of windows.

    Parameters
    ----------
    encoder : bytes
        A graph from (windows, samples) to embeddings (windows, values).
    network : bytes
        A graph from embeddings to ``outputs`` (windows, classes + k).
    window_frames, width : int
        Frames of a window, and samples of a frame.
    samples : int
        Of a window that the encoder takes.

    Raises
    ------
    ExportError
        The encoder uses operations that are not ONNX's own, or cannot be brought to the
        network's version of them.
    """
    head = onnx.load_model_from_string(network)
    opset = head.opset_import[0].version
    body = _brought_to(onnx.load_model_from_string(encoder), opset)
    nodes = GraphBuilder(opset)
    places = nodes.add("Add", nodes.add("Unsqueeze", "starts", int64(1)), np.arange(window_frames))
    cut = nodes.add("Gather", "frames", places, axis=0)
    flat = nodes.add("Reshape", cut, int64(0, window_frames * width))
    samples_used = nodes.add("Slice", flat, int64(0), int64(samples), int64(1))
    (given,), (made,) = body.graph.input, body.graph.output
    vectors = nodes.include(body, "encoder", {given.name: samples_used})[made.name]
    outputs = nodes.include(head, "network", {"windows": vectors})["outputs"]
    inputs = {"frames": ("frames", width), "starts": ("windows",)}
    classes = head.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model = nodes.model(inputs, {"outputs": (outputs, ("windows", classes))}, ("starts",))
    return bytes(model.SerializeToString())


def _brought_to(encoder: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the encoder in a version of the operations."""
    from onnx import version_converter

    domains = {one.domain for one in encoder.opset_import} - {"", "ai.onnx"}
    if domains or encoder.functions:
        raise ExportError(
            f"the encoder uses operations of {sorted(domains) or 'its own'}, not ONNX's. Export "
            "it with plain ONNX operations."
        )
    version = next(one.version for one in encoder.opset_import)
    if version == opset:
        return encoder
    try:
        return version_converter.convert_version(encoder, opset)
    except Exception as error:  # onnx raises a family of its own
        raise ExportError(
            f"the encoder is written in version {version} of ONNX's operations and cannot be "
            f"brought to {opset}: {str(error).strip().splitlines()[0]}. Export it with that one."
        ) from None
