"""The two kinds of labelling: truths, decisions, and the whole evaluation of each."""

import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from songbag.metrics import bootstrap as iv, classification as m, multilabel as ls
from songbag.metrics.label_kinds import MULTILABEL, SINGLE_LABEL, kind_of

KINDS = pytest.mark.parametrize("kind", [SINGLE_LABEL, MULTILABEL], ids=lambda kind: kind.name)


def single_label_songs(n, classes, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    labels = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, classes - 1), p


def multilabel_songs(n, labels, seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.5, (n, labels))
    return rng.random(p.shape) < p, p


# ------------------------------------------------------------------ truths


def test_truths_and_majority():
    labels = ["folk", "jazz", "rock"]
    y = SINGLE_LABEL.truths([("rock",), ("jazz",), ("rock",)], labels)
    assert y.tolist() == [2, 1, 2] and y.dtype == np.int64
    assert SINGLE_LABEL.majority(y, labels) == ["rock"]
    assert SINGLE_LABEL.majority(np.array([2, 1]), labels) == ["jazz"]  # the first on ties
    y = MULTILABEL.truths([("jazz", "rock"), (), ("rock",), ("folk",)], labels)
    assert y.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]] and y.dtype == np.int64
    assert MULTILABEL.majority(y, labels) == ["rock"]
    assert MULTILABEL.truths([], labels).shape == (0, 3)
    assert SINGLE_LABEL.truths([], labels).shape == (0,)


def test_truths_that_do_not_fit_are_refused():
    for kind in (SINGLE_LABEL, MULTILABEL):
        with pytest.raises(ValueError, match="'polka' is none of the labels jazz, rock"):
            kind.truths([("polka",)], ["jazz", "rock"])
    for names in ((), ("jazz", "rock")):
        with pytest.raises(ValueError, match="exactly one label"):
            SINGLE_LABEL.truths([names], ["jazz", "rock"])


