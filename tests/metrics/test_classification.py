"""Metrics of one label a song and the level baseline against scikit-learn and cases computed by hand."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.naive_bayes import GaussianNB

from songbag.metrics import classification as m

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
CLASSES = st.sampled_from([2, 3, 5])
quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@st.composite
def songs(draw):
    """True labels, coarse probabilities (many ties) and positive real weights."""
    classes, n = draw(CLASSES), draw(st.integers(1, 30))
    y = draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    raw = draw(arrays(np.int64, (n, classes), elements=st.integers(1, 4)))
    weights = draw(arrays(np.float64, n, elements=st.sampled_from([0.25, 0.7, 1.0, 2.0, 3.3])))
    return y, raw / raw.sum(axis=1, keepdims=True), weights


def calibrated_songs(n, classes, seed, concentration=1.0):
    """Probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, concentration), n)
    return draw_labels(p, rng), p


def draw_labels(p, rng):
    labels = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, p.shape[1] - 1)


def everything(y, p, weights=None):
    """Every metric by name."""
    return {name: metric(y, p, weights) for name, metric in m.METRICS.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], **TIGHT, err_msg=name)


# ------------------------------------------------------------------ against scikit-learn


@quick
@given(songs(), st.booleans())
def test_scalars_match_sklearn(data, weighted):
    y, p, weights = data
    w = weights if weighted else None
    predicted, classes = p.argmax(axis=1), p.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that are predicted and never true
        expected = {
            "accuracy": reference.accuracy_score(y, predicted, sample_weight=w),
            "balanced_accuracy": reference.balanced_accuracy_score(y, predicted, sample_weight=w),
            "macro_f1": reference.f1_score(
                y, predicted, average="macro", sample_weight=w, zero_division=0.0
            ),
            "nll": reference.log_loss(y, p, labels=range(classes), sample_weight=w),
        }
    squares = [sum((p[i, k] - (y[i] == k)) ** 2 for k in range(classes)) for i in range(len(y))]
    expected["brier"] = np.average(squares, weights=w)
    for name, value in expected.items():
        np.testing.assert_allclose(m.METRICS[name](y, p, w), value, **TIGHT, err_msg=name)


@quick
@given(songs(), st.booleans())
def test_roc_auc_matches_sklearn(data, weighted):
    y, p, weights = data
    w = weights if weighted else None
    classes = p.shape[1]
    areas = np.full(classes, np.nan)
    for k in range(classes):
        if 0 < (y == k).sum() < len(y):
            areas[k] = reference.roc_auc_score(y == k, p[:, k], sample_weight=w)
    if not weighted:
        np.testing.assert_allclose(m.per_label(y, p)["auc"], areas, **TIGHT)
    if classes == 2:
        expected = areas[1]
    else:
        expected = np.nan if np.isnan(areas).all() else np.nanmean(areas)
    np.testing.assert_allclose(m.roc_auc(y, p, w), expected, **TIGHT)
    if classes > 2 and len(np.unique(y)) == classes:
        macro = reference.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=w)
        np.testing.assert_allclose(m.roc_auc(y, p, w), macro, **TIGHT)


@pytest.mark.parametrize("classes", [2, 5])
def test_all_match_sklearn_on_many_songs(classes):
    y, p = calibrated_songs(400, classes, seed=classes)
    score = p[:, 1] if classes == 2 else p
    macro = reference.roc_auc_score(y, score, multi_class="ovr", average="macro")
    np.testing.assert_allclose(m.roc_auc(y, p), macro, **TIGHT)
    f1 = reference.f1_score(y, p.argmax(axis=1), average="macro")
    np.testing.assert_allclose(m.macro_f1(y, p), f1, **TIGHT)
    np.testing.assert_allclose(
        m.brier(y, p), reference.brier_score_loss(y, p, scale_by_half=False), **TIGHT
    )


@quick
@given(songs())
def test_label_tables_match_sklearn(data):
    y, p, _ = data
    predicted, labels = p.argmax(axis=1), range(p.shape[1])
    confusion = reference.confusion_matrix(y, predicted, labels=labels)
    np.testing.assert_array_equal(m.confusion_matrix(y, p), confusion)
    table = m.per_label(y, p)
    expected = reference.precision_recall_fscore_support(
        y, predicted, labels=labels, zero_division=np.nan
    )
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(table[name], values, **TIGHT, err_msg=name)


