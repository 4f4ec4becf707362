"""Networks: what looks at one window.

A network is an ``nn.Module`` with two parts and a number:

``trunk``
    (songs, frames, bands) -> (songs, positions, ...), without padding in time.
``head``
    (windows, positions of one window, ...) -> (windows, outputs).
``time_stride``
    Frames between two positions of the trunk. Windows that start on its multiples can
    share one run of the trunk over the whole song, with exactly the result of running
    it on each window. None: it cannot be shared.

`SongNetwork` runs either way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from songbag.models.scorers import both_classes


class SongNetwork(nn.Module):
    """A window network applied to songs: for every window logits, then a scorer's scores.

    Parameters
    ----------
    network : nn.Module
        With ``trunk``, ``head`` and ``time_stride``, or any module from windows
        (windows, ...) to outputs (windows, outputs).
    window_shape : (frames, bands), or the shape of one window of a table
    """

    def __init__(self, network: nn.Module, window_shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.window_shape = tuple(window_shape)
        self.time_stride: int | None = getattr(network, "time_stride", None)
        self.positions = self.window_shape[0]
        if self.time_stride is not None:
            network.eval()  # in training mode this would move batch norm's averages
            with torch.no_grad():
                self.positions = self._part("trunk")(torch.zeros(1, *self.window_shape)).shape[1]

    def forward(self, windows: Tensor) -> Tensor:
        """Return outputs (windows, classes + k) of windows (windows, *window_shape)."""
        if self.time_stride is None:
            return both_classes(self.network(windows))
        return both_classes(self._part("head")(self._part("trunk")(windows)))

    def song(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Return outputs (songs, windows, classes + k) of songs cut at the same starts.

        Parameters
        ----------
        frames : Tensor, shape (songs, frames, bands)
        starts : Tensor of int64, shape (windows,)
            First frames, multiples of ``time_stride``.
        """
        stride = self.time_stride or 1
        seen = frames if self.time_stride is None else self._part("trunk")(frames)
        steps = torch.arange(self.positions, device=starts.device)
        # Truncated, exactly; a division of integers is seven operations in ONNX instead of three.
        index = (starts.double() / stride).long().unsqueeze(1) + steps
        # Not seen[:, index]: that costs 6 % of a founding training, as much of its run in ONNX.
        cut = seen.index_select(1, index.flatten()).reshape(-1, self.positions, *seen.shape[2:])
        head = self.network if self.time_stride is None else self._part("head")
        outputs = both_classes(head(cut))  # (songs * windows, classes + k)
        return outputs.reshape(frames.shape[0], index.shape[0], outputs.shape[-1])

    def _part(self, name: str) -> nn.Module:
        part = getattr(self.network, name)
        assert isinstance(part, nn.Module)
        return part


class _Image(nn.Module):
    """(songs, frames, bands) -> (songs, 1, first bands, frames), as convolutions want it."""

    def __init__(self, bands: int | None = None) -> None:
        super().__init__()
        self.bands = bands

    def forward(self, frames: Tensor) -> Tensor:
        image = frames.transpose(1, 2)[:, : self.bands].unsqueeze(1)  # in this order ONNX is quick
        return image.contiguous(memory_format=torch.channels_last)


class _Positions(nn.Module):
    """(songs, channels, bands, positions) -> (songs, positions, channels, bands)."""

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2)


# --- the founding network ---------------------------------------------------------------


class _FoundingFlatten(nn.Module):
    """Flatten in Keras's order (bands, positions, channels), so that weights compare."""

    def forward(self, positions: Tensor) -> Tensor:
        return positions.permute(0, 3, 1, 2).flatten(1)


