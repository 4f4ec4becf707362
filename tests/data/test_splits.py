"""Law 2: no group on two sides."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from songbag.data.splits import certify, folds, hold_out, split_sides
from songbag.errors import SongTableError, TrainingError


@st.composite
def collections(draw):
    """Labels and groups: groups mostly of one label, some of two."""
    groups = draw(st.integers(8, 30))
    labels, names = [], []
    for group in range(groups):
        for _ in range(draw(st.integers(1, 4))):
            label = group % 3 if draw(st.integers(0, 9)) else (group + 1) % 3
            labels.append(f"label{label}")
            names.append(f"artist{group}")
    return labels, names


@settings(max_examples=40, deadline=None)
@given(collections(), st.integers(0, 5), st.integers(2, 5))
def test_folds_keep_groups_whole(songs, seed, count):
    labels, groups = songs
    assigned = folds(labels, groups, count, seed)
    assert set(assigned) <= set(range(count))
    for group in set(groups):
        assert len({fold for fold, name in zip(assigned, groups) if name == group}) == 1
    assert (assigned == folds(labels, groups, count, seed)).all()


@settings(max_examples=40, deadline=None)
@given(collections(), st.integers(0, 5))
def test_sides_keep_groups_whole_and_teach_every_label(songs, seed):
    labels, groups = songs
    try:
        sides = split_sides(labels, groups, [None] * len(labels), seed, 0.2, 0.15)
    except TrainingError as error:
        assert "belong to one group" in str(error)
        return
    certificate = certify(list(map(str, range(len(labels)))), labels, groups, sides, "m", seed)
    assert {label for label, side in zip(labels, sides) if side == "train"} == set(labels)
    assert {"train", "test"} <= set(sides) <= {"train", "validation", "test"}
    assert sum(sum(side.values()) for side in certificate.counts.values()) == len(labels)


def test_shares_are_about_right_and_even():
    labels = ["a"] * 120 + ["b"] * 60 + ["c"] * 20
    groups = [f"g{index // 2}" for index in range(200)]
    held = hold_out(labels, groups, 0.2, 0)
    for label, count in (("a", 120), ("b", 60), ("c", 20)):
        assert abs(held[np.array(labels) == label].sum() - count / 5) <= 2


def test_given_sides_are_honoured():
    labels, groups = ["x", "y"] * 10, [f"g{i}" for i in range(20)]
    given_sides = ["test"] * 4 + ["train"] * 16
    sides = split_sides(labels, groups, given_sides, 0, 0.2, 0.0)
    assert sides == given_sides
    with_validation = split_sides(labels, groups, given_sides, 0, 0.2, 0.25)
    assert with_validation[:4] == ["test"] * 4
    assert with_validation.count("validation") == 4


def test_half_given_sides_are_refused():
    with pytest.raises(SongTableError, match="2 of 4 songs have no split"):
        split_sides(["x"] * 4, list("abcd"), ["train", "test", None, None], 0, 0.2, 0)


def test_a_group_on_two_sides_is_refused():
    with pytest.raises(TrainingError, match=r"1 groups stand on two sides.*Ann"):
        certify(["1", "2"], ["x", "y"], ["Ann", "Ann"], ["train", "test"], "given", None)


def test_the_hash_tells_splits_apart_and_ignores_order():
    def make(ids, sides):
        return certify(ids, ["x"] * 2, list(ids), sides, "m", 0).hash

    assert make(["1", "2"], ["train", "test"]) == make(["2", "1"], ["test", "train"])
    assert make(["1", "2"], ["train", "test"]) != make(["1", "2"], ["test", "train"])


def test_a_label_of_one_artist_is_refused():
    labels = ["x"] * 6 + ["y"] * 6
    groups = [f"g{i}" for i in range(6)] + ["only"] * 6
    with pytest.raises(TrainingError, match="all songs labelled 'y' belong to one group"):
        hold_out(labels, groups, 0.2, 0)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(TrainingError, match="5 folds need at least 5 groups"):
        folds(["x", "y"] * 4, ["a", "b"] * 4, 5, 0)


def test_two_songs_a_label_can_be_split():
    labels, groups = ["x", "x", "y", "y"], list("abcd")
    held = hold_out(labels, groups, 0.2, 0)
    assert 1 <= held.sum() <= 2
    assert {labels[i] for i in np.flatnonzero(~held)} == {"x", "y"}
