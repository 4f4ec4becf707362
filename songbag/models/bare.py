"""torch's optimisers without the wrappers that keep its compiler out of their way.

The wrappers import that compiler, which takes as long as torch, and nothing here is compiled.
"""

from inspect import unwrap

import torch


class Optimizer(torch.optim.Optimizer):
    """What all have in common."""

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class SGD(Optimizer, torch.optim.SGD):
    """Stochastic gradient descent."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class AdamW(Optimizer, torch.optim.AdamW):
    """Adam with decoupled weight decay."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class LBFGS(Optimizer, torch.optim.LBFGS):
    """L-BFGS, whose step has no such wrapper."""
