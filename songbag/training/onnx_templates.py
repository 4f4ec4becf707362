"""Cache exported graphs by the plan of their module, and fill in the weights of another one.

torch takes 4 seconds to export a network, a third of a short training (docs/decisions/0018).
The graph depends on all of a module but the values of its weights: its *plan*. So of a module
whose plan is known only the weights are written into the graph of the first one. Callers check
the result against torch, as any other graph.
"""

import copy
import hashlib
import importlib
import inspect
import io
import pickle
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from songbag import __version__
from songbag.storage.files import default_folder, write_bytes

_PACKAGES = ("songbag", "torch", "collections", "builtins", "numpy")  # whose code a plan knows

_templates: dict[str, bytes] = {}  # of this process, by plan


def plan_of(module: nn.Module, call: Any) -> str | None:
    """Return a hash of all that a module's graph depends on, without its weights' values.

    ``call`` is what else it depends on: examples, names of inputs, settings. None for modules
    with code of other packages, which may change while its names stay.
    """
    data = io.BytesIO()
    try:
        _PlanPickler(data).dump((torch.__version__, __version__, module, call))
    except Exception:  # of many types, for what cannot be pickled
        return None
    return hashlib.sha256(data.getvalue()).hexdigest()[:32]


class _PlanPickler(pickle.Pickler):
    """Replaces tensors by their shapes, and classes and functions by the hash of their source."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            fixed = None if value.is_floating_point() else value.tolist()
            return "tensor", tuple(value.shape), str(value.dtype), fixed
        if isinstance(value, type | FunctionType):
            name = f"{value.__module__}.{value.__qualname__}"
            if value.__module__.partition(".")[0] not in _PACKAGES or "<" in name:
                raise pickle.PicklingError(name)
            return name, _source_hash(value.__module__) if name.startswith("songbag.") else ""
        return None


@cache
def _source_hash(module: str) -> str:
    text = inspect.getsource(importlib.import_module(module))
    return hashlib.sha256(text.encode()).hexdigest()


def blank(module: nn.Module) -> nn.Module:
    """Return a copy whose weights all differ, so that no two become one in its graph."""
    copied, random = copy.deepcopy(module), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in copied.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape, generator=random))
    return copied


def fill(graph: bytes, module: nn.Module) -> bytes:
    """Return a graph with the weights of a module, by their names."""
    import onnx

    model, state = onnx.load_from_string(graph), module.state_dict()
    for weight in model.graph.initializer:
        if weight.name in state and state[weight.name].is_floating_point():
            values = state[weight.name].detach().contiguous().numpy()
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    data: bytes = model.SerializeToString()
    return data


def load(plan: str) -> bytes | None:
    """Return the graph that was saved for a plan, None without one."""
    if plan not in _templates:
        with suppress(OSError):
            _templates[plan] = _path(plan).read_bytes()
    return _templates.get(plan)


def save(plan: str, graph: bytes) -> None:
    """Save a graph for this process and, where the cache can be written, for later ones."""
    _templates[plan] = graph
    with suppress(OSError):
        write_bytes(_path(plan), graph)


def remove(plan: str) -> None:
    """Remove a graph that does not agree with its module."""
    _templates.pop(plan, None)
    with suppress(OSError):
        _path(plan).unlink(missing_ok=True)


def _path(plan: str) -> Path:
    return default_folder() / "graphs" / f"{plan}.onnx"
