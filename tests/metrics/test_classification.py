"""Metrics, intervals and baselines against scikit-learn, hand-made cases and brute force."""

import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.naive_bayes import GaussianNB

from songbag.metrics import baselines, bootstrap as iv, classification as m

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
    """Every weighted result of the module by name."""
    results = {name: metric(y, p, weights) for name, metric in iv.METRICS.items()}
    results["confusion"] = m.confusion_matrix(y, p, weights)
    results |= m.per_label(y, p, weights)
    results |= {f"bin {name}": v for name, v in m.reliability(y, p, weights).items()}
    return results


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
        np.testing.assert_allclose(iv.METRICS[name](y, p, w), value, **TIGHT, err_msg=name)


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
    np.testing.assert_allclose(m.per_label(y, p, w)["auc"], areas, **TIGHT)
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
@given(songs(), st.booleans())
def test_label_tables_match_sklearn(data, weighted):
    y, p, weights = data
    w = weights if weighted else None
    predicted, labels = p.argmax(axis=1), range(p.shape[1])
    confusion = reference.confusion_matrix(y, predicted, labels=labels, sample_weight=w)
    np.testing.assert_allclose(m.confusion_matrix(y, p, w), confusion, **TIGHT)
    table = m.per_label(y, p, w)
    expected = reference.precision_recall_fscore_support(
        y, predicted, labels=labels, sample_weight=w, zero_division=np.nan
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
    assert all(np.shape(metric(y, p)) == () for metric in iv.METRICS.values())


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
    table = m.reliability(y, p, bins=2)
    np.testing.assert_allclose(table["confidence"], [0.65, 0.85])
    np.testing.assert_allclose(table["accuracy"], [0.5, 1.0])
    np.testing.assert_allclose(table["count"], [2, 2])


def test_songs_of_one_confidence_share_a_bin():
    p = two_class([0.6, 0.6, 0.6, 0.9])
    y = np.array([0, 0, 1, 1])
    by_hand = (abs(2 - 1.8) + 0.9) / 4
    assert m.expected_calibration_error(y, p, bins=2) == pytest.approx(by_hand)
    np.testing.assert_allclose(m.reliability(y, p, bins=2)["count"], [3, 1])


@pytest.mark.parametrize("n", [7, 13, 20, 23, 290, 1000])
def test_bins_have_equal_mass(n):
    p = two_class(np.linspace(0.51, 0.99, n))
    table = m.reliability(np.zeros(n, dtype=int), p)
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
    p, weights = two_class(rng.uniform(0.5, 1, 2000)), rng.uniform(0, 5, 2000)
    count = m.reliability(np.zeros(2000, dtype=int), p, weights)["count"]
    np.testing.assert_allclose(count, weights.sum() / 10, atol=5)


def test_calibrated_models_pass_the_quantile_at_its_rate():
    rng = np.random.default_rng(5)
    below = []
    for _ in range(200):
        p = rng.dirichlet(np.ones(4), 150)
        bound = m.calibrated_ece_quantile(p, rng, draws=400)
        below.append(m.expected_calibration_error(draw_labels(p, rng), p) <= bound)
    assert 0.84 <= np.mean(below) <= 0.96


@pytest.mark.parametrize("weighted", [False, True])
def test_calibrated_quantile_equals_drawing_labels(weighted):
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(4, 0.7), 120)
    weights = rng.uniform(0, 3, 120) if weighted else None
    errors = [
        m.expected_calibration_error(draw_labels(p, rng), p, weights, bins=6) for _ in range(3000)
    ]
    for q in (0.1, 0.5, 0.9):
        fast = m.calibrated_ece_quantile(p, rng, weights, bins=6, quantile=q, draws=20_000)
        assert fast == pytest.approx(np.quantile(errors, q), rel=0.04)


def test_calibrated_quantile_flags_an_overconfident_model():
    y, p = calibrated_songs(300, 4, seed=0)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    bound = m.calibrated_ece_quantile(sharp, np.random.default_rng(0))
    assert m.expected_calibration_error(y, sharp) > bound


# ------------------------------------------------------------------ bootstrap


