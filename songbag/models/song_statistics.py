"""Networks with one linear layer on fixed features of a window.

With the mean of logits such a network is a linear model of the songs' mean features, so
`songbag.models.linear_solver` computes its best weights exactly, and each window still has
logits that add up to those of the song.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.audio.features import cepstrum_matrix

COEFFICIENTS = 20  # of the cepstrum whose covariance is taken
GROUPS = 16  # of bands whose modulation is taken
RATES = 12  # groups of modulation rates at most, evenly spaced on a log scale
FASTEST = 60  # periods a window
_QUIET = 1e-3  # dB² added to powers, before roots and logarithms


class LinearHead(nn.Module):
    """Fixed features of windows, standardised, then one linear layer.

    ``features`` turns windows (windows, ...) into (windows, values).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, features: nn.Module, values: int, outputs: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("deviation", torch.ones(values))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(values, outputs)

    def forward(self, windows: Tensor) -> Tensor:
        scaled: Tensor = (self.features(windows) - self.mean) / self.deviation
        outputs: Tensor = self.linear(self.dropout(scaled))
        return outputs


class Linear(nn.Module):
    """One linear layer on a window's values: for vectors a window, such as embeddings."""

    def __init__(self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = LinearHead(nn.Flatten(), math.prod(window_shape), outputs, dropout)

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.head(windows)
        return outputs


class Statistics(nn.Module):
    """One linear layer on `WindowStatistics` of log-mel windows."""

    time_stride = 1

    def __init__(self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        features = WindowStatistics(window_shape)
        self.trunk = nn.Identity()
        self.head = LinearHead(features, features.values, outputs, dropout)


class WindowStatistics(nn.Module):
    """Statistics of a window that do not depend on its loudness.

    Of log-mel frames in dB, (windows, frames, bands) -> (windows, values):

    - the mean over time of each band, less the mean of all (the spectrum's shape);
    - the deviation over time of each band, and of its step from frame to frame;
    - the skewness over time of each band: rare peaks above a floor, or rare gaps;
    - the covariance over time of the first 20 cepstral coefficients;
    - the modulation: how strongly each of 16 groups of bands swings at each of 12 groups
      of rates, or fewer in short windows (log power of its spectrum over time, Hann-windowed) [1]_.

    Means and covariances of timbre with a linear model are what song classification used
    before networks [2]_, and on a few hundred songs they are still as good.

    References
    ----------
    .. [1] McKinney, Breebaart (2003), Features for audio and music classification, ISMIR.
    .. [2] Mandel, Ellis (2005), Song-level features and support vector machines for music
       classification, ISMIR.
    """

    cepstrum: Tensor
    group: Tensor
    cosine: Tensor
    sine: Tensor
    rate: Tensor
    above: Tensor

    def __init__(self, window_shape: Sequence[int]) -> None:
        super().__init__()
        frames, bands = window_shape
        count = min(COEFFICIENTS, bands)
        self._buffer("cepstrum", cepstrum_matrix(bands, count))
        rows, columns = np.triu_indices(count)
        self.register_buffer("above", torch.from_numpy(rows * count + columns))
        self._buffer("group", _averages(np.linspace(0, bands, min(GROUPS, bands) + 1), bands))
        periods = np.arange(1, min(FASTEST, frames // 2) + 1)
        angle = 2 * np.pi / frames * np.outer(np.arange(frames), periods)
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames))[:, None]
        self._buffer("cosine", hann * np.cos(angle) / np.sqrt(frames))
        self._buffer("sine", hann * np.sin(angle) / np.sqrt(frames))
        edges = np.geomspace(1, len(periods) + 1, RATES + 1) - 1 if len(periods) else np.zeros(1)
        self._buffer("rate", _averages(edges, len(periods)))
        spectra = 4 * bands
        self.values = spectra + len(rows) + self.group.shape[1] * self.rate.shape[1]

    def _buffer(self, name: str, matrix: NDArray[np.floating]) -> None:
        self.register_buffer(name, torch.from_numpy(np.asarray(matrix, dtype=np.float32)))

    def forward(self, windows: Tensor) -> Tensor:
        """Return statistics (windows, values) of windows (windows, frames, bands)."""
        mean = windows.mean(dim=1, keepdim=True)
        swing = windows - mean
        step = windows[:, 1:] - windows[:, :-1] if windows.shape[1] > 1 else torch.zeros_like(swing)
        shape = (mean - mean.mean(dim=2, keepdim=True)).squeeze(1)
        spread = _deviation(swing)
        skewness = (swing**3).mean(dim=1) / (spread**3 + 1)
        timbre = swing @ self.cepstrum
        covariance = timbre.transpose(1, 2) @ timbre / swing.shape[1]
        triangle = covariance.flatten(1)[:, self.above]
        grouped = (swing @ self.group).transpose(1, 2)
        power = (grouped @ self.cosine).square() + (grouped @ self.sine).square()
        modulation = (power @ self.rate + _QUIET).log().flatten(1)  # bands x rates
        parts = [shape, spread, _deviation(step), skewness, triangle, modulation]
        return torch.cat(parts, dim=1)


def _deviation(values: Tensor) -> Tensor:
    """Return the deviation over time (windows, bands); its slope at zero is finite."""
    return (values.var(dim=1, correction=0) + _QUIET).sqrt()


def _averages(edges: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Return a matrix (size, groups) that averages what lies between edges, none empty."""
    whole = np.unique(np.round(edges).astype(int).clip(0, size))
    matrix = np.zeros((size, max(0, len(whole) - 1)))
    for column, (low, high) in enumerate(pairwise(whole)):
        matrix[low:high, column] = 1 / (high - low)
    return matrix