def test_targets():
    assert SINGLE_LABEL.targets(np.array([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert MULTILABEL.targets(np.array([[True, False]]), 2).tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="3"):
        MULTILABEL.targets(np.array([[True, False]]), 3)
    with pytest.raises(ValueError, match="integers"):
        SINGLE_LABEL.targets(np.array([[1, 0]]), 2)


def test_a_kind_is_known_by_its_flag():
    for kind in (SINGLE_LABEL, MULTILABEL):
        assert kind_of(kind.multilabel) == kind


# ------------------------------------------------------------------ probabilities, decisions


@KINDS
def test_probabilities_match_scipy(kind):
    logits = np.random.default_rng(0).normal(0, 5, (40, 4))
    expected = expit(logits / 1.7) if kind.multilabel else softmax(logits / 1.7, axis=1)
    np.testing.assert_allclose(kind.probabilities(logits, 1.7), expected, rtol=1e-12)
    huge = kind.probabilities(np.array([1e4, -1e4]))
    np.testing.assert_array_equal(huge, [1, 0])


@KINDS
def test_logits_are_the_inverse(kind):
    p = kind.probabilities(np.random.default_rng(0).normal(0, 3, (40, 4)))
    np.testing.assert_allclose(kind.probabilities(kind.logits(p)), p, rtol=1e-9)
    assert np.isfinite(kind.logits(np.array([[0.0, 1.0]]))).all()


def test_rounded_probabilities_are_normalized():
    rounded = np.array([[0.333333, 0.333333, 0.333333]])
    assert SINGLE_LABEL.normalized(rounded).sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal(MULTILABEL.normalized(rounded), rounded)


def test_decisions_and_confidence():
    p = np.array([0.4, 0.4, 0.2])
    assert SINGLE_LABEL.decide(p) == [0]
    assert SINGLE_LABEL.confidence(p) == 0.4
    assert MULTILABEL.decide(p, [0.3, 0.5, 0.1]) == [0, 2]
    assert MULTILABEL.confidence(p, [0.3, 0.5, 0.1]) == pytest.approx(0.2)
    assert MULTILABEL.decide(p, MULTILABEL.default_thresholds(3)) == []
    assert SINGLE_LABEL.default_thresholds(3) == ()
    rows = np.array([p, [0.1, 0.8, 0.9]])
    assert SINGLE_LABEL.shares_right(rows, np.array([0, 1])).tolist() == [1, 0]
    assert SINGLE_LABEL.shares_right(rows, np.array(2)).tolist() == [0, 1]
    y = np.array([0, 1, 1])
    assert MULTILABEL.shares_right(rows, y).tolist() == pytest.approx([1 / 3, 1])


# ------------------------------------------------------------------ evaluate


def test_evaluate_agrees_with_the_functions():
    y, p = single_label_songs(60, 3, seed=1)
    artists = np.arange(60) // 4
    result = SINGLE_LABEL.evaluate(y, p, ["rock", "jazz", "folk"], groups=artists, seed=5)
    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert result == SINGLE_LABEL.evaluate(y, p, ["rock", "jazz", "folk"], groups=artists, seed=5)
    assert (result["songs"], result["groups"]) == (60, 15)
    assert result["labels"] == ["rock", "jazz", "folk"]
    rng = np.random.default_rng(5)
    intervals = iv.cluster_intervals(SINGLE_LABEL.measures(y, p), artists, rng)
    assert result["ece_calibrated_q90"] == m.calibrated_ece_quantile(p.max(axis=1), rng)
    for name, metric in m.METRICS.items():
        low, high = intervals[name]
        assert result["metrics"][name] == {"value": metric(y, p), "low": low, "high": high}
    assert result["confusion"] == m.confusion_matrix(y, p).tolist()
    assert [row["label"] for row in result["per_label"]] == result["labels"]
    for name, values in m.per_label(y, p).items():
        assert [row[name] for row in result["per_label"]] == values.tolist()
    for name, values in m.reliability(p.max(axis=1), p.argmax(axis=1) == y).items():
        assert [row[name] for row in result["reliability"]] == values.tolist()


def test_evaluate_says_none_where_nothing_is_defined():
    result = SINGLE_LABEL.evaluate(np.array([0]), np.array([[0.8, 0.2]]), ["a", "b"])
    json.dumps(result, allow_nan=False)
    assert result["groups"] is None
    assert result["metrics"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert result["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}
    absent = {"precision": None, "recall": None, "f1": None, "support": 0, "auc": None}
    assert result["per_label"][1] == {"label": "b", **absent}
    assert sum(row["count"] == 0 and row["accuracy"] is None for row in result["reliability"]) == 9


@KINDS
def test_every_column_must_be_named(kind):
    y = np.array([1, 0]) if kind == SINGLE_LABEL else np.array([[True, False, True]] * 2)
    with pytest.raises(ValueError, match="2 labels, but probabilities of 3"):
        kind.evaluate(y, np.array([[0.5, 0.25, 0.25]] * 2), ["a", "b"], resamples=10)


def test_evaluate_has_the_shape_of_the_other():
    y, p = multilabel_songs(60, 3, 1)
    artists, labels = np.arange(60) // 2, ["calm", "sad", "loud"]
    found = MULTILABEL.evaluate(
        y, p, labels, p >= np.array([0.3, 0.5, 0.7]), artists, resamples=200
    )
    json.dumps(found, allow_nan=False)
    two = np.stack([1 - p[:, 0], p[:, 0]], 1)
    single = SINGLE_LABEL.evaluate(
        y[:, 0].astype(int), two, ["a", "b"], groups=artists, resamples=50
    )
    assert single.keys() - found.keys() == {"confusion"}
    assert found.keys() - single.keys() == {"multilabel", "baselines"}
    assert (found["songs"], found["groups"], found["labels"]) == (60, 30, labels)
    for name, measure in MULTILABEL.measures(y, p, p >= np.array([0.3, 0.5, 0.7])).items():
        value = found["metrics"][name]
        assert value["value"] == pytest.approx(float(measure(None)))
        assert value["low"] < value["high"]
    assert found["baselines"]["map"] == pytest.approx(y.mean())
    assert found["reliability"][0].keys() == single["reliability"][0].keys()
    assert sum(row["count"] for row in found["reliability"]) == 180


def test_one_label_is_the_two_class_case():
    y, p = multilabel_songs(80, 1, 3)
    two = np.hstack([1 - p, p])
    ours = MULTILABEL.measures(y, p)
    single = SINGLE_LABEL.measures(y[:, 0].astype(int), two)
    assert ours["roc_auc"](None) == pytest.approx(float(single["roc_auc"](None)))
    assert ours["nll"](None) == pytest.approx(float(single["nll"](None)))
    assert 2 * ours["brier"](None) == pytest.approx(float(single["brier"](None)))


def test_saying_the_base_rate_has_its_map():
    y, _ = multilabel_songs(50, 4, 0)
    y[:, 2] = False
    same = np.broadcast_to(y.mean(axis=0), y.shape)
    assert ls.mean_average_precision(y, same) == pytest.approx(ls.base_rate_precision(y))
    assert np.isnan(ls.base_rate_precision(np.ones((4, 2), dtype=bool)))
    found = MULTILABEL.evaluate(np.ones((4, 2), dtype=bool), np.full((4, 2), 0.9), ["a", "b"])
    json.dumps(found, allow_nan=False)
    assert found["baselines"]["map"] is None
    assert found["metrics"]["subset_accuracy"]["low"] == pytest.approx(0.025 ** (1 / 4))


def test_intervals_of_map_cover():
    """The mAP over very many songs is the truth that intervals of 80 songs must hold."""
    truth = float(ls.mean_average_precision(*multilabel_songs(200_000, 2, 0)))
    inside = []
    for seed in range(100):
        y, p = multilabel_songs(80, 2, seed + 1)
        measure = {"map": MULTILABEL.measures(y, p)["map"]}
        low, high = iv.cluster_intervals(measure, np.arange(80), np.random.default_rng(0), 200)[
            "map"
        ]
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.87
