"""Temperature, thresholds and the precision curve against scipy, brute force and simulation."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp, softmax
from statsmodels.stats.proportion import proportion_confint

from songbag.metrics import calibration as c
from songbag.metrics.label_kinds import SINGLE_LABEL, kind_of

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def drawn_songs(n, classes, temperature, seed, multilabel=False):
    """Logits, and labels drawn from them at that temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    if multilabel:
        return logits, rng.random(logits.shape) < expit(logits / temperature)
    below = rng.random((n, 1)) > softmax(logits / temperature, axis=1).cumsum(axis=1)
    return logits, np.minimum(below.sum(axis=1), classes - 1)


def loss(logits, y, temperature, multilabel):
    z = logits.astype(np.float64) / temperature
    targets = with_one_more(y, z.shape[1], multilabel)
    if multilabel:
        return (targets * np.logaddexp(0, -z) + (1 - targets) * np.logaddexp(0, z)).mean()
    return (targets * (logsumexp(z, axis=1, keepdims=True) - z)).sum(axis=1).mean()


def with_one_more(y, classes, multilabel):
    """Targets (songs, classes) with one outcome more, shared by all that there are (Perks)."""
    songs, outcomes = len(y), 2 if multilabel else classes
    targets = y if multilabel else np.eye(classes)[y]
    return (songs * targets + 1 / outcomes) / (songs + 1)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("temperature", [0.2, 0.9, 3.0, 11.0])
def test_temperature_matches_scipy(multilabel, temperature):
    logits, y = drawn_songs(150, 4, temperature, 1, multilabel)
    found = c.fit_temperature(logits, y, kind_of(multilabel))
    best = minimize_scalar(
        lambda t: loss(logits, y, np.exp(t), multilabel),
        bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found.temperature == pytest.approx(np.exp(best.x), rel=1e-4)
    assert found.nll_after == pytest.approx(best.fun, rel=1e-9)
    assert found.nll_before == pytest.approx(loss(logits, y, 1.0, multilabel), rel=1e-9)


@pytest.mark.parametrize("multilabel", [False, True])
def test_temperature_finds_the_true_one(multilabel):
    logits, y = drawn_songs(20_000, 3, 2.5, 0, multilabel)
    assert c.fit_temperature(logits, y, kind_of(multilabel)).temperature == pytest.approx(
        2.5, rel=0.03
    )


@quick
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([1e-3, 0.1, 1.0, 30.0, 1e4]))
def test_temperature_never_harms_and_stays_within_bounds(seed, multilabel, scale):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (12, 3)).astype(np.float32)
    y = rng.random((12, 3)) < 0.4 if multilabel else rng.integers(3, size=12)
    found = c.fit_temperature(logits, y, kind_of(multilabel))
    assert 0.05 <= found.temperature <= 20.0000001
    assert found.nll_after <= found.nll_before
    order = rng.permutation(12)
    again = c.fit_temperature(logits[order], y[order], kind_of(multilabel))
    assert again.temperature == pytest.approx(found.temperature, rel=1e-6)
    for nearby in (0.98, 1.02):
        near = np.clip(found.temperature * nearby, 0.05, 20)
        kind, table = kind_of(multilabel), logits.astype(np.float64)
        value, _ = kind.loss(table, with_one_more(y, 3, multilabel), 1 / near)
        assert value >= found.nll_after * (1 - 1e-9)


@pytest.mark.parametrize("songs", [4, 40, 400])
def test_songs_that_were_never_wrong_are_believed_as_often_as_they_prove(songs):
    y = np.arange(songs) % 3
    sure = c.fit_temperature(np.eye(3)[y], y, SINGLE_LABEL)
    p = SINGLE_LABEL.probabilities(np.eye(3)[y], sure.temperature)
    assert p.max(axis=1) == pytest.approx((songs + 1 / 3) / (songs + 1))


def test_temperature_of_logits_that_say_nothing():
    y = np.array([0, 1, 2, 1])
    wrong = c.fit_temperature(np.eye(3)[(y + 1) % 3], y, SINGLE_LABEL)
    assert wrong.temperature == pytest.approx(20)
    flat = c.fit_temperature(np.zeros((4, 3)), y, SINGLE_LABEL)
    assert flat.temperature == 1 and flat.nll_before == flat.nll_after


