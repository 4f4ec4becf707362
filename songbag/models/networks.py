"""Networks of one window, and the scorers that some poolings add to them.

A network is any ``nn.Module`` from windows (windows, ...) to outputs (windows, outputs). Windows
that overlap can share its work if it has two parts and a number:

``trunk``
    (songs, frames, bands) -> (songs, positions, ...), without padding in time.
``head``
    (windows, positions of one window, ...) -> (windows, outputs).
``time_stride``
    Frames between two positions of the trunk. Windows that start on its multiples can
    share one run of the trunk over the whole song, with exactly the result of running
    it on each window. None, or no such attribute: it cannot be shared.

`songbag.models.song_network.SongNetwork` runs either way. `songbag.parts.networks` lists the
networks by name.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from songbag.models.song_network import both_classes


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


class _FoundingFlatten(nn.Module):
    """Flatten in Keras's order (bands, positions, channels), so that weights compare."""

    def forward(self, positions: Tensor) -> Tensor:
        return positions.permute(0, 3, 1, 2).flatten(1)


class Founding(nn.Module):
    """The network of the founding question's answer, exactly.

    Convolutions *without* activation, valid padding, floor pooling, raw MFCC; Glorot
    uniform weights and zero biases, which are Keras's defaults.
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
            convolution = nn.Conv2d(width, wide, 3, padding=(1, 0), bias=False)
            blocks += [convolution, nn.MaxPool2d((2, along)), nn.BatchNorm2d(wide), nn.ReLU()]
            frames, bands, width, stride = (frames - 2) // along, bands // 2, wide, stride * along
        self.time_stride = stride
        self.trunk = nn.Sequential(_Image(), *blocks, _Positions())
        self.head = nn.Sequential(_Summary(), nn.Dropout(dropout), nn.Linear(2 * width, outputs))


class Cnn1d(nn.Module):
    """Three blocks of convolution over time alone, the bands being channels.

    Where `Cnn` looks for shapes in time and pitch, this one sees each moment's whole spectrum at
    once (Dieleman, Schrauwen 2014, End-to-end learning for music audio, ICASSP, section 3.2). The
    head is the same.
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
            convolution = nn.Conv2d(width, wide, (tall, 3), bias=False)
            blocks += [convolution, nn.MaxPool2d((1, along)), nn.BatchNorm2d(wide), nn.ReLU()]
            frames, tall, width, stride = (frames - 2) // along, 1, wide, stride * along
        self.time_stride = stride
        self.trunk = nn.Sequential(_Image(), *blocks, _Positions())
        self.head = nn.Sequential(_Summary(), nn.Dropout(dropout), nn.Linear(2 * width, outputs))


class _Summary(nn.Module):
    """(windows, positions, channels, bands) -> mean and maximum over positions, flat."""

    def forward(self, positions: Tensor) -> Tensor:
        means = positions.mean(dim=3)
        return torch.cat([means.mean(dim=1), means.amax(dim=1)], dim=1)


class Mlp(nn.Module):
    """Two hidden layers on a window's values, for vectors and small matrices."""

    def __init__(
        self, window_shape: Sequence[int], outputs: int, dropout: float = 0.0, hidden: int = 64
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(window_shape), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.layers(windows)
        return outputs


# --- scorers ----------------------------------------------------------------------------
#
# A scorer takes the embedding of each window, the input of the network's last linear layer, and
# returns the scores (windows, k) that a pooling asks for.


class Evidence(nn.Module):
    """Embeddings (windows, values) to rows (windows, classes + k): logits, then scores."""

    def __init__(self, classifier: nn.Module, scorer: nn.Module) -> None:
        super().__init__()
        self.classifier, self.scorer = classifier, scorer

    def forward(self, embedding: Tensor) -> Tensor:
        logits = both_classes(self.classifier(embedding))
        return torch.cat([logits, self.scorer(embedding)], dim=-1)


class Attention(nn.Module):
    """Scores v' tanh(V h), or gated v' (tanh(V h) * sigmoid(U h)), of embeddings h.

    Equations 8 and 9 of Ilse, Tomczak, Welling (2018), Attention-based deep multiple instance
    learning, ICML. v starts at zero, so that the first step starts from the plain mean.
    """

    def __init__(self, values: int, heads: int, gated: bool, hidden: int = 32) -> None:
        super().__init__()
        self.seen = nn.Linear(values, hidden)
        self.gate = nn.Linear(values, hidden) if gated else None
        self.score = nn.Linear(hidden, heads)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        hidden = self.seen(embedding).tanh()
        if self.gate is not None:
            hidden = hidden * self.gate(embedding).sigmoid()
        scores: Tensor = self.score(hidden)
        return scores


class Number(nn.Module):
    """One learned number per head, the same for every window."""

    def __init__(self, heads: int, start: float) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.full((heads,), start))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.number.expand(embedding.shape[0], -1)


def with_scorer(network: nn.Module, scorer: str | float, heads: int, classes: int) -> nn.Module:
    """Return the network with a scorer beside its last linear layer, as a pooling asks for it.

    ``scorer`` is `songbag.parts.PoolingPart.scorer`, ``heads`` the scores per window. Without a
    linear layer the scorer sees the logits of the ``classes``.
    """
    if scorer == "":
        return network
    layers = dict(network.named_modules())
    linear = [name for name, layer in layers.items() if type(layer) is nn.Linear]
    classifier = layers[linear[-1]] if linear else nn.Identity()
    values = classifier.in_features if isinstance(classifier, nn.Linear) else classes
    scoring = (
        Number(heads, scorer)
        if isinstance(scorer, float)
        else Attention(values, heads, gated=scorer == "gated")
    )
    evidence = Evidence(classifier, scoring)
    if classifier is network:
        return evidence
    if not linear:
        return nn.Sequential(network, evidence)
    network.set_submodule(linear[-1], evidence)
    return network
