"""Build networks for songs: by name or a user's own, scaled by the training songs."""

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
from songbag.models import kernel_machine, linear_solver
from songbag.models.encoded import OnCells, view_of
from songbag.models.kernel_machine import KernelFeatures
from songbag.models.linear_solver import linear_head, song_features, standardise
from songbag.models.networks import with_scorer
from songbag.models.song_network import Ensemble, SongNetwork, SongPooling
from songbag.parts import NetworkPart, PoolingPart, networks, poolings
from songbag.settings import Own, Sound, Training

# What gives linear networks their weights at once, by the name of the optimizer.
SOLVERS = {"lbfgs": linear_solver, "ridge": kernel_machine}
_SONGS_TO_SCALE_BY = 4096


def song_pooling(name: str, own: Own, classes: int, kind: LabelKind) -> SongPooling:
    """Return the named pooling, or the user's, for a task."""
    part = poolings()[name] if own.pooling is None else PoolingPart(name="own", target=own.pooling)
    return SongPooling(part, classes, kind)


def network_for(
    bags: Sequence[Bag],
    training: Training,
    window_shape: Sequence[int],
    pooling: SongPooling,
    own: Own,
    sound: Sound | None = None,
) -> SongNetwork:
    """Return the untrained network of a training, scaled by its songs; the user's if there is one.

    The pooling says how many outputs and scores a window needs.
    """
    if own.network is not None:
        return build_own(own.network, window_shape, pooling, sound)
    part, scale = training.network_part, None
    # Matrices of a table are (bands, frames); frames cut from audio (frames, bands).
    bands_first = bags[0].starts is None and part.takes == "matrix"
    if part.scaled:
        mean, deviation = scale_of(bags, axis=1 if bands_first else -1)
        if sound is not None and sound.encoding:
            mean, deviation = scale_of_view(mean, deviation, part, sound)
        scale = torch.from_numpy(mean), torch.from_numpy(deviation)
    network = build(
        training.network, window_shape, pooling, training.dropout, scale, bands_first, sound
    )
    head = linear_head(network)
    if head is not None and isinstance(head.features, KernelFeatures):
        head.features.place(bags, network.window_shape[0])
    if head is not None and not training.uses_solver:  # the solver scales the same features
        standardise(head, song_features(network, bags))
    return network


def build(
    name: str,
    window_shape: Sequence[int],
    pooling: SongPooling,
    dropout: float = 0.0,
    scale: tuple[Tensor, Tensor] | None = None,
    bands_first: bool = False,
    sound: Sound | None = None,
) -> SongNetwork:
    """Return a network by name for windows of ``window_shape``.

    ``scale`` is the mean and deviation of the training songs, per band; None leaves the input as
    it is. With ``bands_first`` windows are (bands, frames), as in a table.
    """
    if bands_first:
        bands, frames = window_shape
        inner = build(name, (frames, bands), pooling, dropout, scale)
        return SongNetwork(_BandsFirst(inner), window_shape)
    view, shape = None, tuple(window_shape)
    if sound is not None and sound.encoding:
        view, shape = view_of(networks()[name], sound, window_shape)
    network = _by_name(name, shape, pooling.outputs, dropout)
    network = with_scorer(network, pooling.part.scorer, pooling.heads, pooling.classes)
    if view is not None:
        whole = SongNetwork(network, shape)  # runs trunk and head on each window
        layers = [whole] if scale is None else [Standardised(*scale), whole]
        network = OnCells(view, nn.Sequential(*layers))
    elif scale is not None:
        if getattr(network, "time_stride", None) is None:
            network = nn.Sequential(Standardised(*scale), network)
        else:
            assert isinstance(network.trunk, nn.Module)
            network.trunk = nn.Sequential(Standardised(*scale), network.trunk)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return SongNetwork(network, window_shape)


def time_stride(name: str, window_shape: Sequence[int]) -> int | None:
    """Return the frames between positions of a named network's trunk, None without a trunk."""
    stride: int | None = getattr(_by_name(name, window_shape, 1, 0.0), "time_stride", None)
    return stride


def _by_name(name: str, window_shape: Sequence[int], outputs: int, dropout: float) -> nn.Module:
    part = networks()[name]
    options = {"dropout": dropout} if part.accepts("dropout") else {}
    network: nn.Module = part.load()(window_shape, outputs, **options)
    return network


