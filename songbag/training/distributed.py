"""Train one network in several processes, as ``torchrun`` starts them.

Every process (a *rank*) has the same weights and takes its share of the songs of each batch;
losses are divided by the whole batch, and gradients summed over the ranks before each step, so
that the step is that of one process. torch's own wrapper for this calls only ``forward``: it
cannot run a trunk that is shared over a song.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from songbag.parallel.pool import world_size

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))

    def split_batch(self, songs: Indices, lanes: Indices | None = None) -> tuple[Indices, float]:
        """Return this rank's songs of a batch, and the weight of their losses.

        With the lane of each song, a rank takes whole lanes: its own shards. Where a rank would
        have no songs, all ranks take the whole batch with less weight: the same sums, without a
        rank that has no gradients.
        """
        if self.count == 1:
            return songs, 1.0
        owner = (np.arange(len(songs)) if lanes is None else lanes) % self.count
        if len(np.unique(owner)) < self.count:
            return songs, 1 / self.count
        return songs[owner == self.rank], 1.0

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks, in one message."""
        if self.count == 1:
            return
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.reshape(-1) for weight in weights if weight.grad is not None])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight).clone()

    def all_sum(self, *values: float) -> list[float]:
        """Return the sums of values over the ranks."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order."""
        values = [value] * self.count
        if self.count > 1:
            torch.distributed.all_gather_object(values, value)
        return values


def join_ranks() -> Ranks:
    """Return this process's rank, joining the others if ``torchrun`` started several."""
    if world_size() == 1:
        return Ranks()
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    ranks = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
    return ranks


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the windows of all ranks; in evaluation the ordinary one.

    torch's own class of this name needs GPUs.
    """

    def _get_name(self) -> str:
        return "BatchNorm2d"

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        from torch.distributed.nn import functional as differentiable

        axes = [axis for axis in range(values.ndim) if axis != 1]
        count = values.new_tensor([values.numel() / values.shape[1]])
        parts = torch.cat([values.sum(axes), (values**2).sum(axes), count])
        sums = differentiable.all_reduce(parts)  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        mean, square = (sums[:-1] / total).chunk(2)
        variance = square - mean**2
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            unbiased = variance * total / (total - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        shape = [1, -1] + [1] * (values.ndim - 2)
        scale = self.weight * (variance + self.eps).rsqrt()
        normal: Tensor = values * scale.view(shape) + (self.bias - mean * scale).view(shape)
        return normal


def synchronise_norms(network: nn.Module) -> None:
    """Put a `SyncBatchNorm` in the place of every batch norm of a network."""
    for name, layer in list(network.named_children()):
        if type(layer) is nn.BatchNorm2d:
            norm = SyncBatchNorm(layer.num_features, layer.eps, layer.momentum)
            norm.load_state_dict(layer.state_dict())
            setattr(network, name, norm)
        else:
            synchronise_norms(layer)
