"""Several labels a song, from the table to the answer; and calibration by folds."""

import csv
import json

import numpy as np
import pandas
import pytest

import songbag
from songbag.console import Console
from songbag.data.song import (
    Song,
    join_labels,
    label_names,
    split_labels,
    stratification_labels,
)
from songbag.data.song_table import read_songs, require_labels
from songbag.data.window_table import bags_from_table
from songbag.errors import SettingsError, SongTableError
from songbag.inference.model_file import load_model
from songbag.inference.predictions import probability_columns
from songbag.recipes.load import load_recipe
from songbag.tasks.compare import compare, systems_of
from songbag.tasks.cross_validate import cross_validate
from tests.helpers.songs import figures_of

QUIET = Console(quiet=True)


def window_frame(songs=48, seed=0, noise=1.0):
    """Songs of six windows; three labels of which a song has any number, each with a direction."""
    rng = np.random.default_rng(seed)
    directions = np.eye(6)[:3] * 3
    rows = []
    for k in range(songs):
        has = rng.random(3) < 0.45
        text = " | ".join(
            name for name, on in zip(("sad", "piano", "live"), has, strict=True) if on
        )
        for _ in range(6):
            shown = has & (rng.random(3) < 0.6)  # a label holds in part of a song
            value = shown @ directions + rng.normal(0, noise, 6)
            rows.append(
                {
                    "song": f"s{k}",
                    "labels": text,
                    "artist": f"a{k // 2}",
                    **{f"v{i}": value[i] for i in range(6)},
                }
            )
    return pandas.DataFrame(rows)


def bags_of(frame):
    return bags_from_table(frame, "song", "labels", "v*", multilabel=True)


def test_sets_are_written_in_one_way():
    assert split_labels(" sad;piano | sad;; ") == ("piano", "sad")
    assert split_labels("") == ()
    assert join_labels(["sad", "piano"]) == "piano;sad"
    songs = [Song(cell, "", label=cell, multilabel=True) for cell in ("a;b", "a", "a;b;c", "")]
    assert stratification_labels(songs) == ["b", "a", "c", ""]


def test_a_column_labels_makes_songs_multilabel(tmp_path):
    path = tmp_path / "songs.csv"
    path.write_text("path,labels\na.wav,sad;piano\nb.wav,piano|live\nc.wav,\nd.wav,live;sad\n")
    table = read_songs(path)
    assert label_names(table.songs) == ["live", "piano", "sad"]
    assert [song.label for song in table.songs] == ["piano;sad", "live;piano", "", "live;sad"]
    require_labels(table.songs, "")
    path.write_text("path,label,labels\na.wav,x,y\n")
    with pytest.raises(SongTableError, match="a column label and a column labels"):
        read_songs(path)
    path.write_text("path,labels\na.wav,x;y\nb.wav,x\nc.wav,x;y\n")
    with pytest.raises(SongTableError, match="'x' is on every song"):
        require_labels(read_songs(path).songs, "")


@pytest.mark.parametrize(
    "pooling",
    [
        "mean_logit",
        pytest.param("linear_softmax", marks=pytest.mark.full),
        pytest.param("attention", marks=pytest.mark.full),
    ],
)
def test_labels_are_learned_predicted_and_judged(pooling, tmp_path):
    result = songbag.train(
        bags_of(window_frame()),
        tmp_path / "m.songbag",
        epochs=40,
        pooling=pooling,
        folds=3,
        quiet=True,
    )
    assert result.metrics["multilabel"]
    assert result.metrics["metrics"]["map"]["value"] > result.metrics["baselines"]["map"] + 0.2
    card = result.model.card
    assert card.multilabel
    assert len(card.thresholds) == 3
    assert card.temperature != 1.0
    rows = result.predictions
    shares = rows[probability_columns(card.labels)].to_numpy()
    assert not np.allclose(shares.sum(axis=1), 1)
    said = [set(split_labels(text)) for text in rows["predicted"]]
    wanted = [
        {n for n, p, t in zip(card.labels, row, card.thresholds, strict=True) if p >= t}
        for row in shares
    ]
    assert said == wanted
    more = bags_of(window_frame(20, seed=9))
    answers = result.model.predict(more)
    assert list(answers.index) == [song.id for song in more.songs]
    truth = np.array([np.isin(card.labels, split_labels(s.label)) for s in more.songs])
    right = (answers[probability_columns(card.labels)].to_numpy() >= card.thresholds) == truth
    assert right.mean() > 0.75


def test_crossval_of_several_labels_and_its_figures_again_from_the_file(tmp_path):
    recipe = load_recipe("mlp", {"training.epochs": 15})
    found = cross_validate(bags_of(window_frame()), tmp_path, recipe, QUIET, 3, keep_models=True)
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    again = figures_of(rows, found.labels, multilabel=True)
    written = json.loads((tmp_path / "metrics.json").read_text())
    for name, value in written["metrics"].items():
        assert again["metrics"][name]["value"] == pytest.approx(value["value"], abs=1e-4)
    assert len(rows) == 48
    thresholds = [
        load_model(p, parts=()).card.thresholds for p in sorted(tmp_path.rglob("*.songbag"))
    ]
    assert len(set(thresholds)) > 1  # each from the other folds' songs


