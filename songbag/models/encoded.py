"""What networks see of songs that an encoder listens to: its vectors, or the levels beside them.

Windows are cells (windows, cells, bands): in each cell the encoder's vector, then mean spectra
(`songbag.settings.Encoding`). A network of vectors is given one vector a window, a network of
matrices the spectra as frames.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from songbag.encoders.known import find_encoder
from songbag.errors import TrainingError
from songbag.models.linear_solver import linear_head
from songbag.models.song_network import SongNetwork
from songbag.models.song_statistics import LinearHead
from songbag.parts import NetworkPart
from songbag.settings import Encoding, Sound


class PooledCells(nn.Module):
    """(windows, cells, bands) -> (windows, values): maxima of maxima, means of means."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.maxima, self.values = encoding.maxima, encoding.values

    def forward(self, windows: Tensor) -> Tensor:
        means = windows[:, :, self.maxima : self.values].mean(dim=1)
        if not self.maxima:
            return means
        return torch.cat([windows[:, :, : self.maxima].amax(dim=1), means], dim=1)


class Hidden(nn.Module):
    """The encoder's own hidden layer (windows, units), before its ReLU, of a pooled vector."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        super().__init__()
        # Not persistent: they are the encoder's, and in the graph of every model.
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors @ self.kernel + self.bias


class CellSpectra(nn.Module):
    """(windows, cells, bands) -> (windows, cells * levels, mel bands), dB."""

    def __init__(self, encoding: Encoding, bands: int) -> None:
        super().__init__()
        self.values, self.bands = encoding.values, bands

    def forward(self, windows: Tensor) -> Tensor:
        return windows[:, :, self.values :].reshape(windows.shape[0], -1, self.bands)


class OnCells(nn.Module):
    """A network behind its view of the cells; windows may begin at any cell."""

    time_stride = 1

    def __init__(self, view: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Identity()
        self.head = nn.Sequential(view, network)


def on_cells(network: SongNetwork, sound: Sound, window_shape: Sequence[int]) -> SongNetwork:
    """Return a network of the levels of cells (see `CellSpectra`) as one of cells."""
    assert sound.encoding is not None
    view = CellSpectra(sound.encoding, sound.frames.bands)
    return SongNetwork(OnCells(view, network), window_shape)


def without_hidden(network: SongNetwork) -> SongNetwork:
    """Return a linear network of the hidden layer as one of the vectors; others as they are.

    Before its ReLU the hidden layer is linear, and so are the two together. A model file is a
    megabyte smaller without it.
    """
    parts = list(network.modules())
    hidden = next((part for part in parts if isinstance(part, Hidden)), None)
    view = next((part for part in parts if isinstance(part, PooledCells)), None)
    head = linear_head(network)
    if hidden is None or view is None or head is None:
        return network
    weight = head.linear.weight.double() / head.deviation.double()
    units = hidden.bias.double() - head.mean.double()
    merged = LinearHead(view, hidden.kernel.shape[0], weight.shape[0])
    with torch.no_grad():
        merged.linear.weight.copy_(weight @ hidden.kernel.double().T)
        merged.linear.bias.copy_(head.linear.bias.double() + weight @ units)
    return SongNetwork(OnCells(nn.Identity(), merged), network.window_shape)


def hidden_view(sound: Sound) -> tuple[nn.Module, int] | None:
    """Return what turns cells into the encoder's hidden layer, and its units; None if unknown."""
    assert sound.encoding is not None
    head = find_encoder(sound).head
    if "summary" not in head:
        return None
    kernel, bias = (torch.from_numpy(head[name]) for name in ("summary", "summary_bias"))
    return nn.Sequential(PooledCells(sound.encoding), Hidden(kernel, bias)), kernel.shape[1]


def view_of(
    part: NetworkPart, sound: Sound, window_shape: Sequence[int]
) -> tuple[nn.Module, tuple[int, ...]]:
    """Return what turns cells into what a network takes, and the shape of that.

    Raises
    ------
    TrainingError
        The encoder has not what the network takes.
    """
    encoding = sound.encoding
    assert encoding is not None
    if part.takes == "matrix":
        if not encoding.levels:
            raise TrainingError(
                f"network '{part.name}' takes spectra, and the encoder '{encoding.name}' listens "
                "to samples: there are none. Use --network linear or mlp, or --encoder none."
            )
        bands = sound.frames.bands
        return CellSpectra(encoding, bands), (window_shape[0] * encoding.levels, bands)
    if part.takes != "hidden":
        return PooledCells(encoding), (encoding.values,)
    hidden = hidden_view(sound)
    if hidden is None:
        raise TrainingError(
            f"network '{part.name}' takes the hidden layer of an encoder, and '{encoding.name}' "
            "has none that is known. Use --network linear."
        )
    return hidden[0], (hidden[1],)
