"""Accuracy against windows heard: by hand, by exhaustion, and by what must hold."""

import json
from itertools import combinations

import numpy as np
import pytest

from songbag.metrics import bootstrap as iv, windows_needed as wh
from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.storage.files import read_csv


def mean(logits):
    return logits.mean(axis=-2)


def mean_probability(logits):
    return SINGLE_LABEL.probabilities(logits).mean(axis=-2)


def heard_songs(n, rng, windows=23, classes=4, noise=3.0):
    y = rng.integers(classes, size=n)
    return [np.eye(classes)[k] + rng.normal(0, noise, (windows, classes)) for k in y], y


def rows_of(rows, variant):
    return [row for row in rows if row["variant"] == variant]


def test_random_windows_match_all_subsets():
    rng = np.random.default_rng(0)
    outputs, y = heard_songs(12, rng, windows=6)
    plan = wh.WindowPlan(counts=(1, 2, 3, 6), draws=600)
    for pool in (mean, mean_probability):
        rows = wh.accuracy_by_windows(outputs, y, None, pool, rng, plan)
        for row in rows_of(rows, "random"):
            right = [
                np.mean(
                    [
                        pool(song[list(at)]).argmax() == k
                        for at in combinations(range(6), row["windows"])
                    ]
                )
                for song, k in zip(outputs, y, strict=True)
            ]
            assert row["accuracy"]["value"] == pytest.approx(np.mean(right), abs=0.02)


def test_first_and_middle_by_hand():
    ramp = np.array([[5.0, 0], [0, 1], [0, 1], [0, 1], [9, 0]])
    starts = [np.array([0.0, 2.5, 5.0, 7.5, 9.0])] * 3  # the last window ends where the song does
    plan = wh.WindowPlan(counts=(1, 3, 4, 5), window_seconds=5.0, starts=starts)
    found = wh.accuracy_by_windows(
        [ramp] * 3, np.ones(3, int), None, mean, np.random.default_rng(0), plan
    )
    values = {(row["variant"], row["windows"]): row["accuracy"]["value"] for row in found}
    assert [values["first", k] for k in (1, 3, 4, 5)] == [0, 0, 0, 0]
    assert [values["middle", k] for k in (1, 3, 4, 5)] == [1, 1, 0, 0]
    assert values["random", 5] == 0
    seconds = [row["seconds"] for row in rows_of(found, "middle")]
    assert seconds == [5.0, 10.0, 12.5, 14.0]
    random = [row["seconds"] for row in rows_of(found, "random")]
    assert random[0] == 5 and random[-1] == 14 and 10 < random[1] < 14


def test_short_songs_are_heard_whole():
    rng = np.random.default_rng(1)
    outputs, y = heard_songs(9, rng)
    outputs = [song[: 3 + 4 * (i % 3)] for i, song in enumerate(outputs)]  # 3, 7 and 11 windows
    found = wh.accuracy_by_windows(outputs, y, None, mean, rng, wh.WindowPlan(counts=(2, 5, 8, 34)))
    for variant in wh.VARIANTS:
        rows = rows_of(found, variant)
        assert [row["windows"] for row in rows] == [2, 5, 8, 11]
        assert [row["shorter"] for row in rows] == [0, 3, 6, 6]
        whole = np.mean(
            [song.mean(axis=0).argmax() == k for song, k in zip(outputs, y, strict=True)]
        )
        assert rows[-1]["accuracy"]["value"] == pytest.approx(whole)
    assert all(row["seconds"] is None for row in found)
    json.dumps(found, allow_nan=False)


def test_more_windows_hear_better_and_intervals_are_of_groups():
    rng = np.random.default_rng(2)
    outputs, y = heard_songs(200, rng)
    found = wh.accuracy_by_windows(outputs, y, None, mean, rng)
    for variant in wh.VARIANTS:
        rows = rows_of(found, variant)
        assert rows[-1]["accuracy"]["value"] > rows[0]["accuracy"]["value"] + 0.2
        for row in rows:
            assert row["accuracy"]["low"] < row["accuracy"]["value"] < row["accuracy"]["high"]
    values = [row["accuracy"]["value"] for row in rows_of(found, "random")]
    assert (np.diff(values) > -0.02).all()


def test_the_interval_of_all_windows_is_that_of_the_accuracy():
    rng = np.random.default_rng(3)
    outputs, y = heard_songs(60, rng)
    artist, plan = np.arange(60) // 3, wh.WindowPlan(counts=(23,))
    rows = wh.accuracy_by_windows(outputs, y, artist, mean, np.random.default_rng(0), plan)
    (found,) = rows_of(rows, "first")
    generator = np.random.default_rng(0)
    for song in outputs:
        generator.random((plan.draws, len(song)))
    p = np.stack([SINGLE_LABEL.probabilities(song.mean(axis=0)) for song in outputs])
    low, high = iv.cluster_intervals(SINGLE_LABEL.measures(y, p), artist, generator)["accuracy"]
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == pytest.approx((low, high))


def test_order_of_windows_matters_only_to_first_and_middle():
    rng = np.random.default_rng(4)
    outputs, y = heard_songs(80, rng)
    shuffled = [rng.permutation(song) for song in outputs]
    one, other = (wh.accuracy_by_windows(s, y, None, mean, rng) for s in (outputs, shuffled))
    for mine, theirs in zip(rows_of(one, "random"), rows_of(other, "random"), strict=True):
        assert mine["accuracy"]["value"] == pytest.approx(theirs["accuracy"]["value"], abs=0.05)
    assert one[-1]["accuracy"]["value"] == other[-1]["accuracy"]["value"]


def test_broken_arguments_are_refused():
    song, rng = np.zeros((3, 2)), np.random.default_rng(0)
    cases = [
        ([song], [0, 1], {}),
        ([song[0]], [0], {}),
        ([song[:0]], [0], {}),
        ([], np.zeros(0, int), {}),
        ([song], [0.0], {}),
        ([song], [0], {"counts": (0,)}),
        ([song], [0], {"counts": ()}),
        ([song], [0], {"draws": 0}),
    ]
    for outputs, y, plan in cases:
        with pytest.raises(ValueError):
            wh.accuracy_by_windows(outputs, np.array(y), None, mean, rng, wh.WindowPlan(**plan))


def test_all_windows_decide_as_the_model_does(trained):
    """The end of the curve is the headline: the model's own pooling joins the windows."""
    headline = trained.evaluation.figures["metrics"]["accuracy"]["value"]
    seconds = [float(row["seconds"]) for row in read_csv(trained.folder / "predictions.csv")]
    curve = read_csv(trained.folder / "heard.csv")
    for variant in wh.VARIANTS:
        last = rows_of(curve, variant)[-1]
        assert float(last["accuracy"]) == pytest.approx(headline)
        assert float(last["seconds"]) <= np.mean(seconds) + 0.1
