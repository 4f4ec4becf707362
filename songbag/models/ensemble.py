"""Several networks as one: their outputs averaged, window by window."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from songbag.models.networks import SongNetwork
from songbag.models.pooling import SongPooling, centred


class Ensemble(nn.Module):
    """Song networks that hear the same windows, in the place of one `SongNetwork`.

    Logits are centred over classes before they are averaged, so that contributions of
    windows average too: whatever adds up for every member adds up for all together.

    Parameters
    ----------
    branches : sequence of sequences of SongNetwork
        Members of one kind each; a branch says the mean of what its members say.
    weights : sequence of float
        What each branch's outputs are multiplied with before they are added.
    pooling : SongPooling
        Tells logits from scores.
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
        """Return outputs (songs, windows, classes + k) of songs cut at the same starts.

        Parameters
        ----------
        frames : Tensor, shape (songs, frames, bands)
        starts : Tensor of int64, shape (windows,)
            First frames, multiples of ``time_stride``.
        """
        return self._mean([member.song(frames, starts) for member in self.members])

    def _mean(self, outputs: Sequence[Tensor]) -> Tensor:
        found = (torch.stack(list(outputs), dim=-1) @ self.weights).squeeze(-1)
        logits = centred(found[..., : self.pooling.classes], self.pooling.multilabel)
        return torch.cat([logits, found[..., self.pooling.classes :]], dim=-1)
