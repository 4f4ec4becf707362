"""Comparisons and the leak meter, recomputed from their files by other programs."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from songbag.console import Console
from songbag.data.dataset import Failure
from songbag.data.song import Song
from songbag.data.window_table import bags_from_arrays
from songbag.errors import SettingsError, SongTableError, TrainingError
from songbag.recipes.load import load_recipe
from songbag.tasks.compare import compare, systems_of
from songbag.tasks.conclusions import conclude
from songbag.tasks.cross_validate import cross_validate
from songbag.tasks.leakage import measure_leakage, sentences

QUIET = Console(quiet=True)
SEEDS = 3


def made_songs(songs=36, classes=3, strength=1.2, seed=0, own=1.0, of_artist=2):
    """Songs of eight windows of six values; some share an artist, who has a sound too."""
    rng = np.random.default_rng(seed)
    labels = [f"label {k % classes}" for k in range(songs)]
    centre = rng.normal(0, 1, (classes, 6))
    artists = [f"artist {k % classes} {k // (of_artist * classes)}" for k in range(songs)]
    sound = {name: rng.normal(0, own, 6) for name in artists}
    values = [
        strength * centre[k % classes] + sound[artists[k]] + rng.normal(0, 2, (8, 6))
        for k in range(songs)
    ]
    rows = [f"song {k}" for k in range(songs) for _ in range(8)]
    repeated = {"artist": [a for a in artists for _ in range(8)]}
    return bags_from_arrays(
        np.concatenate(values), [name for name in labels for _ in range(8)], rows, **repeated
    )


def chosen(poolings, losses=("song",), epochs=6):
    recipe = load_recipe("mlp", {"training.epochs": epochs})
    return systems_of([recipe], poolings, losses, QUIET)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    systems = [*chosen(["mean_logit", "max"]), chosen(["mean_logit", "max"], ["window"])[0]]
    compare(made_songs(), systems, folder, QUIET, range(SEEDS), 2, 1)
    return folder


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def right_by_system(folder):
    """System to right (seeds, songs), from answers.csv; and the songs' groups."""
    rows = rows_of(folder / "answers.csv")
    found = {}
    for column in list(rows[0])[2:]:
        system, _, seed = column.rpartition(" seed ")
        found.setdefault(system, {})[int(seed)] = [int(row[column]) for row in rows]
    right = {name: np.array([by[seed] for seed in sorted(by)]) for name, by in found.items()}
    return right, np.array([row["group"] for row in rows])


def test_every_system_meets_the_same_folds_and_every_song_once(compared):
    runs = rows_of(compared / "runs.csv")
    systems = {row["system"] for row in runs}
    assert len(systems) == 3
    assert len(runs) == 3 * SEEDS * 2
    for seed in range(SEEDS):
        folds = set()
        for system in systems:
            lines = (compared / "runs" / f"{system}-seed{seed}" / "folds.csv").read_text()
            folds.add(lines)
            mine = [r for r in runs if r["system"] == system and r["seed"] == str(seed)]
            assert sum(int(row["songs"]) for row in mine) == 36
        assert len(folds) == 1


