"""Labelled spans of long recordings are trained on, and come back as label files."""

import numpy as np
import pandas
import pytest

import songbag
from songbag.data.annotations import read_spans
from tests.helpers.command import songbag as command
from tests.helpers.recordings import f1_on_grid, write_recording


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Recordings of a minute and more with labels beside them."""
    folder = tmp_path_factory.mktemp("site")
    for number in range(4):
        write_recording(folder / "labelled", f"r{number}", number, 80.0)
    calls = write_recording(folder / "new", "r9", 9, 80.0)
    (folder / "new" / "r9.txt").rename(folder / "true.txt")
    return folder, calls


@pytest.fixture(scope="module")
def model(site):
    folder, _ = site
    result = command(
        "train", str(folder / "labelled"), "-o", str(folder / "calls.songbag"), "--background",
        "none", "--recipe", "fast", "--encoder", "musicnn",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "labelled spans of 4 recordings, the rest is 'none'" in result.stderr
    return folder / "calls.songbag"


def test_a_recording_comes_back_as_labels(site, model, tmp_path):
    folder, calls = site
    answer = command(
        "predict", str(model), str(folder / "new"), "--segments", str(tmp_path / "spans")
    )
    assert answer.returncode == 0, answer.stderr
    found = read_spans(tmp_path / "spans" / "r9.txt")[""]
    assert f1_on_grid([(s.start, s.end, s.label) for s in found], calls, 80.0) > 0.7
    table = songbag.load(model).segments(folder / "new")
    assert list(table.columns) == ["id", "start", "end", "label", "probability"]
    spans = [(s.start, s.end, s.label) for s in found]
    np.testing.assert_allclose(table["start"], [start for start, _, _ in spans], atol=1e-5)
    assert list(table["label"]) == [label for _, _, label in spans]


def test_recordings_stay_whole_and_windows_fit_the_spans(model):
    split = pandas.read_csv(model.with_name("calls-training") / "split.csv")
    sides = split.assign(file=split["id"].str.split("#").str[0]).groupby("file")["side"].nunique()
    assert len(sides) == 4
    assert (sides == 1).all()
    card = songbag.load(model).card
    assert card.background == "none"
    assert card.recipe.windows.seconds < 5.0


def test_whole_songs_and_spans_train_together(site, tmp_path):
    """Spans of two recordings with calls, and a whole recording with one label."""
    folder, _ = site
    rows = [
        {"path": folder / "labelled" / f"r{number}.wav", "start": span.start, "end": span.end,
         "label": "owl" if span.label == "owl" else "other"}
        for number in range(3)
        for span in read_spans(folder / "labelled" / f"r{number}.txt")[""]
    ]  # fmt: skip
    rows.append({"path": folder / "labelled" / "r3.wav", "label": "other"})
    table = tmp_path / "both.csv"
    pandas.DataFrame(rows).to_csv(table, index=False)
    result = songbag.train(table, recipe="fast", encoder="none", quiet=True)
    assert result.predictions["status"].eq("ok").all()


def test_a_span_shorter_than_a_window_takes_the_window_around_it(site):
    """And what lies outside of it counts less."""
    from songbag.data.song import Song
    from songbag.recipes.load import load_recipe
    from tests.helpers.songs import audio_dataset

    path = str(site[0] / "labelled" / "r0.wav")
    songs = [
        Song("short", path, start=10.0, end=11.0), Song("edge", path, start=0.5, end=1.0),
        Song("long", path, start=10.0, end=30.0), Song("whole", path),
    ]  # fmt: skip
    recipe = load_recipe("fast", {"windows.seconds": 4.0, "windows.hop_seconds": 2.0})
    bags = list(audio_dataset(songs).load(recipe))
    assert [bag.samples / recipe.sound.sample_rate for bag in bags] == [4.0, 4.0, 20.0, 80.0]
    assert [bag.labelled_share for bag in bags] == [0.25, 0.125, 1.0, 1.0]
    (around,) = audio_dataset([Song("around", path, start=8.5, end=12.5)]).load(recipe)
    np.testing.assert_array_equal(bags[0].features, around.features)


def test_a_span_beyond_the_end_of_its_recording_is_said(site):
    from songbag.data.song import Song
    from songbag.recipes.load import load_recipe
    from tests.helpers.songs import audio_dataset

    path = str(site[0] / "labelled" / "r0.wav")  # 80 s
    songs = [
        Song("whole", path), Song("touching", path, start=79.0, end=80.2),
        Song("beyond", path, start=70.0, end=100.0),
    ]  # fmt: skip
    loaded = audio_dataset(songs).load(load_recipe("fast"))
    assert loaded.remarks[-1] == (
        "its stated end lies behind the recording's: beyond to 100 s, its recording ends at 80.0 s"
    )
    assert (
        len(audio_dataset(songs[:2]).load(load_recipe("fast")).remarks) == len(loaded.remarks) - 1
    )


@pytest.mark.full
def test_three_recordings_of_twenty_minutes_teach_the_fourth(tmp_path, figure):
    """F1 on a grid of .1 s; what limits it is the length of a window (docs/howto)."""
    for voices, least in ((1, 0.8), (2, 0.8)):
        folder = tmp_path / str(voices)
        for number in range(3):
            write_recording(folder / "labelled", f"r{number}", number, 1200.0, voices)
        calls = write_recording(folder / "new", "r9", 9, 1200.0, voices)
        (folder / "new" / "r9.txt").unlink()
        result = songbag.train(folder / "labelled", background="none", quiet=True)
        table = result.model.segments(folder / "new")
        f1 = f1_on_grid(table[["start", "end", "label"]].itertuples(index=False), calls, 1200.0)
        print(f"F1 with {voices} voices: {f1:.3f}")
        assert f1 >= least


def test_labels_of_the_user_s_are_not_overwritten(site, model, tmp_path):
    import shutil

    folder, _ = site
    shutil.copytree(folder / "labelled", tmp_path / "own")
    before = (tmp_path / "own" / "r0.txt").read_text()
    place = str(tmp_path / "own")
    refused = command("predict", str(model), place, "--segments", place)
    assert refused.returncode == 2
    assert "would be overwritten" in refused.stderr
    assert (tmp_path / "own" / "r0.txt").read_text() == before


def test_spans_of_one_recording_are_one_group_of_the_interval(model):
    import json

    figures = json.loads((model.with_name("calls-training") / "metrics.json").read_text())
    split = pandas.read_csv(model.with_name("calls-training") / "split.csv")
    files = split[split["side"] == "test"]["id"].str.split("#").str[0].nunique()
    assert figures["groups"] == files