def build_own(
    own: Any, window_shape: Sequence[int], pooling: SongPooling, sound: Sound | None = None
) -> SongNetwork:
    """Return a user's network for songs: a module (copied), or a callable that makes one.

    A Keras model whose last layer is a softmax or sigmoid gives probabilities; their
    logarithms or logits are taken, so that every network here gives logits. Outputs that are not
    one row a window, with one column a class, raise TrainingError.
    """
    outputs, cells = pooling.outputs, tuple(window_shape)
    view = None
    if sound is not None and sound.encoding:
        view, window_shape = view_of(NetworkPart(name="own"), sound, window_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras 3 copies with old NumPy calls
        is_module = isinstance(own, nn.Module)
        network = copy.deepcopy(own) if is_module else own(tuple(window_shape), outputs)
    if any(kind.__module__.startswith("keras.") for kind in type(network).__mro__):
        layers = getattr(network, "layers", None)
        last = layers[-1] if isinstance(layers, list) and layers else None
        activation = getattr(getattr(last, "activation", None), "__name__", "")
        network = _Keras(network, activation)
    network.eval()
    for count in (2, 1):
        with torch.no_grad():
            shape = _tried("network", network, torch.zeros(count, *window_shape))
        if shape not in {(count, outputs), (count, pooling.classes)}:
            raise TrainingError(
                f"the network turns {count} windows of shape {tuple(window_shape)} into "
                f"{shape}; needed is ({count}, {outputs}), one row a window."
            )
    network = with_scorer(network, pooling.part.scorer, pooling.heads, pooling.classes)
    if view is not None:
        network = OnCells(view, network)
    return SongNetwork(network, cells)


def require_usable(own: Own, pooling: SongPooling) -> None:
    """Try a user's pooling and loss on two songs of one window, and of two.

    Raises TrainingError if they fail, or what they return has another shape than is needed.
    """
    classes = pooling.classes
    if own.pooling is not None:
        for count in (1, 2):
            logits = torch.zeros(2, count, classes)
            shape = _tried("pooling", own.pooling, logits)
            if shape != (2, classes):
                raise TrainingError(
                    f"the pooling turns logits (songs, windows, classes) of shape "
                    f"{tuple(logits.shape)} into {shape}; needed is (2, {classes}), one row a song."
                )
    if own.loss is not None:
        y = torch.zeros((2, classes) if pooling.kind.multilabel else 2, dtype=torch.int64)
        shape = _tried("loss", own.loss, torch.zeros(2, classes, requires_grad=True), y)
        if shape not in {(), (2,)}:
            raise TrainingError(
                f"the loss of 2 songs has the shape {shape}; needed is () or (2,), a loss a song."
            )


def _tried(what: str, part: Any, *inputs: Tensor) -> tuple[int, ...]:
    """Return the shape of what a user's part makes of inputs."""
    shapes = " and ".join(str(tuple(each.shape)) for each in inputs)
    try:
        output = part(*inputs)
    except Exception as error:
        raise TrainingError(
            f"the {what} fails on an input of shape {shapes} ({type(error).__name__}: {error}). "
            "It must take any number of songs and windows, one included."
        ) from error
    if not isinstance(output, Tensor):
        raise TrainingError(
            f"the {what} returns a {type(output).__name__} for an input of shape {shapes}; needed "
            "is a tensor of torch."
        )
    return tuple(output.shape)


class Standardised(nn.Module):
    """Subtract and divide by fixed values per band: the training songs' mean and deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, frames: Tensor) -> Tensor:
        return (frames - self.mean) / self.deviation


class _BandsFirst(nn.Module):
    """A network for windows of a table, which are (bands, frames) as librosa gives them."""

    def __init__(self, network: SongNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.network(windows.transpose(1, 2))
        return outputs


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


def layer_table(network: nn.Module) -> list[dict[str, Any]]:
    """Return one row for each layer that holds parameters or pools: name, layer, parameters.

    The members of a branch of an `Ensemble` are alike: one row stands for all.
    """
    rows: list[dict[str, Any]] = []
    if isinstance(network, Ensemble):
        for members in network.branches:
            for row in layer_table(members[0]):
                layer, count = row["layer"], row["parameters"]
                times = f"{len(members)} x " if len(members) > 1 else ""
                rows.append(row | {"layer": f"{times}{layer}", "parameters": count * len(members)})
        return rows
    network = network.network if isinstance(network, SongNetwork) else network
    for name, layer in network.named_modules():
        if any(True for _ in layer.children()) or type(layer).__name__.startswith("_"):
            continue
        count = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        rows.append({"name": name, "layer": str(layer), "parameters": count})
    return rows


def scale_of_view(
    mean: NDArray[np.float32], deviation: NDArray[np.float32], part: NetworkPart, sound: Sound
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of what a network sees of cells, from those of all their values."""
    encoding = sound.encoding
    assert encoding is not None
    if part.takes != "matrix":
        return mean[: encoding.values], deviation[: encoding.values]
    means, squares = (
        values[encoding.values :].reshape(encoding.levels, -1)
        for values in (mean, deviation**2 + mean**2)
    )
    overall = means.mean(axis=0)
    return overall, np.sqrt(squares.mean(axis=0) - overall**2)


def scale_of(
    bags: Sequence[Bag], axis: int = -1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation over all songs of each value along one axis.

    One pass, exact up to 4,096 songs. Of more songs so many are taken at even distances, which
    moves the two by about a sixtieth of the spread between songs.
    """
    count, width = 0, bags[0].features.shape[axis]
    total, squares = np.zeros(width), np.zeros(width)
    songs = np.linspace(0, len(bags) - 1, min(len(bags), _SONGS_TO_SCALE_BY)).astype(int)
    for song in songs.tolist():
        values = np.moveaxis(bags[song].features, axis, -1).reshape(-1, width).astype(np.float64)
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + (values**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # A value that never changes carries nothing: leave it at zero instead of dividing by it.
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    return mean.astype(np.float32), deviation.astype(np.float32)