def brute_force(y, p, groups, seed, resamples, level):
    """Songs copied group by group, one resample after the other."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    values = {name: [] for name in iv.METRICS}
    for drawn in rng.integers(len(names), size=(resamples, len(names))):
        chosen = np.concatenate([np.flatnonzero(groups == names[g]) for g in drawn])
        for name, metric in iv.METRICS.items():
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
    fast = iv.bootstrap_intervals(y, p, groups, np.random.default_rng(3), 150, 0.9)
    slow = brute_force(y, p, groups if grouped else np.arange(23), 3, 150, 0.9)
    for name in iv.METRICS:
        np.testing.assert_allclose(fast[name], slow[name], **TIGHT, err_msg=name)
        assert fast[name][0] < fast[name][1]


def test_interval_contains_the_value():
    y, p = calibrated_songs(200, 4, seed=2)
    intervals = iv.bootstrap_intervals(y, p, None, np.random.default_rng(0), 500)
    assert intervals.keys() == iv.METRICS.keys()
    for name in iv.METRICS.keys() - {"ece"}:  # the calibration error is biased upwards
        low, high = intervals[name]
        assert low < iv.METRICS[name](y, p) < high


def test_interval_of_the_accuracy_has_the_right_width():
    y, p = calibrated_songs(1000, 4, seed=2)
    low, high = iv.bootstrap_intervals(y, p, None, np.random.default_rng(0))["accuracy"]
    value = m.accuracy(y, p)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(value * (1 - value) / 1000), rel=0.06)


def test_correlated_groups_widen_the_interval():
    y, p = calibrated_songs(40, 3, seed=4)
    y, p, artists = np.repeat(y, 9), np.repeat(p, 9, axis=0), np.repeat(np.arange(40), 9)
    alone = iv.bootstrap_intervals(y, p, None, np.random.default_rng(0), 1000)
    together = iv.bootstrap_intervals(y, p, artists, np.random.default_rng(0), 1000)
    for name in iv.METRICS.keys() - {"ece"}:
        widths = [float(np.diff(intervals[name])[0]) for intervals in (alone, together)]
        assert widths[1] / widths[0] == pytest.approx(3, rel=0.25), name


def test_undefined_resamples_are_left_out():
    p = two_class([0.9, 0.2, 0.4])
    low, high = iv.bootstrap_intervals(np.array([0, 0, 1]), p, None, np.random.default_rng(0))[
        "roc_auc"
    ]
    assert 0 <= low <= high <= 1
    never = iv.bootstrap_intervals(np.zeros(3, dtype=int), p, None, np.random.default_rng(0))
    assert np.isnan(never["roc_auc"]).all() and not np.isnan(never["balanced_accuracy"]).any()


def test_one_group_has_no_interval():
    y, p = calibrated_songs(20, 3, seed=0)
    intervals = iv.bootstrap_intervals(y, p, np.full(20, 7), np.random.default_rng(0))
    assert all(np.isnan(interval).all() for interval in intervals.values())


def test_blocks_change_neither_intervals_nor_quantile(monkeypatch):
    y, p = calibrated_songs(50, 4, seed=6)
    artists = np.arange(50) // 3

    def run():
        rng = np.random.default_rng(9)
        intervals = iv.bootstrap_intervals(y, p, artists, rng, 101)
        return [*intervals.values(), m.calibrated_ece_quantile(p, rng, draws=101)]

    whole = run()
    monkeypatch.setattr(m, "BLOCK_BYTES", 8 * 50 * 7)
    for one, other in zip(whole, run(), strict=True):
        np.testing.assert_allclose(one, other, **TIGHT)


def test_memory_is_bounded(monkeypatch):
    y, p = calibrated_songs(5000, 3, seed=0)
    monkeypatch.setattr(m, "BLOCK_BYTES", 2**20)  # all 500 rows at once would be 20 MB
    tracemalloc.start()
    m.calibrated_ece_quantile(p, np.random.default_rng(0), draws=500)
    iv.bootstrap_intervals(y, p, None, np.random.default_rng(0), 500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_speed():
    y, p = calibrated_songs(290, 4, seed=0)
    iv.bootstrap_intervals(y, p, np.arange(290) // 2, np.random.default_rng(0), 2000)
    m.calibrated_ece_quantile(p, np.random.default_rng(0))


# ------------------------------------------------------------------ refused arguments

GOOD_Y, GOOD_P = np.array([0, 1, 2]), np.eye(3)


@pytest.mark.parametrize("call", [*iv.METRICS.values(), m.confusion_matrix, m.per_label])
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
    for call in (m.accuracy, m.roc_auc, m.reliability):
        with pytest.raises(ValueError):
            call(np.zeros(3, dtype=int), p)
    with pytest.raises(ValueError):
        m.calibrated_ece_quantile(p, np.random.default_rng(0))


@pytest.mark.parametrize(
    "weights", [[1, 1], [1, 1, -1], [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1], [[[1, 1, 1]]]]
)
def test_bad_weights_are_refused(weights):
    for metric in iv.METRICS.values():
        with pytest.raises(ValueError):
            metric(GOOD_Y, GOOD_P, np.array(weights, dtype=float))


def test_other_bad_arguments_are_refused():
    rng = np.random.default_rng(0)
    for groups, resamples, level in [([0, 1], 10, 0.9), (None, 0, 0.9), (None, 10, 1.0)]:
        groups = None if groups is None else np.array(groups)
        with pytest.raises(ValueError):
            iv.bootstrap_intervals(GOOD_Y, GOOD_P, groups, rng, resamples, level)
    for call in (m.expected_calibration_error, m.reliability):
        with pytest.raises(ValueError):
            call(GOOD_Y, GOOD_P, bins=0)
    with pytest.raises(ValueError):
        m.calibrated_ece_quantile(GOOD_P, rng, np.ones((2, 3)))
    with pytest.raises(ValueError):
        iv.evaluate(GOOD_Y, GOOD_P, ["a", "b"])


# ------------------------------------------------------------------ evaluate


def test_evaluate_agrees_with_the_functions():
    y, p = calibrated_songs(60, 3, seed=1)
    artists = np.arange(60) // 4
    result = iv.evaluate(y, p, ["rock", "jazz", "folk"], artists, seed=5)
    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert result == iv.evaluate(y, p, ["rock", "jazz", "folk"], artists, seed=5)
    assert (result["songs"], result["groups"]) == (60, 15)
    assert result["labels"] == ["rock", "jazz", "folk"]
    rng = np.random.default_rng(5)
    intervals = iv.bootstrap_intervals(y, p, artists, rng)
    assert result["ece_calibrated_q90"] == m.calibrated_ece_quantile(p, rng)
    for name, metric in iv.METRICS.items():
        low, high = intervals[name]
        assert result["metrics"][name] == {"value": metric(y, p), "low": low, "high": high}
    assert result["confusion"] == m.confusion_matrix(y, p).tolist()
    assert [row["label"] for row in result["per_label"]] == result["labels"]
    for name, values in m.per_label(y, p).items():
        assert [row[name] for row in result["per_label"]] == values.tolist()
    for name, values in m.reliability(y, p).items():
        assert [row[name] for row in result["reliability"]] == values.tolist()


def test_evaluate_says_none_where_nothing_is_defined():
    result = iv.evaluate(np.array([0]), np.array([[0.8, 0.2]]), ["a", "b"])
    json.dumps(result, allow_nan=False)
    assert result["groups"] is None
    assert result["metrics"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert result["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}
    absent = {"precision": None, "recall": None, "f1": None, "support": 0, "auc": None}
    assert result["per_label"][1] == {"label": "b", **absent}
    assert sum(row["count"] == 0 and row["accuracy"] is None for row in result["reliability"]) == 9


# ------------------------------------------------------------------ baselines


def test_majority_label():
    assert baselines.majority_label(np.array([2, 1, 2]), 4) == 2
    assert baselines.majority_label(np.array([3, 1, 3, 1]), 4) == 1
    with pytest.raises(ValueError):
        baselines.majority_label(np.array([4]), 4)


def test_level_baseline_is_gaussian_naive_bayes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    level = rng.normal(-20 + 3 * y, 1 + y)
    parameters = json.loads(json.dumps(baselines.fit_level(level, y, 4)))
    model = GaussianNB(var_smoothing=0).fit(level[:, None], y)
    new = np.linspace(-60, 20, 50)
    expected = model.predict_proba(new[:, None])
    np.testing.assert_allclose(baselines.level_probabilities(parameters, new), expected, atol=1e-9)
    np.testing.assert_allclose(parameters["prior"], np.bincount(y) / 300)


def test_level_baseline_floor_and_absent_label():
    parameters = baselines.fit_level(np.array([-10.0, -10.0, -20.0]), np.array([0, 0, 2]), 3)
    assert parameters["deviation"][0] == parameters["deviation"][2] == 0.5
    assert parameters["mean"][0] == -10 and parameters["prior"] == pytest.approx([2 / 3, 0, 1 / 3])
    p = baselines.level_probabilities(parameters, np.array([-10.0, -20.0, -15.0, 300.0]))
    assert p.argmax(axis=1).tolist() == [0, 2, 0, 0] and (p[:, 1] == 0).all()
    np.testing.assert_allclose(p[2], [2 / 3, 0, 1 / 3])
    m.accuracy(np.array([0, 2, 0, 0]), p)
    for level in ([-10.0, -np.inf, 0.0], [1.0, 2.0]):
        with pytest.raises(ValueError):
            baselines.fit_level(np.array(level), np.array([0, 0, 2]), 3)


def test_all_right_is_no_certainty():
    y = np.array([0, 1] * 6)
    sure = np.eye(2)[y] * 0.98 + 0.01
    found = iv.bootstrap_intervals(y, sure, None, np.random.default_rng(0), 200)
    low, high = found["accuracy"]
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 12))  # Clopper-Pearson for 12 of 12
    assert np.isnan(found["macro_f1"]).all()
    wrong = iv.bootstrap_intervals(1 - y, sure, None, np.random.default_rng(0), 200)
    assert wrong["accuracy"] == (0, pytest.approx(1 - low))
