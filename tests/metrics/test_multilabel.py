"""Metrics of several labels a song against scikit-learn, hand-made cases and brute force."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference

from songbag.metrics import bootstrap as iv, classification as m, multilabel as ls

TIGHT = {"rtol": 1e-11, "atol": 1e-12}
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def songs(draw):
    """Truth, coarse probabilities (many ties), weights and thresholds."""
    n, labels = draw(st.integers(1, 20)), draw(st.sampled_from([1, 2, 4]))
    y = draw(arrays(np.bool_, (n, labels)))
    p = draw(arrays(np.int64, (n, labels), elements=st.integers(0, 5))) / 5
    weights = draw(arrays(np.float64, n, elements=st.sampled_from([0.25, 0.7, 1.0, 2.0])))
    thresholds = draw(arrays(np.float64, labels, elements=st.sampled_from([0.1, 0.4, 0.5, 0.7])))
    return y, p, weights, thresholds


def calibrated_songs(n, labels, seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.5, (n, labels))
    return rng.random(p.shape) < p, p


def everything(y, p, thresholds, weights=None):
    found = {
        name: measure(weights) for name, measure in ls.bound(y, p, ls.decide(p, thresholds)).items()
    }
    found["ap"] = ls.average_precision(y, p, weights)
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], **TIGHT, err_msg=name)


# ------------------------------------------------------------------ against scikit-learn


@quick
@given(songs(), st.booleans())
def test_rankings_match_sklearn(data, weighted):
    y, p, weights, _ = data
    w = weights if weighted else None
    some = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
    precision, area = np.full((2, y.shape[1]), np.nan)
    for k in some:
        precision[k] = reference.average_precision_score(y[:, k], p[:, k], sample_weight=w)
        area[k] = reference.roc_auc_score(y[:, k], p[:, k], sample_weight=w)
    np.testing.assert_allclose(ls.average_precision(y, p, w), precision, **TIGHT)
    means = [values[some].mean() if some else np.nan for values in (precision, area)]
    np.testing.assert_allclose(ls.mean_average_precision(y, p, w), means[0], **TIGHT)
    np.testing.assert_allclose(ls.roc_auc(y, p, w), means[1], **TIGHT)


@quick
@given(songs(), st.booleans())
def test_decisions_match_sklearn(data, weighted):
    y, p, weights, thresholds = data
    w = weights if weighted else None
    said = p >= thresholds
    assert (ls.decide(p, thresholds) == said).all()
    count = None if w is None else np.repeat(w, y.shape[1])
    options = {"sample_weight": w, "zero_division": np.nan}
    flat = {"sample_weight": count, "zero_division": np.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that no song has or is given
        columns = zip(y.T, said.T, strict=True)
        f1 = np.array([reference.f1_score(has, given, **options) for has, given in columns])
        expected = {
            "micro_f1": reference.f1_score(y.ravel(), said.ravel(), **flat),
            "macro_f1": np.nanmean(f1) if not np.isnan(f1).all() else np.nan,
            "hamming_accuracy": 1
            - reference.hamming_loss(y.ravel(), said.ravel(), sample_weight=count),
            "subset_accuracy": reference.accuracy_score(
                (y == said).all(1), np.ones(len(y)), sample_weight=w
            ),
        }
    for name, value in expected.items():
        found = ls.DECISION_METRICS[name](y, said, w)
        np.testing.assert_allclose(found, value, **TIGHT, err_msg=name)


@quick
@given(songs(), st.booleans())
def test_probabilities_match_sklearn(data, weighted):
    y, p, weights, _ = data
    w = weights if weighted else None
    p = np.clip(p, 0.01, 0.99)
    count = None if w is None else np.repeat(w, y.shape[1])
    loss = reference.log_loss(y.ravel(), p.ravel(), labels=[0, 1], sample_weight=count)
    np.testing.assert_allclose(ls.log_loss(y, p, w), loss, **TIGHT)
    square = np.average((p - y).ravel() ** 2, weights=count)
    np.testing.assert_allclose(ls.brier(y, p, w), square, **TIGHT)


def test_all_match_sklearn_on_many_songs():
    y, p = calibrated_songs(400, 6, 0)
    score = reference.average_precision_score(y, p, average="macro")
    assert ls.mean_average_precision(y, p) == pytest.approx(score, rel=1e-12)
    assert ls.roc_auc(y, p) == pytest.approx(reference.roc_auc_score(y, p, average="macro"))
    for average in ("micro", "macro"):
        expected = reference.f1_score(y, p >= 0.5, average=average)
        assert ls.DECISION_METRICS[f"{average}_f1"](y, p >= 0.5) == pytest.approx(expected)
    assert ls.subset_accuracy(y, p >= 0.5) == reference.accuracy_score(y, p >= 0.5)
    table = ls.per_label(y, p, p >= 0.3)
    expected = reference.precision_recall_fscore_support(y, p >= 0.3)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(table[name], values, **TIGHT)


# ------------------------------------------------------------------ weights and order


@quick
@given(songs(), st.data())
def test_weights_equal_repetition(data, more):
    y, p, _, thresholds = data
    times = more.draw(arrays(np.int64, len(y), elements=st.integers(0, 3)))
    times[0] += times.sum() == 0
    repeated = everything(np.repeat(y, times, axis=0), np.repeat(p, times, axis=0), thresholds)
    assert_same(everything(y, p, thresholds, times.astype(float)), repeated)


@quick
@given(songs(), st.integers(0, 10_000))
def test_a_matrix_of_weights_equals_its_rows_and_order_never_matters(data, seed):
    y, p, _, thresholds = data
    rng = np.random.default_rng(seed)
    rows, order = rng.integers(1, 4, (5, len(y))).astype(float), rng.permutation(len(y))
    at_once = everything(y, p, thresholds, rows)
    for i, row in enumerate(rows):
        one = everything(y, p, thresholds, row)
        assert_same({name: values[i] for name, values in at_once.items()}, one)
    assert_same(everything(y, p, thresholds), everything(y[order], p[order], thresholds))
    scalars = ls.bound(y, p, p >= thresholds).values()
    assert all(np.shape(measure(None)) == () for measure in scalars)


# ------------------------------------------------------------------ calibration


def test_calibration_error_by_hand():
    p = np.array([[0.1, 0.9], [0.2, 0.6]])
    y = np.array([[0, 1], [1, 0]])  # by probability: no, yes | no, yes
    by_hand = (abs(1 - 0.3) + abs(1 - 1.5)) / 4
    assert ls.expected_calibration_error(y, p, bins=2) == pytest.approx(by_hand)
    table = ls.reliability(y, p, bins=2)
    np.testing.assert_allclose(table["confidence"], [0.15, 0.75])
    np.testing.assert_allclose(table["accuracy"], [0.5, 0.5])
    np.testing.assert_allclose(table["count"], [2, 2])


def test_calibrated_models_pass_the_quantile_at_its_rate():
    rng, below = np.random.default_rng(0), []
    for seed in range(150):
        y, p = calibrated_songs(60, 4, seed)
        bound = m.calibrated_quantile(p.ravel(), np.ones(p.size), rng, draws=300)
        below.append(ls.expected_calibration_error(y, p) <= bound)
    assert 0.84 <= np.mean(below) <= 0.96


def test_blocks_do_not_change_the_error(monkeypatch):
    y, p = calibrated_songs(40, 3, 0)
    rows = np.random.default_rng(0).integers(1, 4, (30, 40)).astype(float)
    whole = ls.expected_calibration_error(y, p, rows)
    monkeypatch.setattr(m, "BLOCK_BYTES", 8 * p.size * 7)
    np.testing.assert_allclose(ls.expected_calibration_error(y, p, rows), whole)


# ------------------------------------------------------------------ the whole


def test_evaluate_has_the_shape_of_the_other():
    y, p = calibrated_songs(60, 3, 1)
    artists, labels = np.arange(60) // 2, ["calm", "sad", "loud"]
    found = ls.evaluate(y, p, labels, p >= np.array([0.3, 0.5, 0.7]), artists, resamples=200)
    json.dumps(found, allow_nan=False)
    single = iv.evaluate(
        y[:, 0].astype(int), np.stack([1 - p[:, 0], p[:, 0]], 1), ["a", "b"], artists, 0, 50
    )
    assert single.keys() - found.keys() == {"confusion"}
    assert found.keys() - single.keys() == {"multilabel", "baselines"}
    assert (found["songs"], found["groups"], found["labels"]) == (60, 30, labels)
    for name, measure in ls.bound(y, p, p >= np.array([0.3, 0.5, 0.7])).items():
        value = found["metrics"][name]
        assert value["value"] == pytest.approx(float(measure(None)))
        assert value["low"] < value["high"]
    assert found["baselines"]["map"] == pytest.approx(y.mean())
    assert found["reliability"][0].keys() == single["reliability"][0].keys()
    assert sum(row["count"] for row in found["reliability"]) == 180


def test_one_label_is_the_two_class_case():
    y, p = calibrated_songs(80, 1, 3)
    two = np.hstack([1 - p, p])
    ours = ls.bound(y, p)
    single = iv.bound(y[:, 0].astype(int), two)
    assert ours["roc_auc"](None) == pytest.approx(float(single["roc_auc"](None)))
    assert ours["nll"](None) == pytest.approx(float(single["nll"](None)))
    assert 2 * ours["brier"](None) == pytest.approx(float(single["brier"](None)))


def test_saying_the_base_rate_has_its_map():
    y, _ = calibrated_songs(50, 4, 0)
    y[:, 2] = False
    same = np.broadcast_to(y.mean(axis=0), y.shape)
    assert ls.mean_average_precision(y, same) == pytest.approx(ls.base_rate_precision(y))
    assert np.isnan(ls.base_rate_precision(np.ones((4, 2), dtype=bool)))
    found = ls.evaluate(np.ones((4, 2), dtype=bool), np.full((4, 2), 0.9), ["a", "b"])
    json.dumps(found, allow_nan=False)
    assert found["baselines"]["map"] is None
    assert found["metrics"]["subset_accuracy"]["low"] == pytest.approx(0.025 ** (1 / 4))


def test_intervals_of_map_cover():
    """The mAP over very many songs is the truth that intervals of 80 songs must hold."""
    truth = float(ls.mean_average_precision(*calibrated_songs(200_000, 2, 0)))
    inside = []
    for seed in range(100):
        y, p = calibrated_songs(80, 2, seed + 1)
        measure = {"map": ls.bound(y, p)["map"]}
        low, high = iv.cluster_intervals(measure, np.arange(80), np.random.default_rng(0), 200)[
            "map"
        ]
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.87


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([[0, 1]], [[0.5, 1.2]]),
        ([[0, 1]], [[0.5, np.nan]]),
        ([[0, 2]], [[0.5, 0.5]]),
        ([[0.0, 1.0]], [[0.5, 0.5]]),
        ([0, 1], [0.5, 0.5]),
        ([[0, 1]], [[0.5, 0.5, 0.5]]),
        (np.zeros((0, 2), dtype=bool), np.zeros((0, 2))),
    ],
)
def test_broken_arguments_are_refused(y, p):
    with pytest.raises(ValueError):
        ls.mean_average_precision(np.array(y), np.array(p))


def test_decisions_must_be_bool():
    with pytest.raises(ValueError, match="decide"):
        ls.micro_f1(np.array([[True]]), np.array([[0.7]]))
    with pytest.raises(ValueError, match="thresholds"):
        ls.decide(np.array([[0.7]]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="name every column"):
        ls.evaluate(np.array([[True]]), np.array([[0.7]]), ["a", "b"])