def test_several_labels_are_compared_by_mean_average_precision(tmp_path):
    recipe = load_recipe("mlp", {"training.epochs": 8})
    systems = systems_of([recipe], ["mean_logit", "max"], [], QUIET)
    found = compare(bags_of(window_frame()), systems, tmp_path, QUIET, [0, 1], 2)
    assert found.metric == "map"
    with open(tmp_path / "systems.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    written = [
        json.loads(path.read_text())["metrics"]["map"]["value"]
        for path in sorted(tmp_path.glob(f"runs/{rows[0]['system']}-seed*/metrics.json"))
    ]
    assert float(rows[0]["map"]) == pytest.approx(np.mean(written), abs=1e-4)
    assert float(rows[0]["map_low"]) <= float(rows[0]["map"]) <= float(rows[0]["map_high"])
    assert float(rows[0]["map"]) >= float(rows[1]["map"])
    (difference,) = found.differences
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert found.said[0].startswith("Highest map: ")
    by_loss = compare(bags_of(window_frame()), systems, tmp_path, QUIET, [0, 1], 2, metric="nll")
    assert by_loss.systems[0]["nll"] <= by_loss.systems[1]["nll"]
    with pytest.raises(SettingsError, match="no metric of songs with several labels"):
        compare(bags_of(window_frame()), systems, tmp_path, QUIET, [0], 2, metric="accuracy")


def test_models_and_tables_of_other_kinds_do_not_mix(tmp_path):
    many = bags_of(window_frame(24))
    model = songbag.train(many, tmp_path / "m.songbag", epochs=2, quiet=True).model.path
    from songbag.tasks.evaluate import evaluate_model

    frame = window_frame(24).assign(label=lambda f: np.where(f.index % 2 < 2, "sad", "live"))
    single = bags_from_table(frame, "song", "label", "v*")
    with pytest.raises(SongTableError, match=r"one label a song, .*m\.songbag several labels"):
        evaluate_model(load_model(model), single, QUIET)


# --- calibration ------------------------------------------------------------------------


def single_frame(songs=60, seed=0, spread=1.5):
    """Two labels that overlap: whoever learns them is at most right in four of five songs."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(songs):
        shift = rng.normal(0, spread)
        for _ in range(6):
            value = rng.normal((k % 2) * 1.2 + shift, 0.5, 6)
            rows.append(
                {
                    "song": f"s{k}",
                    "label": "ab"[k % 2],
                    "artist": f"a{k}",
                    **{f"v{i}": value[i] for i in range(6)},
                }
            )
    return pandas.DataFrame(rows)


@pytest.mark.full
def test_crossval_calibrates_each_fold_on_the_others(tmp_path):
    recipe = load_recipe("mlp", {"training.epochs": 100})
    bags = bags_from_table(single_frame(100), "song", "label", "v*")
    found = cross_validate(bags, tmp_path, recipe, QUIET, 4, keep_models=True)
    temperatures = found.figures["calibration"]["temperatures"]
    assert len(temperatures) == 4
    assert all(t > 1 for t in temperatures)  # a hundred songs by heart: far too sure
    rows = found.rows
    shares = np.array([[row["p_a"], row["p_b"]] for row in rows])
    y = np.array(["ab".index(row["label"]) for row in rows])
    by = np.array([temperatures[int(row["side"][-1]) - 1] for row in rows])
    raw = shares ** by[:, None]
    raw /= raw.sum(axis=1, keepdims=True)
    after, before = (-np.log(p[np.arange(len(y)), y].clip(1e-12)).mean() for p in (shares, raw))
    assert after < before
    for fold, path in enumerate(sorted(tmp_path.rglob("fold*.songbag"))):
        card = load_model(path, parts=()).card
        assert card.temperature == pytest.approx(temperatures[fold])
        assert card.precision


def test_a_vote_is_calibrated_unasked_and_others_when_asked(tmp_path):
    bags = bags_from_table(single_frame(40), "song", "label", "v*")
    vote = songbag.train(bags, tmp_path / "v.songbag", epochs=2, pooling="vote", quiet=True)
    assert vote.model.card.temperature != 1.0
    mean = songbag.train(bags, tmp_path / "m.songbag", epochs=2, quiet=True)
    assert mean.model.card.temperature == 1.0
    asked = songbag.train(bags, tmp_path / "f.songbag", epochs=2, folds=2, quiet=True)
    assert asked.model.card.temperature != 1.0


def test_unsure_answers_are_withheld(tmp_path):
    from songbag.errors import SettingsError
    from songbag.tasks.predict import PredictedRows, Withholding, required_confidence

    bags = bags_from_table(single_frame(120, spread=0.7), "song", "label", "v*")
    found = songbag.train(bags, tmp_path / "m.songbag", epochs=10, folds=4, quiet=True)
    card = found.model.card
    least = required_confidence(card, 0.7)
    assert 0.5 <= least < 1
    sure = PredictedRows({"id": "x", "status": "ok", "confidence": least, "predicted": "a"}, [])
    rules = Withholding(confidence=least)
    assert sure.withheld(rules) == sure
    row = PredictedRows(sure.row | {"confidence": least - 0.01}, []).withheld(rules).row
    assert (row["status"], row["predicted"]) == ("unsure", None)
    with pytest.raises(SettingsError, match="at most"):
        required_confidence(card, 0.9999)
    plain = songbag.train(bags, tmp_path / "p.songbag", epochs=1, quiet=True).model.card
    with pytest.raises(SettingsError, match="needs a calibrated model"):
        required_confidence(plain, 0.7)
