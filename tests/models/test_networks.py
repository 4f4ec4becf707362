"""Networks of one window: the founding network exactly, the others at any size."""

import copy

import pytest
import torch
from torch import nn

from songbag.models import build, networks
from tests.helpers.networks import mean_logit


def test_the_founding_network_is_the_founding_network():
    network = networks.Founding((216, 13), 3)
    counts = [row["parameters"] for row in build.layer_table(network) if row["parameters"]]
    assert counts == [160, 2320, 17440, 1056, 99]
    assert sum(counts) == 21075
    kinds = [
        type(layer).__name__ for layer in network.trunk if not type(layer).__name__.startswith("_")
    ]
    assert kinds == ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d"]  # no activation in between
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            assert (layer.bias == 0).all()
            fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
            limit = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.9 * limit < layer.weight.abs().max() <= limit
    assert (
        build.build("founding", (216, 13), mean_logit(2), 0.0, None).network.head[-1].out_features
        == 1
    )


@pytest.mark.parametrize("bands", [10, 13, 14, 20, 24, 40])
def test_bands_that_reach_no_output_are_left_out_exactly(bands):
    torch.manual_seed(0)
    network = networks.Founding((216, bands), 3)
    whole = copy.deepcopy(network)
    whole.trunk[0].bands = None
    ours, theirs = (nn.Sequential(one.trunk, one.head) for one in (network, whole))
    windows = torch.randn(5, 216, bands, requires_grad=True)
    assert torch.equal(ours(windows), theirs(windows))
    theirs(windows).square().sum().backward()
    reach = windows.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert network.trunk[0].bands == 1 + int(reach.max())  # and not one more or less
    ours(windows.detach()).square().sum().backward()
    for mine, full in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, full.grad)


@pytest.mark.parametrize("frames", [3, 5, 20, 108, 500])
@pytest.mark.parametrize("bands", [1, 2, 13, 64, 128])
@pytest.mark.parametrize("name", ["cnn", "cnn1d"])
def test_the_cnns_take_windows_of_any_size(name, frames, bands):
    network = build.build(name, (frames, bands), mean_logit(3), 0.0, None).eval()
    assert network(torch.randn(2, frames, bands)).shape == (2, 3)


def test_too_small_windows_are_refused_by_the_founding_network():
    with pytest.raises(ValueError, match="at least 17 frames x 10 bands"):
        networks.Founding((10, 13), 3)
