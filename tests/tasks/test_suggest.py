"""What is suggested to be labelled: the table, who chose, and what is never suggested."""

import csv
import shutil

import pandas
import pytest

import songbag
from songbag.errors import SettingsError, SongTableError
from tests.helpers.command import songbag as command


@pytest.fixture(scope="module")
def pool(songs, tmp_path_factory):
    """A folder of the songs of songs.csv without their labels, and a file that is none."""
    folder = tmp_path_factory.mktemp("unlabelled") / "pool"
    shutil.copytree(songs.parent / "audio", folder)
    (folder / "broken.mp3").write_bytes(b"no sound")
    return folder


@pytest.fixture(scope="module")
def table(model_path, pool):
    """Ten suggestions of the command."""
    path = pool.parent / "next.csv"
    done = command("suggest", model_path, pool, "-n", 10, "-o", path)
    assert done.returncode == 1, done.stderr
    assert "10 songs: 8 chosen by the model, 2 drawn at random" in done.stdout
    assert "not read: " in done.stderr
    assert "broken.mp3" in done.stderr
    return path


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_says_what_why_and_what_the_model_thinks(table, pool, model_path):
    found = rows(table)
    assert list(found[0]) == [
        *("path", "label", "chosen", "reason", "predicted", "confidence", "decision", "note"),
    ]  # fmt: skip
    assert len({row["path"] for row in found}) == 10
    answers = songbag.load(model_path).predict([pool])
    for row in found:
        assert (table.parent / row["path"]).is_file()
        assert row["label"] == row["decision"] == row["note"] == ""
        answer = answers.loc[str(table.parent / row["path"])]
        assert row["predicted"] == answer["predicted"]
        assert float(row["confidence"]) == pytest.approx(answer["confidence"], abs=1e-5)
        if row["chosen"] == "random":
            assert row["reason"] == "drawn at random"
        else:
            assert row["reason"].startswith(
                f"unsure: {row['predicted']} {answer['confidence']:.2f}"
            )
    nearest = [row["reason"].count("the nearest chosen before") for row in found]
    assert sum(nearest) == 7  # of eight, the first has none
    places = [place for place, row in enumerate(found) if row["chosen"] == "random"]
    assert 0 < places[0] < 5 <= places[1]  # evenly, for those who stop early


def test_the_same_call_suggests_the_same_and_another_seed_others(table, model_path, pool):
    again = songbag.suggest(model_path, pool, n=10, quiet=True)
    assert [row["path"] for row in rows(table)] == [
        f"pool/{p.split('/')[-1]}" for p in again["path"]
    ]
    other = songbag.suggest(model_path, pool, n=10, seed=1, quiet=True)
    assert set(again[again["chosen"] == "random"]["path"]) != set(
        other[other["chosen"] == "random"]["path"]
    )


def test_labels_are_never_written_over(table, model_path, pool):
    before = table.read_bytes()
    done = command("suggest", model_path, pool, "-o", table)
    assert done.returncode == 2
    assert "perhaps with labels" in done.stderr
    assert table.read_bytes() == before
    with pytest.raises(SettingsError, match=r"written as \.csv"):
        songbag.suggest(model_path, pool, output=table.with_suffix(".xlsx"))


def test_what_has_a_label_or_was_trained_on_is_not_suggested(table, model_path, pool, songs):
    later = songbag.suggest(model_path, pool, n=50, labelled=[table], quiet=True)
    taken = {row["path"].split("/")[-1] for row in rows(table)}
    assert {path.split("/")[-1] for path in later["path"]}.isdisjoint(taken)
    assert len(later) == 14
    own = pandas.read_csv(songs)  # a song of it was trained on, or tested
    own["path"] = [str(songs.parent / path) for path in own["path"]]
    unlabelled = own.assign(label=[*own["label"][:4], *[""] * (len(own) - 4)], id=own["path"])
    left = songbag.suggest(model_path, unlabelled, n=50, quiet=True)
    assert set(left["path"]) == set(own["path"][4:])
    split = pandas.read_csv(model_path.parent / "genre-training" / "split.csv")
    by_id = unlabelled.assign(id=pandas.read_csv(songs)["path"])
    left = songbag.suggest(model_path, by_id, n=50, quiet=True)
    trained = set(split[split["side"] != "test"]["id"])
    assert set(left["id"]) == set(by_id["id"][4:]) - trained
    with pytest.raises(SongTableError, match="no song is left to label"):
        songbag.suggest(model_path, own, quiet=True)


def test_no_artist_is_both_drawn_and_chosen(model_path, pool, tmp_path):
    files = sorted(path for path in pool.iterdir() if path.name != "broken.mp3")
    table = pandas.DataFrame({"path": map(str, files), "mood": "sad"})
    table["artist"] = [f"artist {place // 2}" for place in range(len(files))]
    found = songbag.suggest(model_path, table, n=10, output=tmp_path / "next.csv", quiet=True)
    artists = found.groupby("chosen")["artist"].agg(set)
    assert artists["model"].isdisjoint(artists["random"])
    assert set(found["mood"]) == {"sad"}
    written = rows(tmp_path / "next.csv")
    assert [row["path"] for row in written] == list(found["path"])  # absolute, and elsewhere
    assert "id" not in written[0]
    assert [row["artist"] for row in written] == list(found["artist"])
