"""Distances from what is known, and what share of known songs is as far away."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from songbag.errors import ModelFileError, SettingsError
from songbag.metrics.typicality import PValues, Typicality, require_enough, squared_distances


def conformal(calibration, distance):
    """Equation 2 of Bates et al. (2023), for scores that are large for outliers."""
    return (1 + (calibration >= distance).sum()) / (1 + len(calibration))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=40),
    st.lists(st.floats(0, 60), min_size=1, max_size=20),
)
def test_p_values_are_never_below_the_conformal_ones_and_equal_them_at_known_songs(held_out, asked):
    calibration = np.array(held_out, np.float64)
    curve = PValues.fit(calibration)
    for distance in asked:
        assert curve.of(np.array([distance]))[0] >= conformal(calibration, distance) - 1e-6
    for distance in calibration:
        value = curve.of(np.array([distance]))[0]
        assert value == pytest.approx(conformal(calibration, distance), abs=1e-6)
    assert curve.of(np.array([1e9]))[0] == pytest.approx(1 / (1 + len(calibration)))


def test_about_the_wanted_share_of_known_songs_is_set_aside():
    rng = np.random.default_rng(0)
    shares = [
        (PValues.fit(rng.normal(size=99)).of(rng.normal(size=100)) <= 0.05).mean()
        for _ in range(200)
    ]
    assert 0.035 <= np.mean(shares) <= 0.05


def test_fewer_knots_say_nearly_the_same():
    distances = np.random.default_rng(1).exponential(size=20_000)
    many, few = PValues.fit(distances), PValues.fit(distances, most=500)
    assert len(few.knots) == 501
    asked = np.linspace(0, 8, 100)
    assert np.abs(many.of(asked) - few.of(asked)).max() < 0.01


def test_a_level_that_so_many_songs_cannot_tell_is_refused():
    require_enough(99, 0.01)
    require_enough(5, 0.0)
    with pytest.raises(SettingsError, match="takes 99 songs of training; there are 98"):
        require_enough(98, 0.01)


@pytest.mark.parametrize("level", [-0.1, 1, 2.0, float("nan")])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(SettingsError, match=f"unknown={level}: it is a share"):
        require_enough(1000, level)


def test_the_nearest_centre_counts():
    centres = np.array([[0, 0], [10, 0]], np.float32)
    assert squared_distances(np.array([[9.0, 0.0], [3.0, 4.0]]), centres).tolist() == [1.0, 25.0]


def typicality(songs=30):
    rng = np.random.default_rng(2)
    distances = rng.exponential(size=songs)
    curves = PValues.fit(distances), PValues.fit(2 * distances)
    return Typicality(rng.normal(size=(3, 4)).astype(np.float32), *curves)


def test_it_comes_back_from_its_part():
    one = typicality()
    other = Typicality.from_part(one.part())
    white = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    assert one.of_song(white) == other.of_song(white)
    assert (one.of_windows(white) == other.of_windows(white)).all()
    assert (one.values, one.calibration_songs) == (other.values, other.calibration_songs) == (4, 30)


@pytest.mark.parametrize("damage", ["cut", "missing", "unsorted", "flat", "no windows"])
def test_a_damaged_part_is_refused(damage):
    from safetensors.numpy import load, save

    part = typicality().part()
    arrays = load(part)
    if damage == "cut":
        part = part[:50]
    elif damage == "missing":
        part = save({name: arrays[name] for name in arrays if name != "centres"})
    elif damage == "unsorted":
        part = save(arrays | {"song_knots": np.ascontiguousarray(arrays["song_knots"][::-1])})
    elif damage == "no windows":
        nothing = np.zeros(0, np.float32)
        part = save(arrays | {"window_knots": nothing, "window_levels": nothing})
    else:
        part = save(arrays | {"centres": arrays["centres"].ravel()})
    with pytest.raises(ModelFileError, match="typicality"):
        Typicality.from_part(part)
