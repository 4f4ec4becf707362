"""Networks on the cells of an encoder."""

import numpy as np
import torch

from songbag.encoders.musicnn import load
from songbag.models import build
from songbag.models.encoded import Hidden, without_hidden
from songbag.models.linear_solver import linear_head
from tests.helpers.networks import mean_logit


def test_a_network_of_the_hidden_layer_is_one_of_the_vectors():
    sound, rng = load().sound, np.random.default_rng(0)
    network = build.build("probe", (4, sound.bands), mean_logit(3), sound=sound).eval()
    head = linear_head(network)
    head.mean.copy_(torch.from_numpy(rng.standard_normal(200)))
    head.deviation.copy_(torch.from_numpy(rng.uniform(0.5, 2, 200)))
    merged = without_hidden(network).eval()
    assert not any(isinstance(part, Hidden) for part in merged.modules())
    windows = torch.from_numpy(rng.uniform(0, 3, (5, 4, sound.bands)).astype(np.float32))
    with torch.no_grad():
        before, after = network(windows), merged(windows)
    assert before.std() > 0.1
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_other_networks_stay_as_they_are():
    sound = load().sound
    network = build.build("linear", (4, sound.bands), mean_logit(3), sound=sound)
    assert without_hidden(network) is network
