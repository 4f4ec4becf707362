"""Normal distributions of vectors by class: they agree with scikit-learn, and calibrate."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from songbag.models.gaussian import Gaussian, fit_typicality


def drawn(songs=200, values=5, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, classes, songs)
    mixing = rng.normal(size=(values, values))
    centres = 4 * rng.normal(size=(classes, values))
    return rng.normal(size=(songs, values)) @ mixing + centres[number], number


def test_distances_are_those_of_a_shrunk_covariance():
    vectors, classes = drawn()
    scale = vectors.std(axis=0)
    means = np.stack([vectors[classes == one].mean(axis=0) for one in (0, 1)])
    shrunk = LedoitWolf(assume_centered=False).fit((vectors - means[classes]) / scale)
    asked = drawn(seed=1)[0]
    away = (asked[:, None] - means) / scale
    wanted = np.einsum("scv,vw,scw->sc", away, shrunk.precision_, away).min(axis=1)
    distances = Gaussian.fit(vectors, classes).distances(asked)
    assert distances == pytest.approx(wanted, rel=1e-3)


def test_fewer_songs_than_values_and_values_that_never_vary():
    vectors, classes = drawn(songs=20, values=60)
    vectors[:, 7] = 3.0
    gaussian = Gaussian.fit(vectors, classes)
    known = gaussian.distances(vectors)
    assert np.isfinite(known).all()
    strange = vectors.copy()
    strange[:, 7] = 50.0
    assert (gaussian.distances(strange) > 100 + known).all()


def test_known_songs_are_set_aside_as_often_as_wanted_and_strange_ones_always():
    vectors, classes = drawn(400)
    songs, fold_of = vectors[:200], np.arange(200) % 5
    windows = [song + np.zeros((3, 1), np.float32) for song in songs.astype(np.float32)]
    gaussian, typicality = fit_typicality(songs, windows, classes[:200], fold_of, fold_of >= 0)

    def shares(vectors):
        white = ((vectors - gaussian.mean) @ gaussian.matrix).astype(np.float32)
        return np.array([typicality.of_song(one[None]) for one in white])

    assert 0.01 <= (shares(vectors[200:]) <= 0.05).mean() <= 0.1
    assert (shares(vectors[200:] + 100) <= 0.05).all()
    assert typicality.calibration_songs == 200


def test_songs_that_a_model_chose_make_no_p_value():
    vectors, classes = drawn(200)
    vectors[150:] += 20.0  # chosen because they are unusual
    windows = [song[None].astype(np.float32) for song in vectors]
    fold_of, by_chance = np.arange(200) % 5, np.arange(200) < 150
    arguments = vectors, windows, classes, fold_of
    careful, misled = (fit_typicality(*arguments, mask)[1] for mask in (by_chance, fold_of >= 0))
    assert careful.calibration_songs == 150
    assert careful.songs.knots[-1] < misled.songs.knots[-1]
