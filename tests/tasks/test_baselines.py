"""Baselines against ten lines of scikit-learn and librosa, on the same folds as the recipes."""

import csv
import json
import warnings
from collections import Counter
from dataclasses import replace

import librosa
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from songbag.console import Console
from songbag.encoders.choose import choose_recipe
from songbag.recipes.load import load_recipe
from songbag.tasks.baselines import means_and_deviations, run_baseline
from songbag.tasks.compare import baseline_systems, compare, systems_of
from songbag.tasks.train import load_labelled
from tests.helpers.command import songbag as command
from tests.helpers.songs import audio_dataset
from tests.tasks.test_compare import made_songs

QUIET = Console(quiet=True)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A comparison on windows of a table, with all its baselines."""
    folder = tmp_path_factory.mktemp("tables")
    songs, recipe = made_songs(48, own=0.3), load_recipe("windows")
    others = baseline_systems(songs, recipe, None)
    compare(songs, systems_of([recipe], [], [], QUIET, others), folder, QUIET, [0], 3, 1)
    return songs, folder


def test_the_same_folds_and_songs_for_recipes_and_baselines(tables):
    _, folder = tables
    systems = {row["system"]: row for row in rows_of(folder / "systems.csv")}
    assert set(systems) == {
        "most-frequent",
        "means-svc",
        "means-logistic",
        "windows-mean_logit-song",
    }
    sides = {
        name: {
            row["id"]: row["side"]
            for row in rows_of(folder / "runs" / f"{name}-seed0" / "predictions.csv")
        }
        for name in systems
    }
    assert all(one == sides["means-svc"] for one in sides.values())
    assert len(rows_of(folder / "differences.csv")) == 6
    for name, row in systems.items():
        assert float(row["seconds"]) > 0
        assert (row["window_accuracy"] == "") == (name != "windows-mean_logit-song")
    assert "means-svc" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("means-svc", SVC(break_ties=True)), ("means-logistic", LogisticRegression(max_iter=1000))],
)
def test_tables_are_answered_as_scikit_learn_answers(tables, name, classifier):
    songs, folder = tables
    rows = {
        row["id"]: row for row in rows_of(folder / "runs" / f"{name}-seed0" / "predictions.csv")
    }
    x = np.array([np.r_[bag.features.mean(axis=0), bag.features.std(axis=0)] for bag in songs])
    y = np.array([song.label for song in songs.songs])
    side = np.array([rows[song.id]["side"] for song in songs.songs])
    for fold in set(side):
        model = make_pipeline(StandardScaler(), classifier).fit(x[side != fold], y[side != fold])
        answers = model.predict(x[side == fold]).tolist()
        ids = [song.id for song, on in zip(songs.songs, side, strict=True) if on == fold]
        assert [rows[one]["predicted"] for one in ids] == answers


def test_the_most_frequent_label_is_that_of_the_other_folds(tables):
    _, folder = tables
    rows = rows_of(folder / "runs" / "most-frequent-seed0" / "predictions.csv")
    for fold in {row["side"] for row in rows}:
        counts = Counter(row["label"] for row in rows if row["side"] != fold)
        for row in rows:
            if row["side"] == fold:
                assert counts[row["predicted"]] == max(counts.values())


@pytest.mark.full  # librosa's compiler takes 20 s
def test_mfcc_and_svc_are_those_of_a_notebook(songs, tmp_path):
    """Means and deviations of librosa's MFCC of whole songs, with the defaults of both."""
    recipe = load_recipe("founding", {"sound.coefficients": 20, "sound.frame_length": 2048})
    dataset = load_labelled(audio_dataset(songs), recipe, QUIET)
    run_baseline("mfcc-svc", dataset, tmp_path, recipe, 3, 0)
    rows = {row["id"]: row for row in rows_of(tmp_path / "predictions.csv")}
    x = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for song in dataset.songs:
            mfcc = librosa.feature.mfcc(y=librosa.load(song.path)[0])
            x.append(np.r_[mfcc.mean(axis=1), mfcc.std(axis=1)])
    x, y = np.array(x), np.array([song.label for song in dataset.songs])
    side = np.array([rows[song.id]["side"] for song in dataset.songs])
    values = means_and_deviations(dataset, recipe)
    # Two decoders and resamplers: the same to a thousandth of a value's spread, mostly.
    assert np.median(np.abs(values - x) / x.std(axis=0)) < 1e-3
    alike = 0
    for fold in set(side):
        model = make_pipeline(StandardScaler(), SVC()).fit(x[side != fold], y[side != fold])
        ours = [rows[dataset.songs[one].id]["predicted"] for one in np.flatnonzero(side == fold)]
        alike += int((model.predict(x[side == fold]) == ours).sum())
    assert alike >= len(y) - 2  # few songs: some lie on the border
    assert (tmp_path / "report.html").exists()


