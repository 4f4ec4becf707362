"""The exact vote, against other ways of counting."""

import math

import numpy as np
import pytest
import torch

from songbag.models.vote import vote, vote_left_out


def pair(z):
    """Logits of two classes whose softmax is the sigmoid of z (songs, windows)."""
    return torch.stack([-z / 2, z / 2], dim=-1)


def log_majority(z):
    """The log-space recursion over windows: log P(more than half) and half of a tie."""
    yes, no = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    count = np.array([0.0])
    for y, n in zip(yes, no, strict=True):
        count = np.logaddexp(np.append(count + n, -np.inf), np.append(-np.inf, count + y))
    votes, half = np.arange(len(count)), len(z) / 2
    parts = np.concatenate([count[votes > half], count[votes == half] + math.log(0.5)])
    return np.logaddexp.reduce(parts)


@pytest.mark.parametrize("windows", [1, 2, 3, 22, 23, 150, 719, 2000, 5000])
@pytest.mark.parametrize(("centre", "spread"), [(0, 1), (0.3, 2), (-3, 0.5), (-9, 4), (20, 0)])
def test_the_vote_equals_the_recursion_over_windows(windows, centre, spread):
    if windows == 5000 and spread != 1:
        return  # the recursion takes a second there
    z = np.random.default_rng(windows).normal(centre, spread, windows)
    song = vote(pair(torch.from_numpy(z)[None]), torch.zeros(0), False)[0].log_softmax(-1)
    for found, truth in zip(song.tolist(), (log_majority(-z), log_majority(z)), strict=True):
        assert abs(found - truth) <= 1e-9 * max(1, abs(truth))  # relative even at exp(-40000)


def test_the_vote_saturates_with_the_length_of_the_song():
    """As the docs warn: windows are taken as independent."""
    for windows, chance in ((23, 0.69), (119, 0.86), (719, 0.996)):
        z = torch.full((1, windows), math.log(0.55 / 0.45), dtype=torch.float64)
        assert abs(vote(pair(z)).softmax(-1)[0, 1].item() - chance) < 0.005


@pytest.mark.parametrize(("classes", "multilabel"), [(2, False), (4, False), (2, True)])
def test_the_gradient_of_the_vote_is_its_derivative(classes, multilabel):
    rng = np.random.default_rng(3)
    for windows in (1, 2, 7, 24):
        z = torch.from_numpy(rng.normal(0, 1.5, (2, windows, classes))).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: vote(z, torch.zeros(0), multilabel), z)


# How far pairwise coupling may be from a simulated plurality, in probability.
COUPLING = {2: 0.012, 3: 0.06, 4: 0.07, 6: 0.10}


@pytest.mark.parametrize("classes", sorted(COUPLING))
@pytest.mark.parametrize("windows", [1, 3, 9, 24])
def test_the_vote_of_several_classes_is_near_a_simulated_one(classes, windows):
    rng = np.random.default_rng(classes * 100 + windows)
    songs, draws = 8, 20_000
    z = rng.normal(0, rng.choice([0.3, 1, 2], (songs, 1, 1)), (songs, windows, classes))
    z += rng.normal(0, 0.5, (songs, 1, classes))
    found = vote(torch.from_numpy(z)).softmax(-1).numpy()
    shares = torch.from_numpy(z).softmax(-1).numpy().cumsum(axis=-1)
    for song in range(songs):
        cast = (rng.random((draws, windows, 1)) > shares[song, :, :-1]).sum(axis=-1)
        votes = np.stack([(cast == k).sum(axis=1) for k in range(classes)], axis=1)
        best = votes == votes.max(axis=1, keepdims=True)
        chance = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        limit = 0.012 if windows == 1 else COUPLING[classes]
        assert np.abs(chance - found[song]).max() <= limit


def test_leaving_a_window_out_of_a_long_vote_is_what_voting_without_it_gives():
    z = torch.from_numpy(np.random.default_rng(0).normal(0.05, 1, (1, 400, 2)))
    without = vote_left_out(z)
    for window in (0, 7, 399):
        keep = [k for k in range(400) if k != window]
        torch.testing.assert_close(without[:, window], vote(z[:, keep]))


def test_a_half_precision_or_single_network_gets_its_own_kind_back():
    z = torch.randn(2, 5, 3)
    assert vote(z).dtype == torch.float32
    assert vote(z).shape == (2, 3)