def test_tables_agree_with_scipy_and_statsmodels(compared):
    right, groups = right_by_system(compared)
    runs = rows_of(compared / "runs.csv")
    for row in rows_of(compared / "systems.csv"):
        ours = right[row["system"]]
        assert float(row["accuracy"]) == pytest.approx(ours.mean(), abs=1e-5)
        counted = sum(int(r["right"]) for r in runs if r["system"] == row["system"])
        assert counted == ours.sum()
        seconds = [float(r["seconds"]) for r in runs if r["system"] == row["system"]]
        assert float(row["seconds"]) == pytest.approx(sum(seconds) / SEEDS, abs=1e-3)
        low, high = scipy_interval(ours.mean(axis=0), groups)
        assert float(row["accuracy_low"]) == pytest.approx(low, abs=0.03)
        assert float(row["accuracy_high"]) == pytest.approx(high, abs=0.03)
    pairs = rows_of(compared / "differences.csv")
    assert len(pairs) == 3
    for row in pairs:
        a, b = right[row["a"]], right[row["b"]]
        assert float(row["difference"]) == pytest.approx(a.mean() - b.mean(), abs=1e-5)
        low, high = scipy_interval(a.mean(axis=0) - b.mean(axis=0), groups)
        if low < high:
            assert float(row["low"]) == pytest.approx(low, abs=0.03)
            assert float(row["high"]) == pytest.approx(high, abs=0.03)
        most_a, most_b = a.mean(axis=0) > 0.5, b.mean(axis=0) > 0.5
        table = [[0, np.sum(most_a & ~most_b)], [np.sum(~most_a & most_b), 0]]
        assert float(row["p_mcnemar"]) == pytest.approx(mcnemar(table).pvalue, abs=1e-6)
        assert (int(row["only_a_right"]), int(row["only_b_right"])) == (table[0][1], table[1][0])
    for plain, adjusted in (("p", "p_adjusted"), ("p_mcnemar", "p_mcnemar_adjusted")):
        holm = multipletests([float(row[plain]) for row in pairs], method="holm")[1]
        assert [float(row[adjusted]) for row in pairs] == pytest.approx(holm.tolist(), abs=1e-5)
    for row in pairs:
        assert (row["told_apart"] == "True") == (float(row["p_adjusted"]) < 0.05)


def scipy_interval(values, groups):
    """Percentile bootstrap over groups of a mean over songs, by scipy."""
    names = np.unique(groups)
    sums = np.array([values[groups == name].sum() for name in names])
    sizes = np.array([(groups == name).sum() for name in names])
    found = bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(1),
        vectorized=True,
    ).confidence_interval
    return found.low, found.high


def test_it_says_what_the_songs_cannot_tell(compared):
    said = json.loads((compared / "comparison.json").read_text())["said"]
    assert said[0].startswith("Highest: ")
    assert "36 songs of 18 groups: differences under" in said[-1]
    curves = json.loads((compared / "comparison.json").read_text())["curves"]
    assert len(curves) == 3
    assert all(len(curve["loss"]) == 6 for curve in curves.values())


def test_a_difference_that_is_there_is_told_apart(tmp_path):
    systems = chosen(["mean_logit", "max"], epochs=1)
    compare(made_songs(90, 2, 3.0), systems, tmp_path, QUIET, [0], 2, 1)
    # The second system's answers are spoilt by hand: every other song gets the wrong label.
    path = tmp_path / "runs" / "mlp-max-song-seed0" / "predictions.csv"
    rows = rows_of(path)
    for number, row in enumerate(rows):
        own = row["label"]
        for name in ("label 0", "label 1"):
            row[f"p_{name}"] = "0.9" if (name == own) == bool(number % 2) else "0.1"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    names = [system.name for system in systems]
    found = conclude(tmp_path, {n: [tmp_path / "runs" / f"{n}-seed0"] for n in names})
    assert found.differences[0]["told_apart"]
    assert "mlp-mean_logit-song is better than mlp-max-song by" in " ".join(found.said)


def test_runs_of_other_songs_are_refused(compared, tmp_path):
    systems = chosen(["mean_logit", "max"], epochs=1)
    compare(made_songs(24), systems, tmp_path, QUIET, [0], 2, 1)
    runs = {
        "one": [tmp_path / "runs" / "mlp-max-song-seed0"],
        "other": [compared / "runs" / "mlp-max-song-seed0"],
    }
    with pytest.raises(SongTableError, match="the songs of other are not those"):
        conclude(tmp_path, runs)


def test_what_cannot_be_compared():
    assert [s.name for s in chosen(["hard_vote", "vote"], ["song", "window"])] == [
        "mlp-hard_vote-window",
        "mlp-vote-song",
        "mlp-vote-window",
    ]
    with pytest.raises(SettingsError, match="nothing to compare"):
        chosen(["vote"])
    with pytest.raises(SettingsError, match=r"no pooling 'voter'\. Did you mean 'vote'"):
        chosen(["vote", "voter"])
    with pytest.raises(SettingsError, match="no loss 'songs'"):
        chosen(["vote"], ["song", "songs"])