@pytest.mark.parametrize(
    ("logits", "y", "multilabel"),
    [
        ([[0.0, np.inf]], [0], False),
        ([[0.0, 1.0]], [2], False),
        ([[0.0, 1.0]], [0.0], False),
        ([[0.0, 1.0]], [0, 1], False),
        ([[0.0, 1.0]], [0], True),
        ([[0.0, 1.0]], [[0, 2]], True),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), False),
    ],
)
def test_temperature_refuses(logits, y, multilabel):
    with pytest.raises(ValueError):
        c.fit_temperature(np.array(logits), np.array(y), kind_of(multilabel))


# ------------------------------------------------------------------ precision curve


def confident_songs(n, seed):
    """Two classes; a song of confidence p is right with chance p."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.5, 1, n)
    return (rng.random(n) > sure).astype(int), np.stack([sure, 1 - sure], axis=1)


def test_wilson_matches_statsmodels():
    for right, songs in [(0, 5), (5, 5), (17, 20), (290, 400)]:
        low, _ = proportion_confint(right, songs, method="wilson")
        assert c.wilson_low(np.array(right), np.array(songs)) == pytest.approx(low, abs=1e-12)


def test_the_curve_equals_trying_every_threshold():
    y, p = confident_songs(240, 0)
    p = np.round(p, 2)
    right, sure = p.argmax(axis=1) == y, p.max(axis=1)
    curve = c.precision_curve(y, p)
    thresholds, enough = np.unique(sure)[::-1], []
    assert len(curve) == len(thresholds)
    for point, threshold in zip(curve, thresholds, strict=True):
        answered = sure >= threshold
        low, _ = proportion_confint(right[answered].sum(), answered.sum(), method="wilson")
        assert point == pytest.approx((threshold, answered.mean(), right[answered].mean(), low))
        if low >= 0.8:
            enough.append(threshold)
    assert c.confidence_for(curve, 0.8)[0] == pytest.approx(min(enough))
    json.dumps(curve, allow_nan=False)


def test_a_precision_that_cannot_be_attained():
    _, p = confident_songs(30, 1)
    assert c.confidence_for(c.precision_curve(1 - p.argmax(axis=1), p), 0.9) is None
    perfect = c.precision_curve(p.argmax(axis=1), p)
    assert perfect[-1][1:3] == (1, 1)
    ten = c.precision_curve(p.argmax(axis=1)[:10], p[:10])
    assert c.confidence_for(ten, 0.9) is None  # 10 of 10: at least .72


def test_the_lower_limit_keeps_its_promise_more_often_than_the_share():
    """Confidence p is right with chance p: above t the true precision is (1 + t) / 2."""
    promises = {"share": [], "limit": []}
    for seed in range(300):
        curve = c.precision_curve(*confident_songs(300, seed))
        by_share = [(*point[:3], point[2]) for point in curve]
        for name, points in (("share", by_share), ("limit", curve)):
            answer = c.confidence_for(points, 0.9)
            if answer is not None:
                promises[name].append((1 + answer[0]) / 2 >= 0.9)
    assert np.mean(promises["limit"]) > 0.9
    assert np.mean(promises["share"]) < 0.6


def test_branches_are_weighed_by_what_they_know():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    one, two = (np.eye(3)[y] * 1.5 + rng.normal(0, 1, (300, 3)) for _ in range(2))
    noise = rng.normal(0, 3, (300, 3))
    alone = [c.fit_temperature(table, y, SINGLE_LABEL).nll_after for table in (one, two)]
    weights = c.branch_weights([one, two], y, SINGLE_LABEL)
    both = weights[0] * one + weights[1] * two
    assert c.fit_temperature(both, y, SINGLE_LABEL).nll_after < min(alone) - 0.05
    assert 0.5 < weights[0] / weights[1] < 2
    weight, of_noise = c.branch_weights([one, noise], y, SINGLE_LABEL)
    assert of_noise < 0.05 * weight
    assert c.branch_weights([one], y, SINGLE_LABEL) == [1.0]
    scaled = c.branch_weights([one, 5 * two], y, SINGLE_LABEL)  # whatever unit a branch speaks in
    np.testing.assert_allclose(scaled[0] * one + scaled[1] * 5 * two, both, atol=0.02)
