"""Songs from folders, tables and DataFrames; every refusal with its line."""

import numpy as np
import pandas
import pytest

from songbag.data.song_table import read_songs, require_files, require_labels
from songbag.errors import SongTableError


def table(tmp_path, text, name="songs.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


def test_a_folder_per_label(tmp_path):
    for name in ("rock/a.mp3", "rock/deep/b.WAV", "jazz/c.flac", "jazz/cover.jpg", ".git/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = read_songs(tmp_path)
    assert {song.id: song.label for song in found.songs} == {
        "jazz/c.flac": "jazz",
        "rock/a.mp3": "rock",
        "rock/deep/b.WAV": "rock",
    }
    assert "1 .jpg" in found.remarks[0]
    assert [song.artist for song in found.songs] == [None, None, "deep"]


def test_a_table_keeps_everything(tmp_path):
    path = table(
        tmp_path,
        "path,label,artist,start,end,mood,id\na.wav,rock,Ann,1.5,9,sad,one\nb/c.wav,jazz,,,,gay,\n",
    )
    first, second = read_songs(path).songs
    assert (first.id, first.label, first.artist, first.start, first.end) == (
        "one",
        "rock",
        "Ann",
        1.5,
        9,
    )
    assert first.group == "artist Ann"
    assert first.extra == {"mood": "sad"}
    assert first.path == str(tmp_path / "a.wav")
    assert (second.id, second.group, second.artist) == ("b/c.wav", "song b/c.wav", None)


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
def test_delimiters(tmp_path, name, delimiter):
    path = table(tmp_path, f"path{delimiter}label\na.wav{delimiter}rock\n", name)
    assert read_songs(path).songs[0].label == "rock"


def test_parquet_and_data_frame_agree(tmp_path):
    frame = pandas.DataFrame(
        {"path": ["a.wav", "b.wav"], "label": ["x", "y"], "start": [0.0, 2.0], "end": [np.nan, 3.0]}
    )
    frame.to_parquet(tmp_path / "songs.parquet")
    from_file, from_frame = read_songs(tmp_path / "songs.parquet").songs, read_songs(frame).songs
    assert [s.id for s in from_file] == [s.id for s in from_frame] == ["a.wav", "b.wav#2-3"]
    assert from_frame[0].end is None


def test_two_parts_of_one_file_are_two_songs(tmp_path):
    path = table(tmp_path, "path,label,start,end\na.wav,x,0,10\na.wav,y,10,20\n")
    assert [song.id for song in read_songs(path).songs] == ["a.wav#0-10", "a.wav#10-20"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.wav,x\na.wav,y\n", "line 3: id 'a.wav' already stands in line 2"),
        ("path,label\n../a.wav,x\n", "line 2: .*outside the table's folder.*--allow-outside"),
        ("path,label\n/etc/a.wav,x\n", "line 2: .*outside"),
        ("path,label\nhttp://x.org/a.wav,x\n", "line 2: .*URLs are not read"),
        ("path,label\na\0.wav,x\n", "line 2: .*not a path"),
        ("path,label\n,x\n", "line 2: the path is empty"),
        ("path,label,start\na.wav,x,soon\n", "line 2: start is 'soon'"),
        ("path,label,start,end\na.wav,x,5,4\n", "line 2: end 4 s does not lie after start 5 s"),
        ("path,label,end\na.wav,x,-1\n", "line 2: end is '-1'"),
        ("path,label,split\na.wav,x,tset\n", "line 2: split is 'tset'"),
        ("path,label\na.wav,x,y\n", "line 2: more cells than columns"),
        ("wave,label\na.wav,x\n", "no column 'path'.*Known: label, wave"),
        ("paths,label\na.wav,x\n", "Did you mean 'paths'"),
        ("", "empty"),
        ("path,label\n", "holds no songs"),
    ],
)
def test_what_is_refused_names_the_line(tmp_path, text, message):
    with pytest.raises(SongTableError, match=f"(?s){message}"):
        read_songs(table(tmp_path, text))


def test_not_utf_8_names_the_line(tmp_path):
    path = table(tmp_path, "path,label\na.wav,x\nb.wav,café\n", encoding="latin-1")
    with pytest.raises(SongTableError, match="line 3: not UTF-8"):
        read_songs(path)


def test_a_symbolic_link_does_not_lead_outside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.wav").touch()
    (tmp_path / "in" / "a.wav").symlink_to(tmp_path / "secret.wav")
    path = table(tmp_path / "in", "path,label\na.wav,x\n")
    with pytest.raises(SongTableError, match="outside"):
        read_songs(path)
    assert read_songs(path, allow_outside=True).songs[0].id == "a.wav"


def test_many_problems_are_listed_together_and_counted(tmp_path):
    path = table(tmp_path, "path,label\n" + "../a.wav,x\n" * 20)
    with pytest.raises(SongTableError, match=r"(?s)20 problems.*and 12 more"):
        read_songs(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.wav,x\nb.wav,\n", "line 3: song 'b.wav' has no label"),
        ("path,label\na.wav,x\nb.wav,x\nc.wav,y\n", "line 4: label 'y' has a single song, 'c.wav'"),
        ("path,label\na.wav,x\nb.wav,x\n", "every song is labelled 'x'"),
        ("path\na.wav\n", "no song has a label"),
    ],
)
def test_labels_that_cannot_be_learned(tmp_path, text, message):
    with pytest.raises(SongTableError, match=message):
        require_labels(read_songs(table(tmp_path, text)).songs, "songs.csv")


def test_missing_files_name_the_line(tmp_path):
    (tmp_path / "a.wav").touch()
    found = read_songs(table(tmp_path, "path,label\na.wav,x\nb.wav,x\n"))
    with pytest.raises(SongTableError, match=r"line 3: no file '.*b\.wav'"):
        require_files(found.songs, found.origin)


def test_one_name_is_not_the_end_of_another(tmp_path):
    path = table(tmp_path, "path,label\n1.wav,x\n11.wav,y\n")
    assert [song.id for song in read_songs(path).songs] == ["1.wav", "11.wav"]


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(SongTableError, match=r"no audio files below.*\.flac"):
        read_songs(tmp_path)


def test_several_inputs_are_one_list_without_doubles(tmp_path):
    for name in ("a/x.wav", "b/x.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = read_songs([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.wav"])
    assert [song.id for song in found.songs] == [f"{tmp_path}/a/x.wav", f"{tmp_path}/b/x.wav"]
