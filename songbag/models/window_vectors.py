"""Vectors that describe windows whatever the labels are, beside the outputs of a network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from songbag.models.encoded import PooledCells, hidden_view
from songbag.models.gaussian import Gaussian
from songbag.models.song_network import Ensemble, SongNetwork
from songbag.settings import Sound


class Moments(nn.Module):
    """Mean and deviation over time: (windows, frames, bands) -> (windows, 2 * bands)."""

    def forward(self, windows: Tensor) -> Tensor:
        return torch.cat([windows.mean(dim=1), windows.std(dim=1, correction=0)], dim=1)


def describe_windows(sound: Sound | None, window_shape: Sequence[int]) -> tuple[nn.Module, int]:
    """Return what turns windows (windows, *window_shape) into vectors, and their length.

    With an encoder these are its hidden layer, where it is known, or its vectors; else the
    moments of frames, or the values of a table's window.
    """
    if sound is None and len(window_shape) != 2:
        return nn.Flatten(), math.prod(window_shape)
    if sound is None or sound.encoding is None:
        return Moments(), 2 * window_shape[-1]
    return hidden_view(sound) or (PooledCells(sound.encoding), sound.encoding.values)


class Whitened(nn.Module):
    """Vectors of windows, white under a `Gaussian`; a missing value is the mean."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, vectors: nn.Module, gaussian: Gaussian) -> None:
        super().__init__()
        self.vectors = vectors
        self.register_buffer("mean", torch.from_numpy(gaussian.mean), persistent=False)
        self.register_buffer("matrix", torch.from_numpy(gaussian.matrix), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        away = self.vectors(windows) - self.mean
        return torch.where(torch.isnan(away), torch.zeros_like(away), away) @ self.matrix


class WithVectors(nn.Module):
    """A song network whose outputs are followed by white vectors, in the place of the network."""

    def __init__(self, network: SongNetwork | Ensemble, vectors: Whitened) -> None:
        super().__init__()
        self.network = network
        self.vectors = SongNetwork(vectors, network.window_shape)
        self.window_shape = network.window_shape

    def forward(self, windows: Tensor) -> Tensor:
        """Return outputs and vectors (windows, classes + k + values) of windows."""
        return torch.cat([self.network(windows), self.vectors(windows)], dim=-1)

    def song(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Return outputs and vectors (songs, windows, classes + k + values) of songs."""
        parts = self.network.song(frames, starts), self.vectors.song(frames, starts)
        return torch.cat(parts, dim=-1)
