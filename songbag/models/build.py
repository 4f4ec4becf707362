"""Networks made ready for songs: by name or a user's own, scaled, turned, with a scorer."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.data.bag import Bag
from songbag.errors import TrainingError
from songbag.metrics.label_kinds import LabelKind
from songbag.models.linear_solver import linear_head, song_features, standardise
from songbag.models.networks import with_scorer
from songbag.models.pooling import SongPooling
from songbag.models.song_network import Ensemble, SongNetwork
from songbag.parts import PoolingPart, networks, poolings
from songbag.settings import Own, Training


class Standardised(nn.Module):
    """Subtract and divide by fixed values per band: the training songs' mean and deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, frames: Tensor) -> Tensor:
        """Return frames (..., bands) with about zero mean and unit deviation."""
        return (frames - self.mean) / self.deviation


def build(
    name: str,
    window_shape: Sequence[int],
    pooling: SongPooling,
    dropout: float,
    scale: tuple[Tensor, Tensor] | None,
    bands_first: bool = False,
) -> SongNetwork:
    """Build a network by name for windows of ``window_shape``.

    Parameters
    ----------
    pooling : SongPooling
        Says how many outputs and scores a window needs.
    scale : (mean, deviation) or None
        Of the training songs per band; None leaves the input raw.
    bands_first : bool
        Whether windows are (bands, frames), as in a table, and not (frames, bands).
    """
    if bands_first:
        bands, frames = window_shape
        inner = build(name, (frames, bands), pooling, dropout, scale)
        return SongNetwork(_Turned(_Whole(inner.network)), window_shape)
    network = _named(name, window_shape, pooling.outputs, dropout)
    network = with_scorer(network, pooling.part.scorer, pooling.heads, pooling.classes)
    if scale is not None:
        network = _scaled(network, Standardised(*scale))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return SongNetwork(network, window_shape)


def network_for(
    bags: Sequence[Bag],
    training: Training,
    window_shape: Sequence[int],
    pooling: SongPooling,
    own: Own,
) -> SongNetwork:
    """Return the network that a training asks for, scaled by the songs it will learn from."""
    if own.network is not None:
        return build_own(own.network, window_shape, pooling)
    # Matrices of a table are (bands, frames); frames cut from audio (frames, bands).
    part, scale = training.network_part, None
    turned = bags[0].starts is None and part.takes == "matrix"
    if part.scaled:
        mean, deviation = scale_of(bags, axis=1 if turned else -1)
        scale = torch.from_numpy(mean), torch.from_numpy(deviation)
    network = build(training.network, window_shape, pooling, training.dropout, scale, turned)
    head = linear_head(network)
    if head is not None and training.optimizer != "lbfgs":  # solving scales by the same features
        standardise(head, song_features(network, bags))
    return network


def song_pooling(name: str, own: Own, classes: int, kind: LabelKind) -> SongPooling:
    """Return the named pooling, or the user's, for a task."""
    part = poolings()[name] if own.pooling is None else PoolingPart(name="own", target=own.pooling)
    return SongPooling(part, classes, kind)


