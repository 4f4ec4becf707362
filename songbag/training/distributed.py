"""Several processes train one network, as ``torchrun`` starts them.

Every process (a *rank*) has the same weights and meets its share of the songs of each
batch; losses are divided by the whole batch, and gradients added up before each step. So
the step is that of one process. Not by torch's wrapper for this, which knows only
``forward``: a trunk shared over a song is called in another way.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed as together, nn

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

    def share(self, songs: Indices, lanes: Indices | None = None) -> tuple[Indices, float]:
        """Return this rank's songs of a batch, and what their losses count.

        Parameters
        ----------
        lanes : ndarray, shape (songs,), optional
            Lane of each song of the batch: then a rank takes whole lanes, its own shards.

        Where a rank would have none, all ranks take the whole batch, and it counts less:
        the same sums, and no rank waits for one that has nothing to say.
        """
        if self.count == 1:
            return songs, 1.0
        owner = (np.arange(len(songs)) if lanes is None else lanes) % self.count
        if len(np.unique(owner)) < self.count:
            return songs, 1 / self.count
        return songs[owner == self.rank], 1.0

    def add_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks, in one message."""
        if self.count == 1:
            return
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.reshape(-1) for weight in weights if weight.grad is not None])
        together.all_reduce(flat)
        parts = torch.split(flat, [weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight).clone()

    def added(self, *values: float) -> list[float]:
        """Return the sums of values over the ranks."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        together.all_reduce(sums)
        return [float(value) for value in sums]

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order."""
        found = [value] * self.count
        if self.count > 1:
            together.all_gather_object(found, value)
        return found


def joined() -> Ranks:
    """Return this process's rank, joining the others if ``torchrun`` started several."""
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return Ranks()
    if not together.is_initialized():
        together.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    found = Ranks(together.get_rank(), together.get_world_size())
    if found.device.type == "cuda":
        torch.cuda.set_device(found.device)
    return found


class SharedNorm(nn.BatchNorm2d):
    """Batch norm over the windows of all ranks; in evaluation the ordinary one."""

    def _get_name(self) -> str:
        return "BatchNorm2d"

    def forward(self, values: Tensor) -> Tensor:
        """Return values (windows, channels, ...) normalised by the whole batch."""
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


def share_norms(network: nn.Module) -> None:
    """Put a `SharedNorm` in the place of every batch norm of a network."""
    for name, layer in list(network.named_children()):
        if type(layer) is nn.BatchNorm2d:
            norm = SharedNorm(layer.num_features, layer.eps, layer.momentum)
            norm.load_state_dict(layer.state_dict())
            setattr(network, name, norm)
        else:
            share_norms(layer)
