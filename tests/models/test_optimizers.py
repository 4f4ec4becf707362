"""Optimizers without torch's wrappers move weights as torch's do, and import no compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from songbag.models import optimizers
from songbag.settings import Training


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_weights_move_as_with_torchs_optimizers(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    other, x = copy.deepcopy(network), torch.randn(4, 5)
    options = {"lr": 0.05, "weight_decay": 0.1}
    ours = getattr(optimizers, name)(network.parameters(), **options)
    theirs = getattr(torch.optim, name)(other.parameters(), **options)
    for _ in range(5):
        for module, optimizer in ((network, ours), (other, theirs)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for mine, yours in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_training_does_not_import_torchs_compiler():
    code = (
        "import sys, torch\n"
        "from songbag.models import optimizers\n"
        "from songbag.settings import Training\n"
        "for name in ('rmsprop', 'sgd', 'adamw'):\n"
        "    layer = torch.nn.Linear(2, 1)\n"
        "    moved = optimizers.build_optimizer(layer, Training(optimizer=name))\n"
        "    layer(torch.ones(1, 2)).sum().backward()\n"
        "    moved.step()\n"
        "    moved.load_state_dict(moved.state_dict())\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_weight_decay_acts_on_matrices_only():
    settings = Training(weight_decay=0.02)
    groups = optimizers.build_optimizer(nn.Linear(3, 2), settings).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [
        (1, 0.02),
        (1, 0),
    ]
