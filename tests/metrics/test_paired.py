"""Comparisons against statsmodels, scipy, brute force and simulation."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from songbag.metrics import bootstrap as iv, paired as d

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
yes_no = arrays(np.bool_, 40)


def systems(n, groups, rng, gain=0.0, runs=None):
    """Two systems right on about .7 of the songs, alike within artists, a better by ``gain``."""
    artist = np.arange(n) % groups
    skill = rng.normal(0.5, 0.4, (2, groups))[:, artist] + rng.normal(0, 1, n)
    shape = (2, n) if runs is None else (2, runs, n)
    noise = rng.normal(0, 0.5, shape)
    a, b = (skill if runs is None else skill[:, None]) + noise > 0
    return a | (rng.random(a.shape) < gain), b, artist


# ------------------------------------------------------------------ McNemar and Holm


@quick
@given(yes_no, yes_no)
def test_mcnemar_matches_statsmodels(a, b):
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    found = d.mcnemar_exact(a, b)
    assert (found["only_a"], found["only_b"]) == (table[0][1], table[1][0])
    if found["only_a"] + found["only_b"]:
        assert found["p"] == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-11)
    else:
        assert found["p"] == 1
    assert d.mcnemar_exact(b, a)["p"] == found["p"]


@pytest.mark.parametrize(("b", "c"), [(500_000, 501_500), (0, 3000), (5_000_000, 5_000_000)])
def test_mcnemar_of_many_songs(b, c):
    a_right = np.zeros(b + c, dtype=bool)
    a_right[:b] = True
    found = d.mcnemar_exact(a_right, ~a_right)
    expected = binomtest(b, b + c).pvalue if b != c else 1.0
    assert found["p"] == pytest.approx(expected, rel=1e-6)


def test_mcnemar_by_hand():
    a = np.array([True] * 5 + [False])
    assert d.mcnemar_exact(a, ~a)["p"] == pytest.approx(14 / 64)  # 5 against 1: P(<= 1) = 7/64


@pytest.mark.full
@settings(quick, max_examples=12)  # statsmodels takes a tenth of a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_matches_statsmodels(p):
    found = d.holm(p)
    np.testing.assert_allclose(found, multipletests(p, method="holm")[1], rtol=1e-12)
    assert (found >= np.asarray(p)).all() and found.max() <= 1
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()


def test_holm_of_nothing_and_of_what_is_no_p():
    assert len(d.holm([])) == 0
    for p in ([0.1, 1.2], [np.nan], [[0.1]]):
        with pytest.raises(ValueError, match="p-values"):
            d.holm(p)


# ------------------------------------------------------------------ bootstrap


def test_bootstrap_equals_brute_force():
    rng = np.random.default_rng(2)
    a, b, artist = systems(30, 8, rng)
    fast = d.accuracy_difference(a, b, artist, np.random.default_rng(3), 120, 0.9)
    rng, values = np.random.default_rng(3), []
    for drawn in rng.integers(8, size=(120, 8)):
        at = np.concatenate([np.flatnonzero(artist == group) for group in drawn])
        values.append(a[at].mean() - b[at].mean())
    values = np.array(values)
    low, high = np.quantile(values, [0.05, 0.95])
    expected = [a.mean() - b.mean(), low, high]
    assert [fast[name] for name in ("value", "low", "high")] == pytest.approx(expected)


@quick
@given(st.integers(0, 10_000))
def test_differences_are_antisymmetric(seed):
    a, b, artist = systems(25, 9, np.random.default_rng(seed))
    mine = d.accuracy_difference(a, b, artist, np.random.default_rng(0), 60)
    theirs = d.accuracy_difference(b, a, artist, np.random.default_rng(0), 60)
    assert mine["value"] == pytest.approx(-theirs["value"])
    assert (mine["low"], mine["high"]) == pytest.approx((-theirs["high"], -theirs["low"]))


@quick
@given(st.integers(0, 10_000))
def test_order_of_songs_within_groups_never_matters(seed):
    rng = np.random.default_rng(seed)
    a, b, artist = systems(40, 9, rng)
    order = rng.permutation(40)
    for function in (d.accuracy_difference, d.swap_test):
        one = function(a, b, artist, np.random.default_rng(1), 100)
        other = function(a[order], b[order], artist[order], np.random.default_rng(1), 100)
        if isinstance(one, dict):
            one, other = ([v[k] for k in ("value", "low", "high")] for v in (one, other))
        np.testing.assert_allclose(one, other, atol=1e-12)
    smallest = d.smallest_difference(a, b, artist)
    assert d.smallest_difference(a[order], b[order], artist[order]) == pytest.approx(smallest)


def test_intervals_and_p_values_hold_their_rates():
    rng = np.random.default_rng(0)
    covered, swap = [], []
    for _ in range(300):
        a, b, artist = systems(180, 60, rng)
        found = d.accuracy_difference(a, b, artist, rng, 300)
        covered.append(found["low"] <= 0 <= found["high"])
        swap.append(d.swap_test(a, b, artist, rng, 300) < 0.05)
    assert 0.91 <= np.mean(covered) <= 0.98
    assert 0.02 <= np.mean(swap) <= 0.08


def test_p_and_interval_agree():
    rng = np.random.default_rng(4)
    for gain in (0.0, 0.05, 0.1, 0.15, 0.3):
        a, b, artist = systems(200, 70, rng, gain)
        found, p = d.accuracy_difference(a, b, artist, rng), d.swap_test(a, b, artist, rng)
        if abs(p - 0.05) > 0.01:
            assert (p < 0.05) == (found["low"] > 0 or found["high"] < 0)


def test_equal_answers_are_no_certainty():
    right = np.arange(50) % 3 > 0
    found = d.accuracy_difference(right, right, None, np.random.default_rng(0))
    far = 1 - 0.025 ** (1 / 50)
    assert found["value"] == 0
    assert d.swap_test(right, right, None, np.random.default_rng(0)) == 1
    assert (found["low"], found["high"]) == (pytest.approx(-far), pytest.approx(far))
    ahead = d.accuracy_difference(right | True, right & False, None, np.random.default_rng(0))
    assert ahead["value"] == 1 and ahead["low"] is None and ahead["high"] is None
    json.dumps([found, ahead], allow_nan=False)


def test_few_groups_cannot_give_a_small_p():
    a, b = np.ones(40, dtype=bool), np.zeros(40, dtype=bool)
    p = d.swap_test(a, b, np.arange(40) // 10, np.random.default_rng(0))
    assert p == pytest.approx(2**-3, abs=0.01)
    one = d.accuracy_difference(a, b, np.zeros(40, dtype=int), np.random.default_rng(0))
    assert one["value"] == 1 and one["low"] is one["high"] is None


# ------------------------------------------------------------------ swaps and seeds


def test_swaps_of_single_songs_are_mcnemars_test():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.random((2, 80)) < [[0.75], [0.6]]
        p = d.swap_test(a, b, None, rng, 40_000)
        assert p == pytest.approx(d.mcnemar_exact(a, b)["p"], abs=0.01)


def test_mcnemar_is_too_sure_where_songs_of_an_artist_are_alike():
    rng, false_calls = np.random.default_rng(1), np.zeros(2)
    for _ in range(200):
        a, b = np.repeat(rng.random((2, 30)) < 0.6, 6, axis=1)
        artist = np.repeat(np.arange(30), 6)
        ps = d.mcnemar_exact(a, b)["p"], d.swap_test(a, b, artist, rng, 300)
        false_calls += np.array(ps) < 0.05
    assert false_calls[0] / 200 > 0.2
    assert false_calls[1] / 200 < 0.1


def test_runs_are_averaged_per_song():
    rng = np.random.default_rng(0)
    a, b, artist = systems(120, 40, rng, runs=3)
    runs = d.accuracy_difference(a, b, artist, np.random.default_rng(5), 200)
    shares = d.accuracy_difference(
        a.mean(axis=0), b.mean(axis=0), artist, np.random.default_rng(5), 200
    )
    assert shares["seed_error"] is None
    assert {**runs, "seed_error": None} == shares
    by_hand = a.mean(axis=1).var(ddof=1) / 3 + b.mean(axis=1).var(ddof=1) / 3
    assert runs["seed_error"] == pytest.approx(np.sqrt(by_hand))
    assert d.swap_test(a, b, artist, np.random.default_rng(5)) == d.swap_test(
        a.mean(axis=0), b.mean(axis=0), artist, np.random.default_rng(5)
    )


def test_majority_of_runs():
    runs = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    assert d.majority_right(runs).tolist() == [True, True, False]
    for wrong in (runs[:2], runs[0], runs.astype(float)):
        with pytest.raises(ValueError, match="odd"):
            d.majority_right(wrong)
    with pytest.raises(ValueError, match="majority_right"):
        d.mcnemar_exact(runs.mean(axis=0), runs[0])
    with pytest.raises(ValueError, match="majority_right"):
        d.mcnemar_exact(runs, runs)


def test_what_is_no_right_is_refused():
    rng = np.random.default_rng(0)
    for a, b in ([[0.5, 1.5], [0, 1]], [[np.nan, 0], [0, 1]], [[0, 1], [0, 1, 1]], [[], []]):
        with pytest.raises(ValueError, match=r"right|songs"):
            d.accuracy_difference(np.array(a), np.array(b), None, rng)


def test_compare_gives_every_pair_once():
    rng = np.random.default_rng(3)
    a, b, artist = systems(150, 50, rng, 0.8)
    rows = d.compare({"a": a, "b": b, "c": b}, artist, np.random.default_rng(0))
    assert [(row["a"], row["b"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert d.holm([row["p"] for row in rows])[0] < 0.05 and rows[2]["p"] == 1
    json.dumps(rows, allow_nan=False)


# ------------------------------------------------------------------ what can be told apart


def test_standard_error_is_the_textbooks_and_the_bootstraps():
    rng = np.random.default_rng(0)
    a, b, artist = systems(200, 60, rng)
    gain = a.astype(float) - b
    alone = iv.standard_error(gain, np.arange(200))
    assert alone == pytest.approx(gain.std(ddof=1) / np.sqrt(200))
    measure = {"x": lambda rows: rows @ gain / rows.sum(axis=1)}
    spread = iv.resample_measures(measure, artist, rng, 4000)["x"].std()
    assert iv.standard_error(gain, artist) == pytest.approx(spread, rel=0.06)


@pytest.mark.parametrize("discordance", [0.25, 0.02])
def test_the_smallest_difference_is_found_four_times_in_five(discordance):
    """A true difference of that size, at that discordance, against the exact test."""
    rng, n = np.random.default_rng(0), 300
    half = int(n * discordance / 2)
    a, b = np.zeros((2, n), dtype=bool)
    a[:half] = b[half : 2 * half] = True
    size = d.smallest_difference(a, b)
    wider = max(discordance, size)
    found = []
    for _ in range(600):
        kind = rng.random(n)
        first = kind < (wider + size) / 2
        second = (kind >= (wider + size) / 2) & (kind < wider)
        found.append(d.mcnemar_exact(first, second)["p"] < 0.05)
    assert 0.72 <= np.mean(found) <= 0.88


def test_the_smallest_difference_grows_with_groups_and_is_never_nothing():
    rng = np.random.default_rng(0)
    a, b = np.repeat(rng.random((2, 50)) < 0.6, 6, axis=1)
    artist = np.repeat(np.arange(50), 6)
    alone, together = d.smallest_difference(a, b), d.smallest_difference(a, b, artist)
    assert together / alone == pytest.approx(np.sqrt(6), rel=0.02)
    z2 = (1.959964 + 0.841621) ** 2
    assert d.smallest_difference(a, a) == pytest.approx(z2 / (300 + z2), rel=1e-5)
    assert d.smallest_difference(a, a, artist) == pytest.approx(z2 / (50 + z2), rel=1e-5)
    assert d.smallest_difference(a, b, np.zeros(300, dtype=int)) == 1


def test_sentences():
    told = "cannot be told apart."
    assert d.sentence(0.046, 290, 97, "artists") == (
        f"290 songs of 97 artists: differences under 5 points {told}"
    )
    assert d.sentence(0.05, 290) == f"290 songs: differences under 5 points {told}"
    assert d.sentence(0.0099, 9000) == f"9000 songs: differences under 1 point {told}"
    assert d.sentence(0.0041, 9000) == f"9000 songs: differences under 0.5 points {told}"
    assert (
        d.sentence(1.0, 1, 1, "artists") == "1 song of 1 artist: no difference can be told apart."
    )
