"""Names of files as programs write them lead to the file; the exact name comes first."""

import csv
import unicodedata

import numpy as np
import pytest

from songbag.audio.waveform import write_waveform
from songbag.data.song_table import read_songs
from tests.helpers.command import songbag as command


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Music").mkdir()
    for name in ("a b.wav", " a.wav", "a.wav", unicodedata.normalize("NFD", "Café.wav"), "UP.WAV"):
        (tmp_path / "Music" / name).touch()
    return tmp_path


def found(folder, path):
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], [path, "x"]])
    table = read_songs(folder / "t.csv", allow_outside=True)
    return table.songs[0].path.removeprefix(f"{folder}/Music/"), " ".join(table.remarks)


@pytest.mark.parametrize(
    ("path", "name", "remark"),
    [
        ("Music/a.wav", "a.wav", ""),
        ("Music/ a.wav", " a.wav", ""),
        ("Music/a.wav ", "a.wav", "without the spaces around it"),
        ("Music\\a b.wav", "a b.wav", "with / for"),
        ("Music/a%20b.wav", "a b.wav", "without the marks of a URL"),
        ("Music/" + unicodedata.normalize("NFC", "Café.wav"), unicodedata.normalize("NFD", "Café.wav"), "another form"),
        ("music/up.wav", "UP.WAV", "upper and lower case"),
        ("music\\A.WAV", "a.wav", "upper and lower case"),
    ],
)  # fmt: skip
def test_other_spellings_are_found_and_said(folder, path, name, remark):
    file, said = found(folder, path)
    assert file == name
    assert remark in said
    assert bool(said) == bool(remark)


def test_a_file_url_and_the_home_folder(folder, monkeypatch):
    assert found(folder, f"file://{folder}/Music/a%20b.wav")[0] == "a b.wav"
    monkeypatch.setenv("HOME", str(folder))
    assert found(folder, "~/Music/a.wav")[0] == "a.wav"


def test_what_is_nowhere_stays_as_it_is_named(folder):
    assert found(folder, "Music/gone.wav") == ("gone.wav", "")
    (folder / "Music" / "A.wav").touch()  # now two files differ in case alone
    assert found(folder, "music/a.WAV")[1] == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.m3u8", "#EXTM3U\n#EXTINF:3,Café\nMusic/a.wav\nMusic\\a b.wav\n\nMusic/a.wav\n"),
        ("l.m3u", "Music/a.wav\r\nMusic/a b.wav\r\n"),
        (
            "l.pls",
            "[playlist]\nFile1=Music/a.wav\nTitle1=A\nfile2=Music/a b.wav\nNumberOfEntries=2\n",
        ),
    ],
)
def test_playlists_are_lists_of_songs(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    table = read_songs(folder / name)
    assert [song.path for song in table.songs] == [
        f"{folder}/Music/a.wav",
        f"{folder}/Music/a b.wav",
    ]


def test_arguments_in_the_wrong_order_are_recognised(model_path, tmp_path):
    noise = (0.1 * np.random.default_rng(0).standard_normal(22050 * 6)).astype(np.float32)
    write_waveform(tmp_path / "a.wav", noise, 22050)
    for verb, more in (("predict", []), ("evaluate", ["-o", tmp_path / "e"])):
        done = command(verb, tmp_path / "a.wav", model_path, *more)
        assert done.returncode == 2
        assert f"the model comes first: give {model_path}, then {tmp_path / 'a.wav'}" in done.stderr
