"""Optimizers and learning rate schedules by the settings of a training."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from songbag.models import bare_optimizers
from songbag.settings import Training


class RMSprop(bare_optimizers.Optimizer):
    """RMSprop as Keras has it: w -= rate g / sqrt(v + 1e-7), v the mean of g² with rho 0.9 [1]_.

    torch's adds its epsilon outside of the root, which moves small gradients differently:
    losses from equal weights differ by a percent after a few epochs.

    References
    ----------
    .. [1] Tieleman, Hinton (2012), Neural networks for machine learning, lecture 6.5.

    Examples
    --------
    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = RMSprop([{"params": [weight]}], rate=0.1)
    >>> (3 * weight).sum().backward()
    >>> optimizer.step()
    >>> weight.data  # 1 - 0.1 * 3 / sqrt(0.1 * 3²)
    tensor([0.6838])
    """

    def __init__(self, parameters: Iterable[dict[str, Any]], rate: float) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if group["weight_decay"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                state["mean"].mul_(0.9).addcmul_(gradient, gradient, value=0.1)
                root = state["mean"].add(1e-7).sqrt_()
                parameter.addcdiv_(gradient, root, value=-group["lr"])


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": bare_optimizers.AdamW,
    "rmsprop": RMSprop,
    "sgd": bare_optimizers.SGD,
}


def build_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimizer of a network; weight decay acts on matrices only.

    Examples
    --------
    >>> optimizer = build_optimizer(nn.Linear(3, 2), Training(weight_decay=0.02))
    >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
    [(1, 0.02), (1, 0.0)]
    """
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]  # biases and norms
    parameters = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[training.optimizer](parameters, training.learning_rate)


def build_schedule(
    optimizer: torch.optim.Optimizer, training: Training, steps: int
) -> lr_scheduler.LRScheduler:
    """Return the schedule of the learning rate over all epochs of ``steps`` steps."""
    total = training.epochs * steps
    if training.schedule == "onecycle":
        rate = training.learning_rate
        return lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total + 1)
    if training.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)