def test_predicted_label_is_the_first_on_ties():
    p = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert m.accuracy(np.array([0, 1]), p) == 1
    assert m.accuracy(np.array([1, 1]), p) == 0.5


def test_likelihood_is_held_at_1e_15():
    p = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert m.negative_log_likelihood(np.array([1, 1]), p) == pytest.approx(-np.log(1e-15))
    assert m.negative_log_likelihood(np.array([0, 0]), p) == 0


# ------------------------------------------------------------------ weights


@quick
@given(songs(), st.data())
def test_weights_equal_repetition(data, more):
    y, p, _ = data
    times = more.draw(arrays(np.int64, len(y), elements=st.integers(0, 3)))
    times[0] += times.sum() == 0
    repeated = everything(np.repeat(y, times), np.repeat(p, times, axis=0))
    assert_same(everything(y, p, times.astype(float)), repeated)


@quick
@given(songs(), st.integers(0, 2**32 - 1))
def test_a_matrix_of_weights_equals_its_rows(data, seed):
    y, p, _ = data
    rows = np.random.default_rng(seed).integers(1, 4, (5, len(y))).astype(float)
    at_once = everything(y, p, rows)
    for i, row in enumerate(rows):
        assert_same({name: values[i] for name, values in at_once.items()}, everything(y, p, row))
    assert all(np.shape(metric(y, p)) == () for metric in m.METRICS.values())


@quick
@given(songs(), st.integers(0, 2**32 - 1))
def test_order_of_songs_never_matters(data, seed):
    y, p, _ = data
    order = np.random.default_rng(seed).permutation(len(y))
    assert_same(everything(y, p), everything(y[order], p[order]))


# ------------------------------------------------------------------ calibration


def two_class(confidence):
    confidence = np.asarray(confidence)
    return np.stack([confidence, 1 - confidence], axis=1)


def test_calibration_error_by_hand():
    p = two_class([0.9, 0.6, 0.8, 0.7])
    y = np.array([0, 0, 0, 1])  # by confidence: right, wrong | right, right
    by_hand = (abs(1 - 1.3) + abs(2 - 1.7)) / 4
    assert m.expected_calibration_error(y, p, bins=2) == pytest.approx(by_hand)
    assert m.expected_calibration_error(y, p, bins=1) == pytest.approx(abs(3 - 3.0) / 4)
    assert m.expected_calibration_error(y, p, bins=10) == pytest.approx((0.1 + 0.4 + 0.2 + 0.7) / 4)
    table = m.reliability(p.max(axis=1), p.argmax(axis=1) == y, bins=2)
    np.testing.assert_allclose(table["confidence"], [0.65, 0.85])
    np.testing.assert_allclose(table["accuracy"], [0.5, 1.0])
    np.testing.assert_allclose(table["count"], [2, 2])


def test_songs_of_one_confidence_share_a_bin():
    p = two_class([0.6, 0.6, 0.6, 0.9])
    y = np.array([0, 0, 1, 1])
    by_hand = (abs(2 - 1.8) + 0.9) / 4
    assert m.expected_calibration_error(y, p, bins=2) == pytest.approx(by_hand)
    np.testing.assert_allclose(m.reliability(p.max(axis=1), y == 0, bins=2)["count"], [3, 1])


@pytest.mark.parametrize("n", [7, 13, 20, 23, 290, 1000])
def test_bins_have_equal_mass(n):
    p = two_class(np.linspace(0.51, 0.99, n))
    table = m.reliability(p[:, 0], np.ones(n, dtype=bool))
    assert table["count"].sum() == n
    assert table["count"].max() - table["count"].min() <= 1
    assert np.isnan(table["confidence"]).sum() == max(0, 10 - n)
    defined = table["confidence"][table["count"] > 0]
    assert (np.diff(defined) > 0).all()
    gaps = table["count"] / n * np.abs(table["accuracy"] - table["confidence"])
    error = m.expected_calibration_error(np.zeros(n, dtype=int), p)
    np.testing.assert_allclose(error, np.nansum(gaps), **TIGHT)


def test_bins_of_weighted_songs_have_equal_mass():
    rng = np.random.default_rng(0)
    confidence, weights = rng.uniform(0.5, 1, 2000), rng.uniform(0, 5, 2000)
    count = np.bincount(m.bin_index(confidence, weights, 10), weights)
    np.testing.assert_allclose(count, weights.sum() / 10, atol=5)