def test_files_have_loudness_mfcc_the_encoder_and_the_founding_network(songs, tmp_path):
    dataset, recipe = audio_dataset(songs), choose_recipe("ears")
    systems = baseline_systems(dataset, recipe, None)
    assert [system.name for system in systems] == [
        *("most-frequent", "loudness", "mfcc-svc", "encoder-logistic", "founding")
    ]
    assert (systems[2].recipe.sound.coefficients, systems[2].recipe.sound.frame_length) == (
        20,
        2048,
    )
    assert "encoder-logistic" not in [one.name for one in baseline_systems(dataset, recipe, "none")]
    hears = next(one for one in systems if one.baseline == "encoder-logistic")
    loaded = load_labelled(dataset, hears.recipe, QUIET)
    figures = run_baseline("encoder-logistic", loaded, tmp_path, hears.recipe, 3, 0).figures
    assert figures["metrics"]["accuracy"]["value"] > 0.5
    loud = run_baseline("loudness", loaded, tmp_path / "loud", hears.recipe, 3, 0)
    assert [one.item.song.id for one in loud.judged] == [song.id for song in loaded.songs]


def test_several_labels_have_baselines_by_average_precision(tmp_path):
    songs = made_songs(36, own=0.3)
    many = songs.with_songs([
        replace(song, multilabel=True, label=song.label + (";even" if k % 2 else ""))
        for k, song in enumerate(songs.songs)
    ])  # fmt: skip
    recipe = load_recipe("windows")
    systems = systems_of([recipe], [], [], QUIET, baseline_systems(many, recipe, None))
    conclusion = compare(many, systems, tmp_path, QUIET, [0], 2, 1)
    by_name = {row["system"]: row["map"] for row in conclusion.systems}
    assert by_name["means-logistic"] > by_name["most-frequent"]
    assert json.loads((tmp_path / "comparison.json").read_text())["metric"] == "map"


def test_missing_values_of_a_table_are_filled(tmp_path):
    songs = made_songs(24)
    bags = [replace(bag, features=bag.features.copy()) for bag in songs]
    bags[0].features[:, 0] = np.nan  # a value that this song lacks
    bags[1].features[0, 1] = np.nan
    run = run_baseline(
        "means-svc", replace(songs, bags=bags), tmp_path, load_recipe("windows"), 2, 0
    )
    assert run.figures["songs"] == 24


def test_a_recipe_of_several_networks_is_compared(songs, tmp_path):
    """Its networks are weighed on folds of their own."""
    recipe = choose_recipe("fast", {"training.folds": 2}, "musicnn")
    assert recipe.branches
    others = [one for one in baseline_systems(audio_dataset(songs), recipe, None) if one.baseline]
    systems = systems_of([recipe], [], [], QUIET, others[:1])
    conclusion = compare(audio_dataset(songs), systems, tmp_path, QUIET, [0], 2, 1)
    assert conclusion.systems[0]["system"] == "fast-mean_logit-song"


def test_the_command_goes_on_and_prints_baselines_beside_the_recipe(songs, tmp_path):
    how = ["--baselines", "--recipes", "fast", "--encoder", "none", "--seeds", "1", "--folds", "2"]
    first = command("compare", songs, "-o", tmp_path, *how)
    assert first.returncode == 0, first.stderr
    for name in ("most-frequent", "loudness", "mfcc-svc", "founding", "fast-mean_logit-song"):
        assert name in first.stdout
    again = command("compare", songs, "-o", tmp_path, *how)
    assert again.stderr.count("done already") == 5
    assert again.stdout == first.stdout
