"""`songbag evaluate --robust`: the table, its files, the report, and what it refuses."""

import json

import numpy as np
import pandas
import pytest

import songbag
from songbag.audio.changes import CHANGES
from songbag.errors import SettingsError
from songbag.inference.model_file import load_model
from songbag.storage.files import read_csv
from songbag.tasks.robust import UNCHANGED, measure_robustness
from tests.helpers.command import songbag as command
from tests.helpers.songs import QUIET, audio_dataset, predict_files


def test_the_table_is_on_the_terminal_in_files_and_in_the_report(
    model_path, songs, trained, tmp_path
):
    done = command("evaluate", model_path, songs, "-o", tmp_path, "--robust")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "metrics.json").read_text())
    rows = figures["robust"]
    assert [row["change"] for row in rows] == [UNCHANGED, *CHANGES]
    judged = sum(trained.certificate.counts["test"].values())
    assert {row["songs"] + row["failed"] for row in rows} == {judged}  # none of the training
    accuracy = figures["metrics"]["accuracy"]
    assert {name: rows[0][name] for name in ("changed", "accuracy", "low", "high")} == {
        "changed": 0,
        "accuracy": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
    }
    told = read_csv(tmp_path / "robust.csv")
    assert [int(row["changed"]) for row in told] == [row["changed"] for row in rows]
    page = (tmp_path / "report.html").read_text()
    for row in rows:
        line = next(line for line in done.stdout.splitlines() if line.startswith(row["change"]))
        counts = line.removeprefix(row["change"]).split()[:3]
        assert counts == [str(row[name]) for name in ("songs", "failed", "changed")]
        assert row["change"] in page


def test_counts_are_of_songs_whose_answer_differs(model_path, songs, trained):
    """Answers given before the change are made wrong: then exactly those count as changed."""
    model, dataset = load_model(model_path), audio_dataset(songs, workers=2)
    items = predict_files(dataset.songs[:4], model_path)
    found = measure_robustness(model, dataset, items, np.arange(4), QUIET)
    moved = [predict_files([song], model_path)[0] for song in dataset.songs[4:8]]
    other = [
        type(item)(item.song, given.prediction) for item, given in zip(items, moved, strict=True)
    ]
    again = measure_robustness(model, dataset, other, np.arange(4), QUIET)
    differ = sum(
        a.prediction.label_indices != b.prediction.label_indices
        for a, b in zip(items, other, strict=True)
    )
    for row, twice in zip(found[1:], again[1:], strict=True):
        assert row["accuracy"] == twice["accuracy"]
        assert abs(row["changed"] - twice["changed"]) <= differ
        assert row["changed"] + twice["changed"] >= differ


def test_python_gives_the_same_table(model_path, songs, tmp_path):
    judged = songbag.evaluate(model_path, songs, tmp_path, quiet=True, robust=True)
    table = pandas.DataFrame(judged.metrics["robust"])
    assert list(table.change) == [UNCHANGED, *CHANGES]
    assert (tmp_path / "robust.csv").exists()
    plain = songbag.evaluate(model_path, songs, tmp_path / "plain", quiet=True)
    assert "robust" not in plain.metrics
    assert not (tmp_path / "plain" / "robust.csv").exists()


def test_windows_of_a_table_have_no_sound_to_change(model_path):
    bags = songbag.bags_from_arrays(np.zeros((3, 4)), ["waltz"] * 3, ["a"] * 3)
    with pytest.raises(SettingsError, match="no audio files"):
        songbag.evaluate(model_path, bags, quiet=True, robust=True)