def test_calibrated_models_pass_the_quantile_at_its_rate():
    rng = np.random.default_rng(5)
    below = []
    for _ in range(200):
        p = rng.dirichlet(np.ones(4), 150)
        bound = m.calibrated_ece_quantile(p.max(axis=1), rng, draws=400)
        below.append(m.expected_calibration_error(draw_labels(p, rng), p) <= bound)
    assert 0.84 <= np.mean(below) <= 0.96


def test_calibrated_quantile_equals_drawing_labels():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(4, 0.7), 120)
    errors = [m.expected_calibration_error(draw_labels(p, rng), p, bins=6) for _ in range(3000)]
    for q in (0.1, 0.5, 0.9):
        fast = m.calibrated_ece_quantile(p.max(axis=1), rng, bins=6, quantile=q, draws=20_000)
        assert fast == pytest.approx(np.quantile(errors, q), rel=0.04)


def test_calibrated_quantile_flags_an_overconfident_model():
    y, p = calibrated_songs(300, 4, seed=0)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    bound = m.calibrated_ece_quantile(sharp.max(axis=1), np.random.default_rng(0))
    assert m.expected_calibration_error(y, sharp) > bound


# ------------------------------------------------------------------ refused arguments

GOOD_Y, GOOD_P = np.array([0, 1, 2]), np.eye(3)


@pytest.mark.parametrize("call", [*m.METRICS.values(), m.confusion_matrix, m.per_label])
@pytest.mark.parametrize(
    "y", [[0, 1, -1], [0, 1, 3], [0.0, 1.0, 2.0], [0, 1], [[0, 1, 2]], [], [True, False, True]]
)
def test_bad_labels_are_refused(call, y):
    with pytest.raises(ValueError):
        call(np.array(y), GOOD_P)


@pytest.mark.parametrize(
    "p",
    [
        GOOD_P * 0.9,
        GOOD_P * np.nan,
        np.array([[1.5, -0.5, 0.0]] * 3),
        np.ones((3, 1)),
        np.ones(3),
        np.array([[np.inf, 0, 0]] * 3),
    ],
)
def test_bad_probabilities_are_refused(p):
    for call in (m.accuracy, m.roc_auc, m.per_label):
        with pytest.raises(ValueError):
            call(np.zeros(3, dtype=int), p)


@pytest.mark.parametrize(
    "weights", [[1, 1], [1, 1, -1], [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1], [[[1, 1, 1]]]]
)
def test_bad_weights_are_refused(weights):
    for metric in m.METRICS.values():
        with pytest.raises(ValueError):
            metric(GOOD_Y, GOOD_P, np.array(weights, dtype=float))


def test_no_bins_are_refused():
    with pytest.raises(ValueError):
        m.expected_calibration_error(GOOD_Y, GOOD_P, bins=0)
    with pytest.raises(ValueError):
        m.reliability(np.ones(3), np.ones(3, dtype=bool), bins=0)


# ------------------------------------------------------------------ the level baseline


def test_level_baseline_is_gaussian_naive_bayes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    level = rng.normal(-20 + 3 * y, 1 + y)
    parameters = json.loads(json.dumps(m.fit_level(level, y, 4)))
    model = GaussianNB(var_smoothing=0).fit(level[:, None], y)
    new = np.linspace(-60, 20, 50)
    expected = model.predict_proba(new[:, None])
    np.testing.assert_allclose(m.level_probabilities(parameters, new), expected, atol=1e-9)
    np.testing.assert_allclose(parameters["prior"], np.bincount(y) / 300)


def test_level_baseline_floor_and_absent_label():
    parameters = m.fit_level(np.array([-10.0, -10.0, -20.0]), np.array([0, 0, 2]), 3)
    assert parameters["deviation"][0] == parameters["deviation"][2] == 0.5
    assert parameters["mean"][0] == -10 and parameters["prior"] == pytest.approx([2 / 3, 0, 1 / 3])
    p = m.level_probabilities(parameters, np.array([-10.0, -20.0, -15.0, 300.0]))
    assert p.argmax(axis=1).tolist() == [0, 2, 0, 0] and (p[:, 1] == 0).all()
    np.testing.assert_allclose(p[2], [2 / 3, 0, 1 / 3])
    m.accuracy(np.array([0, 2, 0, 0]), p)
    for level in ([-10.0, -np.inf, 0.0], [1.0, 2.0]):
        with pytest.raises(ValueError):
            m.fit_level(np.array(level), np.array([0, 0, 2]), 3)