class Founding(nn.Module):
    """The network of the founding question's answer, exactly.

    Convolutions *without* activation, valid padding, floor pooling, raw MFCC; Glorot
    uniform weights and zero biases as Keras makes them. 21,075 parameters for windows of
    216 frames of 13 MFCC and three classes.
    """

    time_stride = 6

    def __init__(self, window_shape: Sequence[int], outputs: int, hidden: int = 32) -> None:
        super().__init__()
        frames, bands = window_shape
        tall, wide = ((bands - 2) // 2 - 2) // 2, ((frames - 2) // 3 - 2) // 2
        # Floor pooling drops what the last bands make: of 13, the first 10 reach the head.
        self.trunk = nn.Sequential(
            _Image(4 * tall + 6),
            nn.Conv2d(1, 16, 3),
            nn.MaxPool2d((2, 3)),
            nn.Conv2d(16, 16, 3),
            nn.MaxPool2d((2, 2)),
            _Positions(),
        )
        if tall <= 0 or wide <= 0:
            raise ValueError(
                f"the founding network needs windows of at least 17 frames x 10 bands, "
                f"not {frames} x {bands}"
            )
        self.head = nn.Sequential(
            _FoundingFlatten(),
            nn.Linear(16 * tall * wide, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


# --- the better small networks ----------------------------------------------------------


class Cnn(nn.Module):
    """Four blocks of 3 x 3 convolution, pooling, batch norm and ReLU on log-mel windows.

    Padded over bands only, so the trunk can be shared over a song. Pooling comes before
    batch norm: it needs a quarter of the memory traffic, where the time goes. The head
    takes the mean over the remaining bands, then mean and maximum over the window.
    """

    def __init__(
        self,
        window_shape: Sequence[int],
        outputs: int,
        dropout: float = 0.0,
        channels: Sequence[int] = (16, 32, 64, 96),
    ) -> None:
        super().__init__()
        frames, bands = window_shape
        blocks: list[nn.Module] = []
        width, stride = 1, 1
        for wide in channels:
            if frames < 4 or bands < 2:
                break  # short windows and few bands get fewer blocks
            along = 1 if wide == channels[-1] else 2  # the last block keeps its positions
            blocks += [
                nn.Conv2d(width, wide, 3, padding=(1, 0), bias=False),
                nn.MaxPool2d((2, along)),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
            ]
            frames, bands, width, stride = (frames - 2) // along, bands // 2, wide, stride * along
        self.time_stride = stride
        self.trunk = nn.Sequential(_Image(), *blocks, _Positions())
        self.head = nn.Sequential(_Summary(), nn.Dropout(dropout), nn.Linear(2 * width, outputs))


class Cnn1d(nn.Module):
    """Three blocks of convolution over time alone, the bands being channels [1]_.

    Where `Cnn` looks for shapes in time and pitch, this one sees each moment's whole
    spectrum at once. The head is the same.

    References
    ----------
    .. [1] Dieleman, Schrauwen (2014), End-to-end learning for music audio, ICASSP, section 3.2.
    """

    def __init__(
        self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0, wide: int = 96
    ) -> None:
        super().__init__()
        frames, tall = window_shape
        blocks: list[nn.Module] = []
        width, stride = 1, 1
        for along in (2, 2, 1):  # the last block keeps its positions
            if frames < 4:
                break  # short windows get fewer blocks
            blocks += [
                nn.Conv2d(width, wide, (tall, 3), bias=False),
                nn.MaxPool2d((1, along)),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
            ]
            frames, tall, width, stride = (frames - 2) // along, 1, wide, stride * along
        self.time_stride = stride
        self.trunk = nn.Sequential(_Image(), *blocks, _Positions())
        self.head = nn.Sequential(_Summary(), nn.Dropout(dropout), nn.Linear(2 * width, outputs))


class _Summary(nn.Module):
    """(windows, positions, channels, bands) -> mean and maximum over positions, flat."""

    def forward(self, positions: Tensor) -> Tensor:
        means = positions.mean(dim=3)
        return torch.cat([means.mean(dim=1), means.amax(dim=1)], dim=1)


# --- a vector a window ------------------------------------------------------------------


class Mlp(nn.Module):
    """Two hidden layers on a window's values, for vectors and small matrices."""

    time_stride = None

    def __init__(
        self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0, hidden: int = 64
    ) -> None:
        super().__init__()
        values = 1
        for size in window_shape:
            values *= size
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(values, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Return outputs (windows, outputs) of windows (windows, ...)."""
        outputs: Tensor = self.layers(windows)
        return outputs
