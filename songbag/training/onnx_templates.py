"""Graphs kept by the plan of the module they were made of, with the weights left open.

Exporting a module takes seconds, most of a short training, and depends on everything but
the values of its weights. So a module of a known plan needs only its weights written into
the graph of another one. Whoever uses that graph checks it against torch, as any other.
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
from songbag.audio.cache import default_folder
from songbag.storage.files import write_bytes

_ROOMS = ("songbag", "torch", "collections", "builtins", "numpy")  # whose code a plan knows


def plan_of(module: nn.Module, call: Any) -> str | None:
    """Return a name for all that makes a module's graph, its weights' values excepted.

    None for modules of a user's own code, which may change while its names stay.

    Parameters
    ----------
    call : anything that can be pickled
        What else the graph depends on: examples, names of inputs, settings.
    """
    text = io.BytesIO()
    try:
        _Plan(text).dump((torch.__version__, __version__, module, call))
    except Exception:  # pickle raises what it likes about what it cannot name
        return None
    return hashlib.sha256(text.getvalue()).hexdigest()[:32]


class _Plan(pickle.Pickler):
    """Names tensors by their shapes, and classes and functions by their source."""

    def persistent_id(self, value: Any) -> Any:
        """Return what stands for a value; None for values that stand for themselves."""
        if isinstance(value, Tensor):
            fixed = None if value.is_floating_point() else value.tolist()
            return "tensor", tuple(value.shape), str(value.dtype), fixed
        if isinstance(value, type | FunctionType):
            name = f"{value.__module__}.{value.__qualname__}"
            if value.__module__.partition(".")[0] not in _ROOMS or "<" in name:
                raise pickle.PicklingError(name)
            return name, _source(value.__module__) if name.startswith("songbag.") else ""
        return None


@cache
def _source(module: str) -> str:
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


def filled(graph: bytes, module: nn.Module) -> bytes:
    """Return a graph with the weights of a module, found by their names."""
    import onnx

    model, state = onnx.load_from_string(graph), module.state_dict()
    for held in model.graph.initializer:
        if held.name in state and state[held.name].is_floating_point():
            values = state[held.name].detach().contiguous().numpy()
            held.CopyFrom(onnx.numpy_helper.from_array(values, held.name))
    found: bytes = model.SerializeToString()
    return found


def kept(plan: str) -> bytes | None:
    """Return the graph of a plan, if it was kept."""
    if plan not in _known:
        with suppress(OSError):
            _known[plan] = _path(plan).read_bytes()
    return _known.get(plan)


def keep(plan: str, graph: bytes) -> None:
    """Keep a graph for this process and, where the cache can be written, for later ones."""
    _known[plan] = graph
    with suppress(OSError):
        write_bytes(_path(plan), graph)


def forget(plan: str) -> None:
    """Forget a graph that its module does not agree with."""
    _known.pop(plan, None)
    with suppress(OSError):
        _path(plan).unlink(missing_ok=True)


_known: dict[str, bytes] = {}


def _path(plan: str) -> Path:
    return default_folder() / "graphs" / f"{plan}.onnx"
