"""Runs a model's graphs with ONNX Runtime: on one thread, within bounded memory."""

from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from songbag.errors import ModelFileError

_GRAPH_BYTES = 1 << 30


def run(
    session: onnxruntime.InferenceSession, inputs: dict[str, Any], *shapes: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Return all outputs of a graph, whose first ones must have these shapes.

    Raises
    ------
    ModelFileError
        It cannot be run, or computes other shapes.
    """
    try:
        found: list[NDArray[np.float32]] = session.run(None, inputs)
    except Exception as error:  # onnxruntime raises its own untyped family
        raise ModelFileError(f"the model cannot be run: {_first_line(error)}") from None
    if [one.shape for one in found[: len(shapes)]] != list(shapes):
        raise ModelFileError(
            f"the model computes shapes {[one.shape for one in found]} where its labels "
            f"need {list(shapes)}."
        )
    return found


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Return what runs a graph: on one thread, so that every sum has one order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    options.add_session_config_entry("session.use_env_allocators", "1")
    _cap_memory()
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own untyped family
        raise ModelFileError(f"a graph of the model cannot be run: {_first_line(error)}") from None


@lru_cache(maxsize=1)
def _cap_memory() -> None:
    """Let graphs have so much memory and no more: a few bytes can ask for all there is."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(
        info, onnxruntime.OrtArenaCfg({"max_mem": _GRAPH_BYTES})
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
