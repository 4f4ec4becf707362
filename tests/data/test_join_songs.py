"""Several tables as one list of songs."""

import re

import pytest

from songbag.data.song_table import read_songs
from songbag.errors import SongTableError


@pytest.fixture
def tables(tmp_path):
    """Writes tables beside six files, and returns their paths."""
    for name in "abcdef":
        (tmp_path / f"{name}.wav").touch()

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.csv").write_text(text.replace(" ", "\n"))
        return [str(tmp_path / f"{name}.csv") for name in texts]

    return write


def test_a_song_of_two_tables_is_one_song(tables):
    paths = tables(
        songs="path,label,artist a.wav,rock,x b.wav,jazz,y",
        next="path,label,chosen b.wav,jazz,model c.wav,rock,random",
    )
    joined = read_songs(paths)
    assert [(s.id, s.label, s.artist, s.chosen_by_model) for s in joined.songs] == [
        ("a.wav", "rock", "x", False), ("b.wav", "jazz", "y", True), ("c.wav", "rock", None, False),
    ]  # fmt: skip
    assert joined.remarks == ["1 songs stand in two tables"]
    assert joined.origin == ", ".join(paths)


def test_a_label_fills_an_empty_cell(tables):
    paths = tables(songs="path,label a.wav, b.wav,jazz", next="path,label,chosen a.wav,rock,random")
    assert {s.id: s.label for s in read_songs(paths).songs} == {"a.wav": "rock", "b.wav": "jazz"}


@pytest.mark.parametrize("head", ["path,label", "id,path,label"])
def test_contradicting_labels_are_refused_and_named(tables, head):
    own = "one," if head.startswith("id") else ""
    paths = tables(songs="path,label a.wav,rock b.wav,jazz", next=f"{head} {own}b.wav,rock")
    message = f"{paths[1]}, line 2: label of '{own.strip(',') or 'b.wav'}' is 'rock', and 'jazz'"
    with pytest.raises(SongTableError, match=re.escape(message)) as error:
        read_songs(paths)
    assert f"{paths[0]}, line 3" in str(error.value)


def test_two_ids_of_one_file_both_come_out(tables):
    paths = tables(songs="path,label a.wav,rock", next="id,path,label one,a.wav,rock")
    assert [song.id for song in read_songs(paths).songs] == ["a.wav", "one"]


def test_one_id_of_two_songs_is_refused(tables):
    paths = tables(songs="id,path,label 1,a.wav,rock", next="id,path,label 1,b.wav,rock")
    with pytest.raises(SongTableError, match="line 2: id '1' is taken"):
        read_songs(paths)


def test_a_third_table_is_compared_with_what_the_others_say_together(tables):
    paths = tables(
        songs="path,label a.wav, b.wav,jazz",
        more="path,label a.wav,rock",
        last="path,label a.wav,pop",
    )
    with pytest.raises(SongTableError, match=r"label of 'a\.wav' is 'pop', and 'rock'"):
        read_songs(paths)


def test_what_a_table_says_of_a_file_of_a_folder_is_meant(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables(next="path,label,chosen a.wav,rock,model")
    for inputs in ([".", "next.csv"], ["next.csv", "."], ["next.csv", "a.wav"]):
        songs = {song.id: song for song in read_songs(inputs).songs}
        assert songs["a.wav"].label == "rock"
        assert songs["a.wav"].chosen_by_model
        assert len(songs) == (6 if "." in inputs else 1)
