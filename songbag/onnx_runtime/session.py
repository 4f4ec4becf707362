"""Run ONNX graphs on one thread and within bounded memory."""

from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from songbag.errors import ModelFileError

_GRAPH_BYTES = 1 << 30  # memory for all graphs of this process


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Return a session for a graph, with one thread so that sums have a fixed order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; they need no second message
    options.add_session_config_entry("session.use_env_allocators", "1")
    _limit_memory()
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ModelFileError(f"a graph of the model cannot be run: {_first_line(error)}") from None


def run(
    session: onnxruntime.InferenceSession, inputs: dict[str, Any], *shapes: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Return all outputs of a graph, the first of which must have the given shapes."""
    try:
        outputs: list[NDArray[np.float32]] = session.run(None, inputs)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ModelFileError(f"the model cannot be run: {_first_line(error)}") from None
    if [output.shape for output in outputs[: len(shapes)]] != list(shapes):
        raise ModelFileError(
            f"the model computes shapes {[output.shape for output in outputs]} where its labels "
            f"need {list(shapes)}."
        )
    return outputs


@lru_cache(maxsize=1)
def _limit_memory() -> None:
    """Limit the memory of all sessions: a graph of a few bytes can ask for any amount."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(
        info, onnxruntime.OrtArenaCfg({"max_mem": _GRAPH_BYTES, "arena_extend_strategy": 1})
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
