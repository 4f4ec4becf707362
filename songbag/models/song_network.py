"""Networks and poolings applied to whole songs.

`SongNetwork` gives the logits of a song's windows, `Ensemble` the mean of several networks', and
`SongPooling` makes the song's logits of them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.metrics.label_kinds import SINGLE_LABEL, LabelKind
from songbag.models.pooling import centred, probability
from songbag.parts import PoolingPart

_SONGS_AT_ONCE = 16  # without gradients


def both_classes(outputs: Tensor) -> Tensor:
    """Return one output z as the centred pair (-z/2, z/2), whose softmax is the sigmoid of z.

    Outputs (windows, classes) of several classes are returned as they are.
    """
    if outputs.shape[-1] > 1:
        return outputs
    return torch.cat([-outputs / 2, outputs / 2], dim=-1)


class SongNetwork(nn.Module):
    """A window network applied to songs: for every window logits, then the scores of a pooling.

    The network has ``trunk``, ``head`` and ``time_stride`` (see `songbag.models.networks`), or is
    any module from windows (windows, ...) to outputs (windows, outputs).
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
                trunk, _ = self._parts()
                self.positions = trunk(torch.zeros(1, *self.window_shape)).shape[1]

    def forward(self, windows: Tensor) -> Tensor:
        """Return outputs (windows, classes + k) of windows (windows, *window_shape)."""
        trunk, head = self._parts()
        return both_classes(head(trunk(windows)))

    def song(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Return outputs (songs, windows, classes + k) of songs cut at the same starts.

        ``frames`` are (songs, frames, bands), ``starts`` (windows,) first frames of windows,
        multiples of ``time_stride``.
        """
        trunk, head = self._parts()
        seen = trunk(frames)
        steps = torch.arange(self.positions, device=starts.device)
        # Truncated, exactly; a division of integers is seven operations in ONNX instead of three.
        index = (starts.double() / (self.time_stride or 1)).long().unsqueeze(1) + steps
        # Not seen[:, index]: that costs 6 % of a founding training, as much of its run in ONNX.
        cut = seen.index_select(1, index.flatten()).reshape(-1, self.positions, *seen.shape[2:])
        outputs = both_classes(head(cut))  # (songs * windows, classes + k)
        return outputs.reshape(frames.shape[0], index.shape[0], outputs.shape[-1])

    def _parts(self) -> tuple[Any, Any]:
        """Return trunk and head; where there is no trunk, the head is the whole network."""
        if self.time_stride is None:
            return lambda frames: frames, self.network
        return self.network.trunk, self.network.head


class SongPooling:
    """A pooling for a task: takes a network's outputs (songs, windows, classes + k).

    Examples
    --------
    >>> from songbag.parts import poolings
    >>> pooling = SongPooling(poolings()["mean_logit"], classes=2)
    >>> outputs = torch.tensor([[[-2.0, 2.0], [1.0, -1.0]]])  # one song of two windows
    >>> pooling.song(outputs)
    tensor([[-0.5000,  0.5000]])
    """

    def __init__(self, part: PoolingPart, classes: int, kind: LabelKind = SINGLE_LABEL) -> None:
        self.part, self.classes, self.kind = part, classes, kind
        self.pool, self.weights, self.left_out = map(part.load, ("target", "weights", "left_out"))
        self.wants_scores = part.accepts("scores", "multilabel")

    @property
    def outputs(self) -> int:
        """Outputs of a network: one z for two classes, else one a class or label."""
        return 1 if self.classes == 2 and not self.kind.multilabel else self.classes

    @property
    def heads(self) -> int:
        """Scores a window that the pooling wants from its scorer."""
        if self.part.scorer == "":
            return 0
        return self.classes if self.kind.multilabel else 1

    def logits(self, outputs: Tensor) -> Tensor:
        """Return the windows' logits (songs, windows, classes) without the scores."""
        return outputs[..., : self.classes]

    def song(self, outputs: Tensor) -> Tensor:
        """Return song logits (songs, classes)."""
        return self._apply(self.pool, outputs)

    def score(self, song: Tensor) -> Tensor:
        """Return song logits in the pooling's own space, (songs, classes)."""
        return song if self.part.space == "logit" else probability(song, self.kind.multilabel)

    def contributions(self, outputs: Tensor, score: Tensor) -> Tensor | None:
        """Return what each window adds to the score, (songs, windows, classes).

        They sum to the score over the windows where there is a space. Elsewhere, what the
        score loses without the window; None where that is found by pooling again.
        """
        logits = self.logits(outputs)
        if self.left_out is not None:
            without = self.score(self._apply(self.left_out, outputs))
            wide = score.unsqueeze(1).expand_as(without)
            count = torch.ones_like(logits).sum(dim=1, keepdim=True)
            return torch.where(count > 1, wide - without, wide)  # nothing left: all of it
        if self.weights is None:
            return None
        weights = self._apply(self.weights, outputs)
        if self.part.space == "logit":
            return weights * centred(logits, self.kind.multilabel)
        shares = weights * probability(logits, self.kind.multilabel)
        return shares if self.kind.multilabel else shares / shares.sum(dim=(1, 2), keepdim=True)

    def _apply(self, operator: Callable[..., Tensor], outputs: Tensor) -> Tensor:
        logits = self.logits(outputs)
        if not self.wants_scores:
            return operator(logits)
        scores, multilabel = outputs[..., self.classes :], self.kind.multilabel
        return operator(logits, scores=scores, multilabel=multilabel)


class Ensemble(nn.Module):
    """Song networks for the same windows, in the place of one `SongNetwork`.

    The outputs of a branch are the mean of its members'; those of the whole are the sum of the
    branches' times ``weights``. Logits are centred over classes, so that contributions of windows
    add up as the outputs do; ``pooling`` tells logits from scores.
    """

    weights: Tensor

    def __init__(
        self,
        branches: Sequence[Sequence[SongNetwork]],
        weights: Sequence[float],
        pooling: SongPooling,
    ) -> None:
        super().__init__()
        self.network = nn.ModuleList(nn.ModuleList(members) for members in branches)
        shares = [w / len(m) for w, m in zip(weights, branches, strict=True) for _ in m]
        # A column, which a matrix product takes as it is: an exported graph keeps its name.
        self.register_buffer("weights", torch.tensor(shares, dtype=torch.float32).unsqueeze(1))
        self.branches = branches
        self.members = [member for members in branches for member in members]
        self.pooling = pooling
        self.window_shape = self.members[0].window_shape
        strides = [member.time_stride for member in self.members]
        self.time_stride = math.lcm(*(stride or 1 for stride in strides)) if any(strides) else None

    def forward(self, windows: Tensor) -> Tensor:
        """Return outputs (windows, classes + k) of windows (windows, *window_shape)."""
        return self._mean([member(windows) for member in self.members])

    def song(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Return outputs (songs, windows, classes + k), as `SongNetwork.song`."""
        return self._mean([member.song(frames, starts) for member in self.members])

    def _mean(self, outputs: Sequence[Tensor]) -> Tensor:
        mean = (torch.stack(list(outputs), dim=-1) @ self.weights).squeeze(-1)
        logits = centred(mean[..., : self.pooling.classes], self.pooling.kind.multilabel)
        return torch.cat([logits, mean[..., self.pooling.classes :]], dim=-1)


def window_outputs(
    network: SongNetwork | Ensemble, groups: Sequence[batches.Group]
) -> list[Tensor]:
    """Return outputs (songs, windows, classes + k) of each group.

    Cut windows of all groups go through the network together, so that batch norm sees
    the whole batch and not one group of equally long songs, whose labels may be alike.
    """
    device = next(network.parameters()).device
    cut = [group for group in groups if isinstance(group, batches.Cut)]
    flat = [group.windows.reshape(-1, *network.window_shape) for group in cut]
    together: Iterator[Tensor] = iter(())
    if cut:
        outputs = network(torch.from_numpy(np.concatenate(flat)).to(device))
        together = iter(outputs.split([len(windows) for windows in flat]))
    of_groups = []
    for group in groups:
        if isinstance(group, batches.Shared):
            starts = torch.from_numpy(group.starts).to(device)
            of_groups.append(network.song(torch.from_numpy(group.frames).to(device), starts))
        else:
            shape = group.windows.shape[:2]
            of_groups.append(next(together).reshape(*shape, -1))
    return of_groups


def song_logits(
    network: SongNetwork | Ensemble, pooling: SongPooling, bags: Sequence[Bag]
) -> Tensor:
    """Return song logits (songs, classes) from all windows, in evaluation mode."""
    network.eval()
    logits = torch.zeros(len(bags), pooling.classes)
    frames, share = network.window_shape[0], network.time_stride is not None
    with torch.no_grad():
        for first in range(0, len(bags), _SONGS_AT_ONCE):
            songs = np.arange(first, min(first + _SONGS_AT_ONCE, len(bags)))
            groups = list(batches.groups(bags, songs, frames, share))
            for group, outputs in zip(groups, window_outputs(network, groups), strict=True):
                logits[torch.from_numpy(group.songs)] = pooling.song(outputs).float().cpu()
    return logits
