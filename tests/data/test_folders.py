"""Folders as people have them: what their levels are is found, said, and can be stated."""

import json
import shutil

import numpy as np
import pytest

from songbag.audio.waveform import write_waveform
from songbag.data.annotations import SpanOptions
from songbag.data.song_table import read_songs
from songbag.errors import SettingsError, SongTableError
from tests.helpers.command import songbag as command


def made(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_songs(folder, spans=SpanOptions())


def test_a_side_of_a_split_is_no_label(tmp_path):
    table = made(
        tmp_path, "train/rock/a.wav", "Test/rock/b.wav", "train/jazz/c.wav", "valid/jazz/d.wav"
    )
    by_id = {song.id: song for song in table.songs}
    assert {song.label for song in table.songs} == {"rock", "jazz"}
    assert by_id["Test/rock/b.wav"].split == "test"
    assert by_id["valid/jazz/d.wav"].split == "validation"
    assert table.remarks[0].splitlines() == [
        "folders are taken as split/label; --layout says otherwise",
        "  rock  2 songs, 2 splits",
        "  jazz  2 songs, 2 splits",
    ]


def test_folds(tmp_path):
    table = made(tmp_path / "a", "fold1/rock/a.wav", "fold2/rock/b.wav", "fold_10/jazz/c.wav")
    assert [(song.fold, song.label) for song in table.songs] == [
        ("fold1", "rock"), ("fold2", "rock"), ("fold_10", "jazz")
    ]  # fmt: skip


def test_sides_and_folds_may_lie_in_each_label(tmp_path):
    table = made(
        tmp_path / "a", *(f"{x}/{y}/1.wav" for x in ("rock", "jazz") for y in ("train", "test"))
    )
    assert {(song.label, song.split, song.artist) for song in table.songs} == {
        (x, y, None) for x in ("rock", "jazz") for y in ("train", "test")
    }
    table = made(tmp_path / "b", *(f"{x}/fold{y}/1.wav" for x in ("rock", "jazz") for y in "12"))
    assert {(song.label, song.fold) for song in table.songs} == {
        (x, f"fold{y}") for x in ("rock", "jazz") for y in "12"
    }


def test_labels_in_names_leave_the_folders_to_folds(tmp_path):
    made(tmp_path, "fold1/7-2.wav", "fold2/8-3.wav")
    table = read_songs(tmp_path, columns={"label_pattern": r"-(\d)\."})
    assert [(song.label, song.fold) for song in table.songs] == [("2", "fold1"), ("3", "fold2")]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SongTableError, match="there is no such file or folder"):
        read_songs(tmp_path / "nope", spans=SpanOptions())
    with pytest.raises(SettingsError, match=r"unknown 'lable'\. Did you mean 'label'"):
        read_songs(tmp_path, columns={"lable": "x"})


def test_numbers_are_folds_where_what_is_in_them_repeats(tmp_path):
    names = [f"{fold}/{label}/x.wav" for fold in (1, 2, 10) for label in ("rock", "jazz")]
    table = made(tmp_path / "folds", *names)
    assert {song.fold for song in table.songs} == {"1", "2", "10"}
    assert {song.label for song in table.songs} == {"rock", "jazz"}
    digits = made(tmp_path / "digits", *(f"{d}/speaker {d}{k}/x.wav" for d in "012" for k in "ab"))
    assert {song.label for song in digits.songs} == {"0", "1", "2"}
    assert {song.fold for song in digits.songs} == {None}


def test_the_second_folder_is_the_group(tmp_path):
    table = made(
        tmp_path, "rock/Ann/first/a.wav", "rock/Ann/second/b.wav", "jazz/Bob/c.wav", "jazz/d.wav"
    )
    assert [song.artist for song in table.songs] == ["Bob", None, "Ann", "Ann"]
    assert table.remarks[0].splitlines()[1:] == [
        "  jazz  2 songs, 1 group", "  rock  2 songs, 1 group"
    ]  # fmt: skip


def test_numbers_may_be_labels_and_prediction_says_nothing_of_folders(tmp_path):
    assert "taken as label;" in made(tmp_path, "1/a.wav", "2/b.wav").remarks[0]
    assert read_songs(tmp_path).remarks == []
    assert [song.label for song in read_songs(tmp_path).songs] == ["1", "2"]
    assert made(tmp_path / "x", "train/a.wav", "test/b.wav").songs[0].label == "test"  # one level


def test_a_layout_can_be_stated(tmp_path):
    made(tmp_path, "Ann/rock/a.wav", "Bob/jazz/b.wav")
    table = read_songs(tmp_path, columns={"layout": "group/label"})
    assert [(song.artist, song.label) for song in table.songs] == [("Ann", "rock"), ("Bob", "jazz")]
    with pytest.raises(SettingsError, match="layout 'artist/label': write label, group"):
        read_songs(tmp_path, columns={"layout": "artist/label"})
    with pytest.raises(SongTableError, match="'ann' is no side of a split"):
        read_songs(tmp_path, columns={"layout": "split/label"})


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_beside_the_files_is_the_table(tmp_path, name):
    made(tmp_path, "a.wav", "b.wav")
    rows = [{"file_name": f"{n}.wav", "label": n.upper()} for n in "ab"]
    lines = (
        ["file_name,label", "a.wav,A", "b.wav,B"] if name.endswith("csv") else map(json.dumps, rows)
    )
    (tmp_path / name).write_text("\n".join(lines))
    table = read_songs(tmp_path)
    assert [song.label for song in table.songs] == ["A", "B"]
    assert table.remarks[0] == f"songs are those of {name}"


def test_a_stray_file_and_a_label_of_one_song_are_no_end(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        wave = rng.standard_normal(22050 * 3)
        wave = np.cumsum(wave) if number % 2 else np.diff(wave, append=0)
        folder = tmp_path / "music" / ("low", "high")[1 - number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_waveform(
            folder / f"{number}.wav", (0.1 * wave / np.abs(wave).max()).astype(np.float32), 22050
        )
    stray = tmp_path / "music" / "low" / "1.wav"
    shutil.copy(stray, tmp_path / "music" / "stray.wav")
    (tmp_path / "music" / "odd").mkdir()
    shutil.copy(stray, tmp_path / "music" / "odd" / "one.wav")
    how = ["--recipe", "fast", "--encoder", "none", "-o", tmp_path / "m.songbag"]
    done = command("train", tmp_path / "music", *how)
    assert done.returncode == 0, done.stderr
    assert "left out: stray.wav: it is without a label" in done.stderr
    assert "left out: odd/one.wav: it is the only song of 'odd'" in done.stderr
