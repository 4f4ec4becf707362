"""SongClassifier as a user of scikit-learn meets it: nothing here knows Songbag's inside."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas
import pytest
import soundfile
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import (
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

import songbag
from songbag import SongClassifier


def windows(songs=16, windows=4, seed=0):
    """X, y and the songs of windows; half of the windows say nothing."""
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"song {n:02d}" for n in range(songs)], windows)
    y = np.where(np.repeat(np.arange(songs) % 2, windows), "metal", "classical")
    X = rng.normal(size=(len(ids), 5))
    X[::2, 0] += np.where(y[::2] == "metal", 4, -4)
    return X, y, ids


def bags(songs=16, labels=("classical", "metal")):
    X, y, ids = windows(songs)
    names = np.array(labels)[(y == "metal").astype(int)]
    return songbag.bags_from_arrays(X, names, ids), names[::4], np.arange(songs) // 2


@pytest.fixture(scope="module")
def fitted():
    X, y, ids = windows()
    return SongClassifier().fit(X, y, songs=ids)


def test_windows_in_songs_out(fitted):
    X, y, ids = windows(seed=1)
    assert fitted.classes_.tolist() == ["classical", "metal"]
    shares = fitted.predict_proba(X, songs=ids)
    assert shares.shape == (16, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert fitted.predict(X, songs=ids).shape == (16,)
    assert fitted.score(X, y, songs=ids) >= 0.9
    table = fitted.predict_windows(X, songs=ids)
    assert table.index.names == ["id", "window"]
    assert len(table) == 64
    # Answers in the order in which songs first appear, wherever their windows stand.
    order = np.random.default_rng(0).permutation(64)
    mixed = fitted.predict_proba(X[order], songs=ids[order])
    first = pandas.unique(pandas.Series(ids[order]))
    np.testing.assert_allclose(mixed, shares[[int(name[-2:]) for name in first]], atol=1e-6)


@pytest.mark.parametrize("labels", [(0, 1), (10, 9), (True, False), ("b", "a")])
def test_labels_come_out_as_they_went_in(labels):
    songs, y, _ = bags(12, labels)
    found = SongClassifier().fit(songs, y)
    assert found.classes_.tolist() == sorted(labels)
    assert found.predict(songs).dtype == y.dtype
    assert found.score(songs, y) >= 0.7
    right = found.classes_[found.predict_proba(songs).argmax(axis=1)]
    assert (right == found.predict(songs)).all()


@pytest.mark.parametrize(
    "check",
    [
        check_parameters_default_constructible,
        check_no_attributes_set_in_init,
        check_get_params_invariance,
        check_set_params,
        check_estimator_cloneable,
        check_estimator_repr,
    ],
)
def test_the_contract_of_estimators(check):
    check("SongClassifier", SongClassifier())


def test_cross_val_score_keeps_groups_apart():
    songs, y, artists = bags()
    scores = cross_val_score(SongClassifier(), list(songs), y, groups=artists, cv=GroupKFold(2))
    assert scores.shape == (2,)
    assert scores.mean() >= 0.7
    shares = cross_val_predict(
        SongClassifier(), songs, y, groups=artists, cv=GroupKFold(2), method="predict_proba"
    )
    assert shares.shape == (16, 2)


def test_grid_search_over_pooling_and_recipe():
    songs, y, artists = bags()
    search = GridSearchCV(
        SongClassifier(recipe="mlp", settings={"epochs": 5}),
        [{"pooling": ["mean_logit", "max"]}, {"recipe": ["windows"], "settings": [None]}],
        cv=GroupKFold(2),
    )
    search.fit(list(songs), y, groups=artists)
    assert search.best_score_ >= 0.5
    assert search.predict(list(songs)).shape == (16,)


def test_pipeline_and_calibration():
    songs, y, _ = bags()
    pipeline = Pipeline([("songs", SongClassifier())]).fit(list(songs), y)
    assert pipeline.score(list(songs), y) >= 0.7
    calibrated = CalibratedClassifierCV(SongClassifier(), cv=2).fit(list(songs), y)
    assert calibrated.predict_proba(list(songs)).shape == (16, 2)


def test_clone_and_params():
    model = SongClassifier(recipe="windows", pooling="max", settings={"epochs": 3})
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert copied.set_params(pooling="top_k").pooling == "top_k"
    assert model.pooling == "max"


def test_a_pickle_answers_in_another_process(fitted, tmp_path):
    X, _, ids = windows(seed=2)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    joblib.dump(fitted, tmp_path / "model.joblib")
    np.savez(tmp_path / "data.npz", X=X, ids=ids)
    code = (
        "import pickle, sys, numpy as np\n"
        "model = pickle.load(open('model.pkl', 'rb')); data = np.load('data.npz')\n"
        "np.save('answers.npy', model.predict_proba(data['X'], songs=data['ids']))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    truth = fitted.predict_proba(X, songs=ids)
    assert np.array_equal(np.load(tmp_path / "answers.npy"), truth)
    again = joblib.load(tmp_path / "model.joblib")
    assert np.array_equal(again.predict_proba(X, songs=ids), truth)


def test_save_and_load_a_model_file(fitted, tmp_path):
    X, _, ids = windows(seed=2)
    path = fitted.save(tmp_path / "m.songbag")
    assert np.array_equal(
        SongClassifier.load(path).predict(X, songs=ids), fitted.predict(X, songs=ids)
    )
    by_table = songbag.load(path).predict(songbag.bags_from_arrays(X, None, ids))
    assert by_table["predicted"].tolist() == fitted.predict(X, songs=ids).tolist()


def test_what_is_refused(fitted):
    X, y, ids = windows()
    with pytest.raises(NotFittedError):
        SongClassifier().predict(X, songs=ids)
    with pytest.raises(
        songbag.SongbagError, match="songs=, the song of each window, or sample_rate"
    ):
        SongClassifier().fit(X, y)
    with pytest.raises(songbag.SongbagError, match="64 windows but 3 songs"):
        SongClassifier().fit(X, y, songs=ids[:3])
    with pytest.raises(songbag.SongbagError, match="value 2 of the window is nan"):
        SongClassifier().fit(np.where(np.arange(5) == 2, np.nan, X), y, songs=ids)
    with pytest.raises(songbag.SongbagError, match="is labelled"):
        SongClassifier().fit(X, np.roll(y, 1), songs=ids)
    with pytest.raises(songbag.SongbagError, match=r"windows of shape \(4,\)"):
        fitted.predict(X[:, :4], songs=ids)
    songs, labels, _ = bags()
    with pytest.raises(songbag.SongbagError, match="X holds 16 songs, and y 3 values"):
        SongClassifier().fit(songs, labels[:3])
    with pytest.raises(songbag.SongbagError, match="a song has one label"):
        SongClassifier().fit(songs, np.zeros((16, 2)))
    with pytest.raises(songbag.SongbagError, match="missing or not finite"):
        SongClassifier().fit(songs, np.full(16, np.nan))
    with pytest.raises(songbag.SongbagError, match="none of what SongClassifier takes"):
        SongClassifier().fit({"a": 1}, ["x"])


# --- audio ------------------------------------------------------------------------------


def test_paths_frames_and_samples_give_the_same_answers(songs, tmp_path):
    table = pandas.read_csv(songs)
    table["path"] = [str(songs.parent / path) for path in table["path"]]
    table = table[table["path"].str.endswith((".wav", ".flac"))]
    y = table["label"].to_numpy()
    model = SongClassifier(recipe="fast", encoder="none", cache=tmp_path).fit(
        table, y, groups=table["artist"]
    )
    truth = model.predict_proba(table)
    assert np.array_equal(model.predict_proba(table["path"].tolist()), truth)
    assert np.array_equal(model.predict_proba(table["path"].to_numpy()), truth)
    pairs = [soundfile.read(path, dtype="float32") for path in table["path"]]
    np.testing.assert_allclose(model.predict_proba(pairs), truth, atol=1e-4)
    rate = pairs[0][1]
    np.testing.assert_allclose(
        model.predict_proba([samples for samples, _ in pairs], sample_rate=rate), truth, atol=1e-4
    )
    again = SongClassifier(recipe="fast", encoder="none", cache=tmp_path).fit(
        pairs, y, groups=table["artist"]
    )
    np.testing.assert_allclose(again.predict_proba(table), truth, atol=0.01)
    with pytest.raises(songbag.SongbagError, match="how many there are a second"):
        model.predict([samples for samples, _ in pairs])
    with pytest.raises(songbag.SongbagError, match=r"1 of 2 songs could not be read: .*missing"):
        model.predict([table["path"].iloc[0], str(tmp_path / "missing.wav")])
