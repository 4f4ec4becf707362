"""How weights move: the optimiser and the schedule of its learning rate, by the settings."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from songbag.models import bare
from songbag.models.song_network import SongNetwork
from songbag.settings import Training


def optimizer(network: SongNetwork, training: Training) -> torch.optim.Optimizer:
    """Return the optimiser of a network, decaying matrices only."""
    rate, decay = training.learning_rate, training.weight_decay
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]  # biases, norms: not decayed
    parameters = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    made: dict[str, Callable[..., torch.optim.Optimizer]]
    made = {"rmsprop": RMSprop, "sgd": bare.SGD, "adamw": bare.AdamW}
    return made[training.optimizer](parameters, rate)


class RMSprop(bare.Optimizer):
    """RMSprop as Keras has it: w -= rate g / sqrt(v + 1e-7), v the mean of g² with rho 0.9.

    torch's adds its epsilon outside of the root, so small gradients go other ways, and losses
    from equal weights part by a percent in a few epochs.
    """

    def __init__(self, parameters: Iterable[dict[str, Any]], rate: float) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in moved]
            if not moved:
                continue
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, moved, alpha=group["weight_decay"]))
            means = [self._mean(p) for p in moved]
            torch._foreach_mul_(means, 0.9)
            torch._foreach_addcmul_(means, gradients, gradients, 0.1)
            roots = torch._foreach_add(means, 1e-7)
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(moved, gradients, roots, -group["lr"])

    def _mean(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        mean: Tensor = state["mean"]
        return mean


def schedule(
    optimizer: torch.optim.Optimizer, training: Training, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule over all epochs of ``steps`` steps."""
    total = training.epochs * steps
    if training.schedule == "onecycle":
        rate = training.learning_rate
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total + 1)
    if training.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
