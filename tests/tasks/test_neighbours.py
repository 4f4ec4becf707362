"""neighbours.csv of trainings with an encoder, and what the report shows of it."""

import csv

import numpy as np
import pytest

from songbag.encoders.choose import choose_recipe
from songbag.report.neighbours import NEAREST
from songbag.report.write import write_report
from songbag.storage.files import read_csv, write_csv
from songbag.tasks.cross_validate import cross_validate
from songbag.tasks.train import load_labelled
from tests.helpers.report_pages import Page, hold_the_rules
from tests.helpers.songs import QUIET, audio_dataset, train_file


@pytest.fixture(scope="module")
def table(songs, tmp_path_factory):
    """The generated songs, four artists a label; of one song the label is wrong."""
    rows = list(csv.DictReader(songs.open()))
    for number, row in enumerate(rows):
        row["path"] = str(songs.parent / row["path"])
        row["artist"] = f"{row['label']} {number % 4}"
    wrong = rows[1]
    wrong["label"] = next(row["label"] for row in rows if row["label"] != wrong["label"])
    path = tmp_path_factory.mktemp("labels") / "songs.csv"
    write_csv(path, rows, list(rows[0]))
    return path, wrong


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    recipe = choose_recipe("fast", encoder="musicnn")
    return train_file(audio_dataset(table[0]), tmp_path_factory.mktemp("run") / "m.songbag", recipe)


def test_neighbours_of_test_songs_are_of_the_training_and_nobody_is_of_ones_own_artist(run, table):
    rows = read_csv(run.folder / "neighbours.csv")
    sides = {row["id"]: row for row in read_csv(run.folder / "split.csv")}
    assert {row["id"] for row in rows} == set(sides)
    assert len(rows) == NEAREST * len(sides)
    for row in rows:
        own, other = sides[row["id"]], sides[row["neighbour"]]
        assert own["group"] != other["group"]
        assert (row["label"], row["neighbour_label"]) == (own["label"], other["label"])
        assert own["side"] != "test" or other["side"] == "train"
    distances = np.array([float(row["distance"]) for row in rows]).reshape(-1, NEAREST)
    assert (
        (np.diff(distances, axis=1) >= 0).all() and distances.min() > -1e-6 and distances.max() < 2
    )


def test_the_report_shows_a_wrong_label_and_links_songs_of_the_training(run, table):
    page = Page(run.folder / "report.html")
    hold_the_rules(page)
    assert "Labels that no neighbour shares" in page.said
    doubtful = page.said.partition("Labels that no neighbour shares")[2]
    name = next(
        row["id"]
        for row in read_csv(run.folder / "split.csv")
        if table[1]["path"].endswith(row["id"].rpartition("/")[2])
    )
    assert name in doubtful.partition("Does confidence")[0]
    wrong = read_csv(run.folder / "predictions.csv")
    for row in wrong:  # every answer is a mistake
        row["predicted"] = next(k[2:] for k in row if k.startswith("p_") and k[2:] != row["label"])
    write_csv(run.folder / "predictions.csv", wrong, list(wrong[0]))
    page = Page(write_report(run.folder, run.folder / "again.html"))
    hold_the_rules(page)
    nearest = {
        row["id"]: row["neighbour"]
        for row in read_csv(run.folder / "neighbours.csv")
        if row["rank"] == "1"
    }
    cards = page.text.split('<article class="song">')[1:]
    assert cards
    for card, row in zip(
        cards, sorted(wrong, key=lambda row: -float(row["confidence"])), strict=False
    ):
        assert "The nearest songs of its training" in card
        assert f">{nearest[row['id']]}</a>" in card.partition('<ol class="nearest">')[2]


def test_a_cross_validation_compares_with_the_other_folds(table, tmp_path):
    recipe = choose_recipe("fast", encoder="musicnn")
    dataset = load_labelled(audio_dataset(table[0]), recipe, QUIET)
    cross_validate(dataset, tmp_path, recipe, QUIET, count=2)
    fold_of = {row["id"]: row["fold"] for row in read_csv(tmp_path / "folds.csv")}
    rows = read_csv(tmp_path / "neighbours.csv")
    assert rows and all(fold_of[row["id"]] != fold_of[row["neighbour"]] for row in rows)


def test_without_an_encoder_there_are_no_neighbours(trained):
    assert not (trained.folder / "neighbours.csv").exists()
    assert "nearest songs of its training" not in (trained.folder / "report.html").read_text()
