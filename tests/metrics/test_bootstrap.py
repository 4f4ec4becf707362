"""Cluster-bootstrap intervals against brute force, and what must hold of them."""

import tracemalloc

import numpy as np
import pytest

from songbag.metrics import bootstrap as iv, classification
from songbag.metrics.classification import METRICS
from songbag.metrics.label_kinds import SINGLE_LABEL

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def calibrated_songs(n, classes, seed, concentration=1.0):
    """Probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, concentration), n)
    labels = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, classes - 1), p


def two_class(confidence):
    confidence = np.asarray(confidence)
    return np.stack([confidence, 1 - confidence], axis=1)


def intervals_of(y, p, groups, rng, resamples=2000, level=0.95):
    measures, group = SINGLE_LABEL.measures(y, p), iv.group_index(groups, len(y))
    return iv.cluster_intervals(measures, group, rng, resamples, level)


def brute_force(y, p, groups, seed, resamples, level):
    """Songs copied group by group, one resample after the other."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    values = {name: [] for name in METRICS}
    for drawn in rng.integers(len(names), size=(resamples, len(names))):
        chosen = np.concatenate([np.flatnonzero(groups == names[g]) for g in drawn])
        for name, metric in METRICS.items():
            values[name].append(metric(y[chosen], p[chosen]))
    tails = [(1 - level) / 2, 1 - (1 - level) / 2]
    return {name: np.nanquantile(v, tails) for name, v in values.items()}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_equals_brute_force(classes, grouped):
    y, p = calibrated_songs(23, classes, seed=8, concentration=0.5)
    p = np.round(p, 1)
    p = p / p.sum(axis=1, keepdims=True)
    groups = np.random.default_rng(1).choice([-4, 2, 3, 11, 12, 90], 23) if grouped else None
    fast = intervals_of(y, p, groups, np.random.default_rng(3), 150, 0.9)
    slow = brute_force(y, p, groups if grouped else np.arange(23), 3, 150, 0.9)
    for name in METRICS:
        np.testing.assert_allclose(fast[name], slow[name], **TIGHT, err_msg=name)
        assert fast[name][0] < fast[name][1]


def test_interval_contains_the_value():
    y, p = calibrated_songs(200, 4, seed=2)
    intervals = intervals_of(y, p, None, np.random.default_rng(0), 500)
    assert intervals.keys() == METRICS.keys()
    for name in METRICS.keys() - {"ece"}:  # the calibration error is biased upwards
        low, high = intervals[name]
        assert low < METRICS[name](y, p) < high


def test_interval_of_the_accuracy_has_the_right_width():
    y, p = calibrated_songs(1000, 4, seed=2)
    low, high = intervals_of(y, p, None, np.random.default_rng(0))["accuracy"]
    value = classification.accuracy(y, p)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(value * (1 - value) / 1000), rel=0.06)


def test_correlated_groups_widen_the_interval():
    y, p = calibrated_songs(40, 3, seed=4)
    y, p, artists = np.repeat(y, 9), np.repeat(p, 9, axis=0), np.repeat(np.arange(40), 9)
    alone = intervals_of(y, p, None, np.random.default_rng(0), 1000)
    together = intervals_of(y, p, artists, np.random.default_rng(0), 1000)
    for name in METRICS.keys() - {"ece"}:
        widths = [float(np.diff(intervals[name])[0]) for intervals in (alone, together)]
        assert widths[1] / widths[0] == pytest.approx(3, rel=0.25), name


def test_undefined_resamples_are_left_out():
    p = two_class([0.9, 0.2, 0.4])
    low, high = intervals_of(np.array([0, 0, 1]), p, None, np.random.default_rng(0))["roc_auc"]
    assert 0 <= low <= high <= 1
    never = intervals_of(np.zeros(3, dtype=int), p, None, np.random.default_rng(0))
    assert np.isnan(never["roc_auc"]).all() and not np.isnan(never["balanced_accuracy"]).any()


def test_one_group_has_no_interval():
    y, p = calibrated_songs(20, 3, seed=0)
    intervals = intervals_of(y, p, np.full(20, 7), np.random.default_rng(0))
    assert all(np.isnan(interval).all() for interval in intervals.values())


def test_blocks_change_neither_intervals_nor_quantile(monkeypatch):
    y, p = calibrated_songs(50, 4, seed=6)
    artists = np.arange(50) // 3

    def run():
        rng = np.random.default_rng(9)
        intervals = intervals_of(y, p, artists, rng, 101)
        return [
            *intervals.values(),
            classification.calibrated_ece_quantile(p.max(axis=1), rng, draws=101),
        ]

    whole = run()
    monkeypatch.setattr(classification, "BLOCK_BYTES", 8 * 50 * 7)
    for one, other in zip(whole, run(), strict=True):
        np.testing.assert_allclose(one, other, **TIGHT)


def test_memory_is_bounded(monkeypatch):
    y, p = calibrated_songs(5000, 3, seed=0)
    monkeypatch.setattr(classification, "BLOCK_BYTES", 2**20)  # all 500 rows at once would be 20 MB
    tracemalloc.start()
    classification.calibrated_ece_quantile(p.max(axis=1), np.random.default_rng(0), draws=500)
    intervals_of(y, p, None, np.random.default_rng(0), 500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_speed():
    y, p = calibrated_songs(290, 4, seed=0)
    intervals_of(y, p, np.arange(290) // 2, np.random.default_rng(0), 2000)
    classification.calibrated_ece_quantile(p.max(axis=1), np.random.default_rng(0))


def test_all_right_is_no_certainty():
    y = np.array([0, 1] * 6)
    sure = np.eye(2)[y] * 0.98 + 0.01
    found = intervals_of(y, sure, None, np.random.default_rng(0), 200)
    low, high = found["accuracy"]
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 12))  # Clopper-Pearson for 12 of 12
    assert np.isnan(found["macro_f1"]).all()
    wrong = intervals_of(1 - y, sure, None, np.random.default_rng(0), 200)
    assert wrong["accuracy"] == (0, pytest.approx(1 - low))


def test_bad_arguments_are_refused():
    y, p = np.array([0, 1, 2]), np.eye(3)
    for groups, resamples, level in [([0, 1], 10, 0.9), (None, 0, 0.9), (None, 10, 1.0)]:
        groups = None if groups is None else np.array(groups)
        with pytest.raises(ValueError):
            intervals_of(y, p, groups, np.random.default_rng(0), resamples, level)
