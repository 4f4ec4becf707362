"""Poolings: every law over every operator, and the exact vote against other ways of counting."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from songbag.metrics.label_kinds import MULTILABEL, kind_of
from songbag.models.build import build
from songbag.models.pooling import centred, probability
from songbag.models.song_network import SongPooling
from songbag.parts import poolings
from songbag.training import to_onnx

POOLINGS = {name: poolings()[name] for name in poolings()}

# What an operator promises, by hand:
#   twice: a song heard twice gives the same answer
#   space: where contributions add up to the score (None: leaving a window out instead)
#   learns: scores a window for one task of three classes, and for three labels
PROMISES = {
    # name: (twice, space, learns)
    "mean_logit": (True, "logit", (0, 0)),
    "mean_probability": (True, "probability", (0, 0)),
    "vote": (False, None, (0, 0)),
    "hard_vote": (False, None, (0, 0)),
    "max": (True, "logit", (0, 0)),
    "top_k": (True, "logit", (0, 0)),
    "log_mean_exp": (True, None, (1, 3)),
    "linear_softmax": (True, "probability", (0, 0)),
    "power": (True, "probability", (1, 3)),
    "autopool": (True, "probability", (1, 3)),
    "attention": (True, "logit", (1, 3)),
    "gated_attention": (True, "logit", (1, 3)),
    "conjunctive": (True, "logit", (1, 3)),
    "noisy_or": (False, None, (0, 0)),
}
each_pooling = pytest.mark.parametrize("name", sorted(POOLINGS))
ANSWERS_WITH_ITS_OWN_LOGITS = sorted(set(POOLINGS) - {"hard_vote"})  # one window, one vote


def test_every_pooling_has_its_promises_written_down():
    assert set(PROMISES) == set(POOLINGS)


@each_pooling
def test_the_table_says_what_was_promised(name):
    twice, space, learns = PROMISES[name]
    assert POOLINGS[name].space == space
    assert POOLINGS[name].bag_size_bias is not twice
    assert (
        SongPooling(POOLINGS[name], 3).heads,
        SongPooling(POOLINGS[name], 3, MULTILABEL).heads,
    ) == learns
    text = POOLINGS[name].load().__doc__
    assert text and len(text) > 100  # formula and behaviour are told


songs_of_windows = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-20, 20, width=32))
)


def outputs_of(name, values, multilabel, seed):
    """A bound pooling, and outputs with random scores behind the logits."""
    pooling = SongPooling(POOLINGS[name], values.shape[2], kind_of(multilabel))
    scores = torch.from_numpy(
        np.random.default_rng(seed).normal(0, 2, (*values.shape[:2], pooling.heads))
    )
    if isinstance(POOLINGS[name].scorer, float):  # one number for all windows
        scores = scores[:, :1].expand(-1, values.shape[1], -1)
    return pooling, torch.cat([torch.from_numpy(values), scores], dim=-1)


@each_pooling
@settings(max_examples=60, deadline=None)
@given(values=songs_of_windows, multilabel=st.booleans(), seed=st.integers(0, 99))
def test_pooling_laws(name, values, multilabel, seed):
    pooling, outputs = outputs_of(name, values, multilabel, seed)
    song = pooling.song(outputs)
    assert song.shape == (values.shape[0], values.shape[2])
    answer = probability(song, multilabel)

    order = torch.from_numpy(np.random.default_rng(seed).permutation(values.shape[1]))
    torch.testing.assert_close(probability(pooling.song(outputs[:, order]), multilabel), answer)

    alone = torch.cat([pooling.song(one[None]) for one in outputs])
    torch.testing.assert_close(alone, song)

    if PROMISES[name][0]:
        twice = pooling.song(outputs.repeat(1, 2, 1))
        torch.testing.assert_close(probability(twice, multilabel), answer)
    if name in ANSWERS_WITH_ITS_OWN_LOGITS:
        one, own = pooling.song(outputs[:, :1]), torch.from_numpy(values[:, 0])
        torch.testing.assert_close(probability(one, multilabel), probability(own, multilabel))

    score = pooling.score(song)
    contributions = pooling.contributions(outputs, score)
    if PROMISES[name][1]:
        torch.testing.assert_close(contributions.sum(dim=1), score, atol=1e-5, rtol=0)
        weights = pooling.weights(
            torch.from_numpy(values), outputs[..., values.shape[2] :], multilabel
        )
        torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(song))
        assert (weights >= 0).all()
        if PROMISES[name][1] == "probability":
            torch.testing.assert_close(score, answer)
        else:
            torch.testing.assert_close(probability(score, multilabel), answer)
    elif contributions is not None and values.shape[1] > 1:
        for window in range(values.shape[1]):
            keep = [k for k in range(values.shape[1]) if k != window]
            lost = score - pooling.score(pooling.song(outputs[:, keep]))
            torch.testing.assert_close(contributions[:, window], lost, atol=1e-7, rtol=0)


@each_pooling
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("multilabel", [False, True])
def test_extreme_logits_stay_finite(name, classes, multilabel):
    pooling = SongPooling(POOLINGS[name], classes, kind_of(multilabel))
    signs = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, 1.0, -1.0]])[None, :, :classes]
    scores = 1e4 * torch.tensor([1.0, -1.0, 0.0])[None, :, None].expand(1, 3, pooling.heads)
    for windows in (1, 2, 3):
        outputs = torch.cat([1e4 * signs, scores], dim=-1)[:, :windows].clone().requires_grad_()
        song = pooling.song(outputs)
        assert torch.isfinite(song).all()
        if POOLINGS[name].differentiable:
            probability(song, multilabel).clamp(min=1e-9).log().sum().backward()
            assert torch.isfinite(outputs.grad).all()
            song = pooling.song(outputs)
            torch.nn.functional.cross_entropy(song, torch.tensor([1])).backward()
            assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(
    "name",
    # The vote takes as long as all others; trainings through it are tested elsewhere.
    [pytest.param(name, marks=pytest.mark.full) if name == "vote" else name for name in POOLINGS],
)
def test_poolings_export_and_agree(name):
    to_onnx.export_pooling(SongPooling(POOLINGS[name], 2))


@pytest.mark.full
@each_pooling
@pytest.mark.parametrize(("classes", "multilabel"), [(3, True), (5, False)])
def test_poolings_of_several_classes_export_and_agree(name, classes, multilabel):
    to_onnx.export_pooling(SongPooling(POOLINGS[name], classes, kind_of(multilabel)))


@each_pooling
def test_a_loss_on_the_song_reaches_windows_and_what_the_pooling_learns(name):
    torch.manual_seed(0)
    pooling = SongPooling(POOLINGS[name], 3)
    network = build("mlp", (4, 5), pooling, 0.0, None).train()
    outputs = network(torch.randn(12, 4, 5)).reshape(2, 6, -1)
    assert outputs.shape[-1] == 3 + pooling.heads
    if not POOLINGS[name].differentiable:
        return
    torch.nn.functional.cross_entropy(pooling.song(outputs), torch.tensor([0, 2])).backward()
    reached = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("classifier" in n or n.endswith("layers.7.weight") for n in reached)
    if pooling.heads and "scorer" in str(reached):
        assert any("score" in n or "number" in n for n in reached)
    assert bool(pooling.heads) == any("scorer" in n for n in reached)


def test_attention_starts_as_the_mean():
    torch.manual_seed(0)
    for name in ("attention", "gated_attention", "conjunctive"):
        pooling = SongPooling(POOLINGS[name], 3)
        network = build("mlp", (4, 5), pooling, 0.0, None).eval()
        outputs = network(torch.randn(7, 4, 5))[None]
        mean = centred(pooling.logits(outputs)).mean(dim=1)
        torch.testing.assert_close(pooling.song(outputs), mean)


def test_poolings_by_hand():
    p = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    z = p.log()

    def share(name, *scores):
        return POOLINGS[name].load()(z, *scores).softmax(-1)

    torch.testing.assert_close(share("mean_probability"), torch.tensor([[1.7, 1.3]]) / 3)
    torch.testing.assert_close(POOLINGS["mean_logit"].load()(z), centred(z).mean(dim=1))
    votes = torch.tensor([[2 + 1.7 / 3, 1 + 1.3 / 3]]) / 4
    torch.testing.assert_close(share("hard_vote"), votes)
    # two of three, or all three: .9 .2 .4 + .9 .8 .6 + .1 .2 .6 + .9 .2 .6
    torch.testing.assert_close(share("vote")[0, 0].item(), 0.624)
    linear = torch.tensor([[0.81 + 0.04 + 0.36, 0.0], [0.0, 0.01 + 0.64 + 0.16]]).sum(0)
    linear = linear / torch.tensor([1.7, 1.3])
    torch.testing.assert_close(share("linear_softmax")[0], linear / linear.sum())
    torch.testing.assert_close(share("noisy_or")[0], (n := torch.tensor([0.968, 0.892])) / n.sum())
    half = centred(z)[0, :, 0]
    assert POOLINGS["max"].load()(z)[0, 0] == half.max()
    zero = torch.zeros(1, 3, 1)
    torch.testing.assert_close(share("autopool", zero), share("mean_probability"))
    one = torch.full((1, 3, 1), math.log(math.e - 1))  # softplus gives 1
    torch.testing.assert_close(share("power", one), share("linear_softmax"))
    gated = POOLINGS["conjunctive"].load()(z, torch.tensor([[[0.0], [50.0], [50.0]]]))
    torch.testing.assert_close(gated, torch.tensor([0.2, 0.4, 0.4]) @ centred(z))
    smooth = (half.exp().mean()).log()
    torch.testing.assert_close(POOLINGS["log_mean_exp"].load()(z, one)[0, 0], smooth)


def test_top_k_counts_a_window_in_part():
    z = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])[None, :, None].expand(1, 6, 2) * torch.tensor(
        [1, -1]
    )
    weights = POOLINGS["top_k"].load("weights")(z)[0, :, 0]  # k = 6 / 4 = 1.5
    torch.testing.assert_close(weights, torch.tensor([1, 0.5, 0, 0, 0, 0]) / 1.5)


def test_ties_of_a_hard_vote_go_to_the_mean_probability():
    p = torch.tensor([[[0.9, 0.1], [0.4, 0.6]]])
    assert POOLINGS["hard_vote"].load()(p.log()).argmax() == 0
    assert POOLINGS["hard_vote"].load()(p.flip(-1).log()).argmax() == 1
