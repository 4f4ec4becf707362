"""Two models on the same songs: only songs that neither knows, and every changed answer."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

import songbag
from songbag.data.song import Song
from songbag.errors import SettingsError, SongTableError
from songbag.inference.model_file import load_model, used_in_training
from songbag.recipes.load import load_recipe
from songbag.tasks.same_split import EarlierSplit
from tests.helpers.command import songbag as command
from tests.helpers.report_pages import Page, hold_the_rules, sounds
from tests.helpers.songs import audio_dataset, train_file
from tests.tasks.test_compare import made_songs


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def second(songs, trained, tmp_path_factory):
    """A model of one epoch and of another seed, with the test songs of the first."""
    recipe = load_recipe("founding", {"training.epochs": 1})
    path = tmp_path_factory.mktemp("second") / "genre.songbag"
    return train_file(audio_dataset(songs), path, recipe, seed=3, same_split=trained.model_path)


@pytest.fixture(scope="module")
def compared(trained, second, songs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "cmp"
    done = command("compare", trained.model_path, second.model_path, songs, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_only_songs_that_neither_was_trained_on_are_compared(compared, trained, second, songs):
    folder, printed = compared
    ids = [row["path"] for row in rows_of(songs)]
    heard = [
        used_in_training(load_model(one.model_path, ()).card, ids) for one in (trained, second)
    ]
    unheard = {id_ for id_, a, b in zip(ids, *heard, strict=True) if not (a or b)}
    assert 0 < len(unheard) < len(ids)
    assert {row["id"] for row in rows_of(folder / "answers.csv")} == unheard
    comparison = json.loads((folder / "comparison.json").read_text())
    assert list(comparison["models"].values()) == [int(one.sum()) for one in heard]
    aside = len(ids) - len(unheard)
    assert f"{aside} songs are set aside" in " ".join(printed.split())


def test_changed_answers_are_those_of_both_models(compared):
    folder, _ = compared
    first, second = (
        {row["id"]: row for row in rows_of(folder / "runs" / name / "predictions.csv")}
        for name in json.loads((folder / "comparison.json").read_text())["models"]
    )
    changed = {row["id"]: row for row in rows_of(folder / "changed.csv")}
    assert changed  # one epoch of another network: some answers differ
    for id_, row in first.items():
        assert (id_ in changed) == (row["predicted"] != second[id_]["predicted"])
    kinds = {"became right": (0, 1), "became wrong": (1, 0), "wrong in both": (0, 0)}
    for id_, row in changed.items():
        assert (row["first"], row["second"]) == (first[id_]["predicted"], second[id_]["predicted"])
        assert kinds[row["change"]] == tuple(row[n] == row["label"] for n in ("first", "second"))
    page = Page(folder / "report.html")
    hold_the_rules(page)
    assert "Songs whose answer changed" in page.said
    for id_, row in changed.items():
        assert id_ in page.said
        assert f"was called {row['first']} , now {row['second']}" in page.said
    assert len(sounds(page)) >= len(changed)


def test_a_changed_song_has_its_paired_difference(compared):
    folder, _ = compared
    (pair,) = rows_of(folder / "differences.csv")
    answers = rows_of(folder / "answers.csv")
    right = [[int(row[f"{pair[side]} seed 0"]) for row in answers] for side in "ab"]
    assert float(pair["difference"]) == pytest.approx(
        (sum(right[0]) - sum(right[1])) / len(answers), abs=1e-6
    )


def test_models_of_several_labels_are_compared_by_their_sets(tmp_path):
    """Windows of a table: nothing can be played, and an answer is a set of labels."""

    def of_sets(songs, prefix):
        return songs.with_songs([
            replace(song, id=f"{prefix} {song.id}", multilabel=True,
                    label=song.label + (";even" if k % 2 else ""))
            for k, song in enumerate(songs.songs)
        ])  # fmt: skip

    trained_on, judged = of_sets(made_songs(36), "a"), of_sets(made_songs(36, seed=1), "b")
    models = [tmp_path / "old.songbag", tmp_path / "new.songbag"]
    for path, recipe in zip(models, ("windows", "mlp"), strict=True):
        songbag.train(trained_on, path, recipe=recipe, quiet=True)
    result = songbag.compare(judged, tmp_path / "cmp", models=models, quiet=True)
    assert result.metric == "map"
    assert len(rows_of(tmp_path / "cmp" / "answers.csv")) == 36
    changed = rows_of(tmp_path / "cmp" / "changed.csv")
    page = Page(tmp_path / "cmp" / "report.html")
    assert changed and "Nothing can be played" in page.said
    with pytest.raises(SongTableError, match=r"it has one label a song, .*old\.songbag several"):
        songbag.compare(made_songs(12), models=models, quiet=True)


def test_what_cannot_be_compared_is_refused(trained, second, songs, tmp_path):
    with pytest.raises(SettingsError, match="are the same model"):
        songbag.compare(songs, models=[trained.model_path, trained.model_path], quiet=True)
    with pytest.raises(SettingsError, match="models are two"):
        songbag.compare(songs, models=[trained.model_path], quiet=True)
    known = [row for row in rows_of(trained.folder / "split.csv") if row["side"] == "train"][:4]
    everything = {row["path"]: row for row in rows_of(songs)}
    with open(songs.parent / "heard.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(next(iter(everything.values()))))
        table.writeheader()
        table.writerows(everything[row["id"]] for row in known)
    pair = [trained.model_path, second.model_path]
    with pytest.raises(SongTableError, match="no song is left to compare on: all 4"):
        songbag.compare(songs.parent / "heard.csv", models=pair, quiet=True)
    new = [row for row in everything.values() if row["path"] not in {one["id"] for one in known}]
    with open(songs.parent / "strange.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(new[0]))
        table.writeheader()
        table.writerows([*new, new[0] | {"path": "strange.wav", "label": "polka"}])
    shutil.copy(songs.parent / new[0]["path"], songs.parent / "strange.wav")
    with pytest.raises(SongTableError, match=f"label 'polka', but {trained.model_path} knows"):
        songbag.compare(songs.parent / "strange.csv", models=pair, quiet=True)
    done = command("compare", *pair, songs, "-o", tmp_path, "--poolings", "mean,max")
    assert done.returncode == 2
    assert "--poolings is for systems that are trained" in done.stderr
    done = command("compare", *pair, songs, "-o", tmp_path, "--excerpt", "10")
    assert "--excerpt is for systems that are trained" in done.stderr
    done = command("compare", trained.model_path, songs, "-o", tmp_path)
    assert done.returncode == 2
    assert "give two .songbag files, then songs with labels" in done.stderr


# --- the same split again ---


def some_songs(songs, name, wanted):
    rows = [row for place, row in enumerate(rows_of(songs)) if wanted(place)]
    with open(songs.parent / name, "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return songs.parent / name


@pytest.fixture(scope="module")
def earlier(songs, tmp_path_factory):
    """A model of two thirds of the songs, and the sides of them all in a second training."""
    folder = tmp_path_factory.mktemp("earlier")
    old = some_songs(songs, "old.csv", lambda place: place % 3)
    fast = {"recipe": "fast", "encoder": "none", "quiet": True}
    songbag.train(old, folder / "old.songbag", **fast)
    result = songbag.train(
        songs, folder / "new.songbag", seed=7, same_split=folder / "old.songbag", **fast
    )
    before, after = (rows_of(folder / f"{name}-training" / "split.csv") for name in ("old", "new"))
    return folder, before, after, result


def test_old_test_songs_stay_test_songs_and_groups_stay_whole(earlier):
    _, before, after, result = earlier
    sides = {row["id"]: row["side"] for row in after}
    assert len(after) == 24
    for row in before:
        assert (sides[row["id"]] == "test") == (row["side"] == "test")
    artists = {}
    for row in after:
        artists.setdefault(row["group"], set()).add(row["side"] == "test")
    assert all(len(on) == 1 for on in artists.values())
    assert result.model.card.split.method.startswith("test songs as of old.songbag, grouped by")
    assert set(result.predictions.index) == {id_ for id_, side in sides.items() if side == "test"}


def test_new_songs_by_a_tested_artist_are_tested(earlier):
    folder, before, _, _ = earlier
    split = EarlierSplit.of(folder / "old.songbag")
    tested = next(row for row in before if row["side"] == "test")
    trained = next(row for row in before if row["side"] == "train")
    songs = [Song(tested["id"], "t.wav", "a", tested["group"])]
    songs += [Song("new 1", "1.wav", "a", tested["group"])]
    songs += [Song("new 2", "2.wav", "a", trained["group"])]
    new = [Song(f"n{k}", f"n{k}.wav", "ab"[k % 2], f"new artist {k // 2}") for k in range(40)]
    sides = split.sides([*songs, *new], 0, 0.25, [False] * len([*songs, *new]))
    assert sides[:3] == ["test", "test", "train"]
    assert 0.15 < sides[3:].count("test") / 40 < 0.35
    for k in range(0, 40, 2):
        assert sides[3 + k] == sides[4 + k]  # artists are not divided
    words = split.in_words(songs, sides[:3])
    assert words.startswith("test songs of old.songbag that stay test songs: 1; ")
    assert "model chose" not in words
    songs[1] = replace(songs[1], extra={"chosen": "model"})
    sides = split.sides(songs, 0, 0.25, [True, True, False])
    assert sides == ["test", "test", "train"]
    assert "; 1 songs that a model chose belong to tested groups" in split.in_words(songs, sides)


def test_a_split_that_is_not_the_models_is_refused(earlier, songs, tmp_path):
    folder, _, _, _ = earlier
    shutil.copy(folder / "old.songbag", tmp_path / "old.songbag")
    how = {"recipe": "fast", "encoder": "none", "quiet": True}
    with pytest.raises(SettingsError, match=r"split\.csv: there is no such file"):
        songbag.train(songs, tmp_path / "n.songbag", same_split=tmp_path / "old.songbag", **how)
    shutil.copytree(folder / "new-training", tmp_path / "old-training")
    with pytest.raises(SettingsError, match="its hash differs"):
        songbag.train(songs, tmp_path / "n.songbag", same_split=tmp_path / "old.songbag", **how)
    others = audio_dataset(songs)
    renamed = others.with_songs([replace(song, id=f"other {song.id}") for song in others.songs])
    with pytest.raises(SongTableError, match=r"none of the .* test songs of .* is among these"):
        songbag.train(renamed, tmp_path / "n.songbag", same_split=folder / "old.songbag", **how)
