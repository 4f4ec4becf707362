"""Networks on whole songs: shared trunks, batches, ensembles."""

import pytest
import torch

from songbag.models import build
from songbag.models.song_network import Ensemble, both_classes, song_logits
from songbag.training.to_onnx import export_network
from tests.helpers.networks import BANDS, SHAPES, frame_bags, mean_logit


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_shared_trunk_equals_every_window_alone(name):
    torch.manual_seed(0)
    shape = SHAPES[name]
    network = build.build(
        name, shape, mean_logit(3), 0.3, (torch.zeros(shape[1]), torch.ones(shape[1]))
    ).eval()
    stride = network.time_stride or 1
    frames = torch.randn(2, shape[0] + 500, shape[1])
    starts = torch.arange(0, 500, 5 * stride)
    with torch.no_grad():
        shared = network.song(frames, starts)
        cut = torch.stack([frames[:, s : s + shape[0]] for s in starts], dim=1)
        alone = network(cut.flatten(0, 1)).reshape(shared.shape)
    assert (shared - alone).abs().max() <= 1e-5


def test_two_classes_are_one_sigmoid():
    z = torch.linspace(-30, 30, 13)[:, None]
    both = both_classes(z)
    torch.testing.assert_close(both.softmax(-1)[:, 1:], torch.sigmoid(z))
    loss = torch.nn.functional.cross_entropy(both, torch.ones(13, dtype=torch.long))
    truth = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.ones(13, 1))
    torch.testing.assert_close(loss, truth)


def test_a_song_scores_alone_as_in_a_batch():
    bags, _ = frame_bags(9)
    torch.manual_seed(0)
    network = build.build("cnn", (44, 13), mean_logit(2), 0.0, None).eval()
    pooling = mean_logit(2)
    together = song_logits(network, pooling, bags)
    alone = torch.cat([song_logits(network, pooling, [bag]) for bag in bags])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.full
def test_an_ensemble_gives_the_weighted_mean_window_by_window():
    torch.manual_seed(0)
    scale = torch.zeros(BANDS), torch.ones(BANDS)
    pooling = mean_logit(3)
    networks = [
        build.build(name, (108, BANDS), pooling, 0.0, one).eval()
        for name, one in (("cnn", scale), ("cnn", scale), ("statistics", None))
    ]
    ensemble = Ensemble([networks[:2], networks[2:]], [0.5, 2.0], pooling).eval()
    assert ensemble.time_stride == networks[0].time_stride
    frames, starts = torch.randn(1, 400, BANDS), torch.arange(0, 200, 8)
    with torch.no_grad():
        each = [one.song(frames, starts) for one in networks]
        each = [one - one.mean(dim=-1, keepdim=True) for one in each]
        together = ensemble.song(frames, starts)
    wanted = 0.25 * each[0] + 0.25 * each[1] + 2.0 * each[2]
    assert (together - wanted).abs().max() <= 1e-4
    song = pooling.song(together)
    contributions = pooling.contributions(together, song)
    members_said = [pooling.contributions(one, pooling.song(one)) for one in each]
    average = 0.25 * members_said[0] + 0.25 * members_said[1] + 2.0 * members_said[2]
    assert (contributions - average).abs().max() <= 1e-5
    assert (contributions.sum(dim=1) - song).abs().max() <= 1e-5
    assert len(export_network(ensemble, True, 8)) > 10_000  # checked against torch on the way