def folds_done(folder):
    journals = folder.rglob("folds.journal")
    return sum(path.read_bytes().count(b"\n") for path in journals)


@pytest.mark.full  # test_killed.py kills comparisons in every run, sooner
def test_a_killed_comparison_goes_on_and_ends_as_an_undisturbed_one(tmp_path):
    table = tmp_path / "windows.csv"
    bags = made_songs(24)
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["song", "label", "artist", *(f"v{k}" for k in range(6))])
        for bag, song in zip(bags.bags, bags.songs, strict=True):
            for window in bag.features.tolist():
                writer.writerow([bag.id, bag.label, song.artist, *window])

    def start(out):
        command = [sys.executable, "-m", "songbag", "compare", table, "-o", out, "--song", "song"]
        command += ["--label", "label", "--feature", "v*", "--poolings", "mean,attention"]
        command += ["--seeds", "1", "--folds", "3", "--epochs", "12", "--threads", "1"]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    whole = start(tmp_path / "whole")
    assert "differences under" in whole.communicate()[0]
    killed = 0
    for wanted in (1, 4):  # folds that are in a journal when it is killed
        process = start(tmp_path / "killed")
        while process.poll() is None and killed < 2:
            if folds_done(tmp_path / "killed") >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.01)
        process.communicate()
    assert killed == 2
    text = start(tmp_path / "killed").communicate()[0]
    assert "done already" in text
    for name in ("answers.csv", "differences.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    without = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / name)]
        for name in ("systems.csv", "runs.csv")
        for folder in (tmp_path / "killed", tmp_path / "whole")
    ]
    assert without[0] == without[1]
    assert without[2] == without[3]


# --- the leak meter ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaked(tmp_path_factory):
    recipe = load_recipe("mlp", {"training.epochs": 30})
    # Artists, of four songs each, sound more unlike than labels.
    songs = made_songs(48, 2, strength=0.2, seed=3, own=3.0, of_artist=4)
    folder = tmp_path_factory.mktemp("leakage")
    return measure_leakage(songs, folder, recipe, QUIET, 3), folder


@pytest.mark.full
def test_what_leaks_is_measured(leaked):
    rows, folder = leaked
    of = {row["split"]: row["accuracy"] for row in rows}
    assert set(of) == {"group", "song", "window", "permuted", "permuted_window"}
    assert of["window"] > of["group"] + 0.15  # songs are recognised
    assert of["song"] > of["group"] + 0.1  # so are artists
    assert of["permuted_window"] > 0.8  # even where labels mean nothing
    assert of["permuted"] < 0.7
    for row in rows:
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert ("WRONG" in row["what"]) == ("window" in row["split"])
    assert [float(row["accuracy"]) for row in rows_of(folder / "leakage.csv")] == pytest.approx(
        [row["accuracy"] for row in rows], abs=1e-5
    )
    assert any("memory, not genre" in sentence for sentence in sentences(rows))


def test_songs_that_failed_are_reported_once_and_not_as_packed(tmp_path, capsys):
    songs = made_songs(12)
    gone = Failure(Song("gone.mp3", "gone.mp3", label="x"), "missing", "gone.mp3: no such file")
    cross_validate(
        replace(songs, failures=(gone,)), tmp_path, load_recipe("mlp"), Console(), count=2
    )
    said = capsys.readouterr().err
    assert "fold 2 of 2" in said and "packed" not in said
    assert any(row["status"] == "failed" for row in rows_of(tmp_path / "predictions.csv"))


def test_several_labels_have_no_leak_meter(tmp_path):
    songs = made_songs(12)
    many = songs.with_songs([replace(song, multilabel=True) for song in songs.songs])
    with pytest.raises(TrainingError, match="one label each"):
        measure_leakage(many, tmp_path, load_recipe("mlp"), QUIET, 2)