def build_own(own: Any, window_shape: Sequence[int], pooling: SongPooling) -> SongNetwork:
    """Wrap a user's network: a module (copied), or a callable that makes one.

    A Keras model whose last layer is a softmax or sigmoid gives probabilities; their
    logarithms or logits are taken, so that every network here gives logits.
    """
    outputs = pooling.outputs
    made = isinstance(own, nn.Module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras 3 copies with old NumPy calls
        network = copy.deepcopy(own) if made else own(tuple(window_shape), outputs)
    from_keras = any(kind.__module__.startswith("keras.") for kind in type(network).__mro__)
    layers = getattr(network, "layers", None) if from_keras else None
    last = getattr(layers[-1], "activation", None) if isinstance(layers, list) and layers else None
    activation = getattr(last, "__name__", "")
    if from_keras:
        network = _Keras(network, activation)
    with torch.no_grad():
        found = network.eval()(torch.zeros(2, *window_shape))
    if tuple(found.shape) not in {(2, outputs), (2, pooling.classes)}:
        raise TrainingError(
            f"the network turns 2 windows of shape {tuple(window_shape)} into "
            f"{tuple(found.shape)}; needed is (2, {outputs}), one row a window."
        )
    network = with_scorer(network, pooling.part.scorer, pooling.heads, pooling.classes)
    return SongNetwork(network, window_shape)


class _Keras(nn.Module):
    """A Keras model as a torch module: told when it trains, and giving logits."""

    def __init__(self, network: nn.Module, activation: str) -> None:
        super().__init__()
        self.network, self.activation = network, activation

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.network(windows, training=self.training)
        if self.activation not in ("softmax", "sigmoid"):
            return outputs
        shares = outputs.clamp(1e-7, 1 - 1e-7)
        return shares.log() if self.activation == "softmax" else torch.logit(shares)


class _Whole(nn.Module):
    """Trunk and head in one, for windows that are not cut from frames."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        network = self.network
        if getattr(network, "time_stride", None) is None:
            outputs: Tensor = network(windows)
            return outputs
        trunk, head = network.trunk, network.head
        assert isinstance(trunk, nn.Module)
        assert isinstance(head, nn.Module)
        found: Tensor = head(trunk(windows))
        return found


class _Turned(nn.Module):
    """Matrices of a table, (bands, frames) as librosa gives them, to (frames, bands)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.network(windows.transpose(1, 2))
        return outputs


def _scaled(network: nn.Module, scale: Standardised) -> nn.Module:
    if getattr(network, "time_stride", None) is None:
        return nn.Sequential(scale, network)
    trunk = network.trunk
    assert isinstance(trunk, nn.Module)
    network.trunk = nn.Sequential(scale, trunk)
    return network


def time_stride(name: str, window_shape: Sequence[int]) -> int | None:
    """Return the frames between positions of a named network's trunk, None if not shared."""
    stride: int | None = getattr(_named(name, window_shape, 1, 0.0), "time_stride", None)
    return stride


def _named(name: str, window_shape: Sequence[int], outputs: int, dropout: float) -> nn.Module:
    part = networks()[name]
    options = {"dropout": dropout} if part.accepts("dropout") else {}
    network: nn.Module = part.load()(window_shape, outputs, **options)
    return network


def layer_table(network: nn.Module) -> list[dict[str, Any]]:
    """Return one row a layer that holds parameters or pools: name, layer, parameters.

    The members of a branch of an `Ensemble` are alike: one row stands for all.
    """
    if isinstance(network, Ensemble):
        found = []
        for members in network.branches:
            for row in layer_table(members[0]):
                layer, count = row["layer"], row["parameters"]
                times = f"{len(members)} x " if len(members) > 1 else ""
                found.append(row | {"layer": f"{times}{layer}", "parameters": count * len(members)})
        return found
    network = network.network if isinstance(network, SongNetwork) else network
    rows: list[dict[str, Any]] = []
    for name, layer in network.named_modules():
        if any(True for _ in layer.children()) or type(layer).__name__.startswith("_"):
            continue
        count = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        rows.append({"name": name, "layer": str(layer), "parameters": count})
    return rows


# --- scaling ---
#
# Mean and deviation of what a network hears, from one pass over the songs.


_SCALED_BY = 4096  # songs that give mean and deviation


def scale_of(
    bags: Sequence[Bag], axis: int = -1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation over all songs of each value along one axis.

    One pass, exact to 4,096 songs; of more, so many at even distances, which moves them by
    about a sixtieth of the spread between songs.
    """
    count, width = 0, bags[0].features.shape[axis]
    total, squares = np.zeros(width), np.zeros(width)
    for place in np.linspace(0, len(bags) - 1, min(len(bags), _SCALED_BY)).astype(int).tolist():
        values = np.moveaxis(bags[place].features, axis, -1).reshape(-1, width).astype(np.float64)
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + (values**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # A value that never changes carries nothing: leave it at zero instead of dividing by it.
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    return mean.astype(np.float32), deviation.astype(np.float32)
