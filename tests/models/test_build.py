"""Networks built for songs: scaled by them, and for windows whose bands come first."""

import numpy as np
import pytest
import torch

from songbag.data.bag import Bag
from songbag.data.song import Song
from songbag.models import build
from songbag.settings import Own, Training
from tests.helpers.networks import mean_logit


def window_bags(count, shape):
    """Bags of three windows each, as of a table, whose values are far from zero."""
    rng = np.random.default_rng(0)
    for number in range(count):
        windows = rng.normal(40, 7, (3, *shape)).astype(np.float32)
        yield Bag(Song(str(number), ""), windows)


@pytest.mark.parametrize("name", ["cnn", "statistics"])
def test_matrices_of_a_table_have_their_bands_first(name):
    scale = (torch.full((20,), 2.0), torch.full((20,), 3.0)) if name == "cnn" else None
    torch.manual_seed(0)
    plain = build.build(name, (50, 20), mean_logit(3), 0.0, scale).eval()
    torch.manual_seed(0)
    turned = build.build(name, (20, 50), mean_logit(3), 0.0, scale, bands_first=True).eval()
    windows = torch.randn(4, 20, 50)
    with torch.no_grad():
        torch.testing.assert_close(turned(windows), plain(windows.transpose(1, 2)))
    assert turned.time_stride is None


def test_a_network_is_scaled_by_its_songs_unless_it_scales_its_features():
    bags = list(window_bags(5, (6,)))
    network = build.network_for(bags, Training(network="mlp"), (6,), mean_logit(3), Own())
    scaled = next(part for part in network.modules() if isinstance(part, build.Standardised))
    values = np.concatenate([bag.features for bag in bags])
    np.testing.assert_allclose(scaled.mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaled.deviation, values.std(axis=0), rtol=1e-4)
    linear = build.network_for(bags, Training(network="linear"), (6,), mean_logit(3), Own())
    assert not any(isinstance(part, build.Standardised) for part in linear.modules())
    means = np.stack([bag.features.mean(axis=0) for bag in bags])
    np.testing.assert_allclose(linear.network.head.mean, means.mean(axis=0), rtol=1e-5)


def test_values_that_never_change_are_not_divided_by_zero():
    bags = [Bag(Song("one", ""), np.full((3, 2), 5.0, np.float32))]
    mean, deviation = build.scale_of(bags)
    assert mean.tolist() == [5, 5] and deviation.tolist() == [1, 1]
