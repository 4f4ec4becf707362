"""The law of suggested songs: those that a model chose are trained on, and no split tests them."""

import csv
from dataclasses import replace

import numpy as np
import pandas
import pytest

import songbag
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.errors import TrainingError
from songbag.quality import shortcuts
from songbag.quality.label_noise import label_noise_findings
from songbag.recipes.load import load_recipe
from songbag.tasks import leakage
from songbag.tasks.train import split_dataset
from songbag.training.plan import TrainingPlan
from tests.helpers.command import songbag as command
from tests.helpers.songs import QUIET
from tests.tasks.test_given_splits import FAST, noise_table

HARD = (1, 4, 7, 10)  # places of the songs that a model chose


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixteen songs by artists of two songs each; a model chose four, by four artists."""
    noise = noise_table(tmp_path_factory.mktemp("noise"), 16, lambda number: number // 2)
    chosen = ["model" if place in HARD else "random" for place in range(16)]
    return noise.assign(chosen=chosen, id=[f"s{place}" for place in range(16)])


@pytest.fixture(scope="module")
def windows(table):
    """The same songs as a table of windows."""
    rng, rows = np.random.default_rng(0), []
    for row in table.to_dict("records"):
        for _ in range(4):
            value = rng.normal(2 * (row["label"] == "high"))
            rows.append({"song": row["id"], "value": value, "other": rng.normal()} | row)
    frame = pandas.DataFrame(rows).drop(columns=["path", "id"])
    return songbag.bags_from_table(frame, "song", "label", ["value", "other"])


KEPT = {f"s{place}" for artist in (0, 2, 3, 5) for place in (2 * artist, 2 * artist + 1)}


def test_a_held_out_test_has_none_and_the_training_all(table):
    result = songbag.train(table, **FAST)
    split = pandas.read_csv(result.folder / "split.csv", index_col="id")["side"]
    assert set(split[split == "test"].index).isdisjoint(KEPT)
    assert (split[sorted(KEPT)] == "train").all()
    assert set(result.predictions.index) == set(split[split == "test"].index)
    said = "4 songs that a model chose, and 4 of the same artist or file, are trained on"
    assert said in result.model.card.split.method
    assert said in result.metrics["split"]["method"]


@pytest.mark.parametrize("seed", range(8))
def test_no_seed_tests_or_validates_one(windows, seed):
    recipe = load_recipe("mlp", {"training.keep": "best"})
    split = split_dataset(windows, recipe, seed)
    sides = dict(zip((song.id for song in windows.songs), split.sides, strict=True))
    assert {sides[name] for name in KEPT} == {"train"}
    assert "test" in sides.values()
    assert "validation" in sides.values()


def test_a_cross_validation_trains_every_fold_on_them(windows, tmp_path, monkeypatch):
    from songbag.tasks import cross_validate as task

    trained, calibrated = [], []
    fit, calibrate = task.fit, task.calibrate
    monkeypatch.setattr(
        task, "fit", lambda songs, *rest, **more: trained.append(songs) or fit(songs, *rest, **more)
    )
    monkeypatch.setattr(
        task, "calibrate", lambda p, y, kind: calibrated.append(len(y)) or calibrate(p, y, kind)
    )
    crossed = songbag.crossval(windows, tmp_path, folds=3, epochs=2, quiet=True)
    assert sum(calibrated) == 2 * 8  # each of eight tested songs calibrates the two other folds
    assert len(trained) == 3
    for songs in trained:
        assert {song.id for song in songs.songs} >= KEPT
    assert set(crossed.predictions.index) == {f"s{place}" for place in range(16)} - KEPT
    with open(tmp_path / "folds.csv") as file:
        folds = {row["id"]: row["fold"] for row in csv.DictReader(file)}
    assert {folds[name] for name in KEPT} == {""}
    assert crossed.metrics["split"]["counts"]["train"] == {"high": 4, "low": 4}
    assert "are trained on and never tested" in crossed.metrics["split"]["method"]


def test_what_a_table_states_obeys_too(table, windows):
    stated = ["train"] * 8 + ["test"] * 8
    given = table.assign(split=["" if n in HARD else side for n, side in enumerate(stated)])
    alone = given.assign(artist=[f"artist {n}" for n in range(16)])
    split = pandas.read_csv(songbag.train(alone, **FAST).folder / "split.csv", index_col="id")
    assert {split["side"][f"s{place}"] for place in HARD} == {"train"}
    assert (split["side"] == "test").sum() == 7
    with pytest.raises(TrainingError, match="stand on two sides"):  # an artist of theirs is tested
        songbag.train(given, **FAST)
    folds = alone.assign(fold=["" if n in HARD else str(n % 3) for n in range(16)])
    folds = folds.drop(columns="split")
    crossed = songbag.crossval(folds, **FAST)
    assert crossed.metrics["split"]["method"].endswith(
        "; 4 songs that a model chose are trained on and never tested"
    )
    assert set(crossed.predictions.index).isdisjoint({f"s{place}" for place in HARD})
    assert len(crossed.predictions) == 12


def test_a_stated_test_leaves_the_validation_to_be_drawn(windows):
    """Other songs of an artist of whom a model chose one are not validated on either."""
    stated = [
        replace(song, split=None if song.chosen_by_model else "test" if n >= 12 else "train")
        for n, song in enumerate(windows.songs)
    ]
    recipe = load_recipe("mlp", {"training.keep": "best"})
    for seed in range(8):
        split = split_dataset(windows.with_songs(stated), recipe, seed)
        sides = dict(zip((song.id for song in windows.songs), split.sides, strict=True))
        assert {sides[name] for name in KEPT} == {"train"}
        assert "validation" in sides.values()


def test_a_comparison_and_every_split_of_leakage_obey(windows, tmp_path, monkeypatch):
    how = {"poolings": ["mean_probability", "max"], "seeds": 1, "folds": 2, "epochs": 1}
    songbag.compare(windows, tmp_path, **how, recipes=["mlp"], quiet=True)
    answers = pandas.read_csv(tmp_path / "answers.csv")
    assert set(answers["id"]).isdisjoint(KEPT)
    tested, predict_all = set(), leakage.predict_all

    def watched(model, songs: MemoryDataset):
        tested.update(song.id for song in songs.songs)
        return predict_all(model, songs)

    monkeypatch.setattr(leakage, "predict_all", watched)
    recipe = load_recipe("mlp", {"training.epochs": 1})
    leakage.measure_leakage(windows, tmp_path / "leakage", recipe, QUIET, count=2)
    assert tested == {f"s{place}" for place in range(16)} - KEPT  # single windows held out
    for arm in ("group", "song", "permuted"):
        rows = pandas.read_csv(tmp_path / "leakage" / arm / "predictions.csv")
        judged = set(rows["id"])
        kept = KEPT if arm != "song" else {f"s{place}" for place in HARD}  # artists may cross
        assert judged == {f"s{place}" for place in range(16)} - kept


def test_they_calibrate_nothing(windows):
    plan = TrainingPlan.of(windows, load_recipe("mlp"), QUIET)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(16, 2))
    wrong = logits.copy()
    wrong[list(HARD)] = -50 * wrong[list(HARD)]
    assert plan.calibration(logits, windows.songs) == plan.calibration(wrong, windows.songs)
    rest = np.delete(np.arange(16), HARD)
    wrong[rest] *= -50
    assert plan.calibration(logits, windows.songs) != plan.calibration(wrong, windows.songs)


def test_an_evaluation_leaves_them_out(table, tmp_path):
    model = tmp_path / "m.songbag"
    first, later = table[8:], table[:8]
    songbag.train(first.drop(columns="chosen"), model, **FAST)
    result = songbag.evaluate(model, later, quiet=True)
    assert result.metrics["songs"] == 8 - 3
    assert result.metrics["chosen_by_model"] == 3
    assert result.predictions["side"].value_counts().to_dict() == {"unheard": 5, "chosen": 3}


def test_where_a_model_chose_all_songs_there_are_no_figures(table):
    result = songbag.train(table.assign(chosen="model"), **FAST)
    assert result.metrics == {}
    with pytest.raises(TrainingError, match="there are 0"):
        songbag.crossval(table.assign(chosen="model"), folds=2, **FAST)


def test_train_takes_several_tables(table, tmp_path):
    first = table[:8].drop(columns="chosen")
    late = table[8:].assign(decision="labelled").astype({"label": object})
    late.loc[[9, 12], ["label", "decision"]] = [["", "skipped"], ["", ""]]
    first.to_csv(tmp_path / "songs.csv", index=False)
    late.to_csv(tmp_path / "next.csv", index=False)
    both = [tmp_path / "songs.csv", tmp_path / "next.csv"]
    model = tmp_path / "m.songbag"
    done = command("train", *both, "-o", model, "--recipe", "fast", "--encoder", "none")
    assert done.returncode == 0, done.stderr
    assert "left out: 2 songs without a label: 1 not labelled, 1 skipped" in done.stderr
    assert "1 songs that a model chose, and 1 of the same artist or file," in done.stderr
    assert "1 songs that a model chose" in command("info", model).stdout
    split = pandas.read_csv(tmp_path / "m-training" / "split.csv", index_col="id")
    assert len(split) == 14
    assert split["side"]["s10"] == split["side"]["s11"] == "train"
    again = songbag.train(both, **FAST)
    assert again.model.card.split.hash == songbag.load(model).card.split.hash
    late.assign(id="s0", path=table["path"][0], label="high")[:1].to_csv(both[1], index=False)
    alone = command("train", *both, "-o", model, "--song", "id")
    assert "is trained on alone" in alone.stderr
    refused = command("train", *both, "-o", model, "--recipe", "fast")
    assert refused.returncode == 2
    assert "label of 's0' is 'high', and 'low' in" in refused.stderr


def test_a_check_judges_no_song_that_a_model_chose(table, monkeypatch):
    songs = [
        Song(row["id"], row["path"], row["label"], extra={"chosen": row["chosen"]})
        for row in table.to_dict("records")
    ]
    wrong = {song.id: {"high": 0.9 * (song.label == "low") + 0.05} for song in songs}
    wrong = {name: {**shares, "low": 1 - shares["high"]} for name, shares in wrong.items()}
    findings = label_noise_findings(songs, wrong, 99)
    assert {one.id for one in findings} == {f"s{place}" for place in set(range(16)) - set(HARD)}
    chosen = [replace(song, extra={"chosen": "model"}) for song in songs]
    assert label_noise_findings(chosen, wrong, 99) == []
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(shortcuts, "measure_shortcut", lambda fact, values, *_: seen.extend(values))
        list(shortcuts.shortcut_findings(songs, {"loudness": list(range(16))}))
    assert seen == [place for place in range(16) if place not in HARD]
