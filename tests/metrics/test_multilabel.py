"""Metrics of several labels a song against scikit-learn, hand-made cases and brute force."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.metrics import f1_score

from songbag.metrics import classification as m, multilabel as ls
from songbag.metrics.label_kinds import MULTILABEL

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
        name: measure(weights)
        for name, measure in MULTILABEL.measures(y, p, ls.decide(p, thresholds)).items()
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
    scalars = MULTILABEL.measures(y, p, p >= thresholds).values()
    assert all(np.shape(measure(None)) == () for measure in scalars)


# ------------------------------------------------------------------ calibration


def test_calibration_error_by_hand():
    p = np.array([[0.1, 0.9], [0.2, 0.6]])
    y = np.array([[0, 1], [1, 0]])  # by probability: no, yes | no, yes
    by_hand = (abs(1 - 0.3) + abs(1 - 1.5)) / 4
    assert ls.expected_calibration_error(y, p, bins=2) == pytest.approx(by_hand)
    table = m.reliability(p.ravel(), y.ravel() > 0, bins=2)
    np.testing.assert_allclose(table["confidence"], [0.15, 0.75])
    np.testing.assert_allclose(table["accuracy"], [0.5, 0.5])
    np.testing.assert_allclose(table["count"], [2, 2])


def test_calibrated_models_pass_the_quantile_at_its_rate():
    rng, below = np.random.default_rng(0), []
    for seed in range(150):
        y, p = calibrated_songs(60, 4, seed)
        bound = m.calibrated_ece_quantile(p.ravel(), rng, draws=300)
        below.append(ls.expected_calibration_error(y, p) <= bound)
    assert 0.84 <= np.mean(below) <= 0.96


def test_blocks_do_not_change_the_error(monkeypatch):
    y, p = calibrated_songs(40, 3, 0)
    rows = np.random.default_rng(0).integers(1, 4, (30, 40)).astype(float)
    whole = ls.expected_calibration_error(y, p, rows)
    monkeypatch.setattr(m, "BLOCK_BYTES", 8 * p.size * 7)
    np.testing.assert_allclose(ls.expected_calibration_error(y, p, rows), whole)


# ------------------------------------------------------------------ thresholds


@quick
@given(st.data(), st.integers(1, 15))
def test_no_threshold_has_a_better_f1(data, n):
    y = data.draw(arrays(np.bool_, (n, 2)))
    p = data.draw(arrays(np.int64, (n, 2), elements=st.integers(0, 6))) / 6
    found = ls.best_thresholds(y, p)
    for has, chance, threshold in zip(y.T, p.T, found, strict=True):
        if not has.any():
            assert threshold == 0.5
            continue
        said = chance >= np.linspace(0, 1, 61)[:, None]
        tried = 2 * (said & has).sum(axis=1) / (said.sum(axis=1) + has.sum())
        found_f1 = f1_score(has, chance >= threshold, zero_division=0)
        assert found_f1 == pytest.approx(tried.max())
        assert 0 <= threshold <= 1


def test_thresholds_by_hand():
    p = np.array([[0.1], [0.3], [0.6], [0.9]])
    assert ls.best_thresholds(np.array([[0], [0], [1], [1]]), p) == pytest.approx([0.45])
    assert ls.best_thresholds(np.ones((4, 1), dtype=int), p) == pytest.approx([0.05])
    above = np.nextafter(0.3, 1)
    close = np.array([[0.3], [above]])
    assert ls.best_thresholds(np.array([[0], [1]]), close) == [above]


# ------------------------------------------------------------------ refused arguments


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
