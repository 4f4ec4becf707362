"""How weights move: the optimiser and the schedule of its learning rate, by the settings."""

import torch

from songbag.learning.networks import SongNetwork
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
    if training.optimizer == "rmsprop":  # alpha and eps as Keras's default
        return torch.optim.RMSprop(parameters, rate, alpha=0.9, eps=1e-7)
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate)
    return torch.optim.AdamW(parameters, rate)


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
