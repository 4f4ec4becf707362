"""Labels in the names of files and in their tags."""

import numpy as np
import pytest
from mutagen.flac import FLAC

from songbag.audio.waveform import write_waveform
from songbag.data.song_table import read_songs
from songbag.errors import SettingsError, SongTableError
from tests.helpers.command import songbag as command


@pytest.fixture
def flat(tmp_path):
    for name in ("rock.00001.wav", "rock.00002.wav", "jazz.00001.wav", "notes.wav"):
        (tmp_path / name).touch()
    return tmp_path


def labels(folder, **columns):
    table = read_songs(folder, columns=columns)
    return {song.id: song.label for song in table.songs}, table


def test_labels_in_names(flat):
    found, table = labels(flat, label_pattern=r"^(\w+)\.\d+\.")
    assert found == {"rock.00001.wav": "rock", "rock.00002.wav": "rock", "jazz.00001.wav": "jazz",
                     "notes.wav": None}  # fmt: skip
    assert table.remarks == [r"1 file without a match of ^(\w+)\.\d+\.: notes.wav"]
    _, table = labels(flat, label_pattern=r"(?P<group>\w+)\.(?P<label>\d+)\.")
    first = table.songs[0]
    assert (first.artist, first.label) == ("jazz", "00001")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression"),
        (r"\w+", "into brackets"),
        (r"(\d{9})", r"no name of a file matches, such as 'jazz.00001.wav'"),
    ],
)
def test_a_wrong_pattern_is_refused(flat, pattern, message):
    with pytest.raises(SettingsError, match=message):
        labels(flat, label_pattern=pattern)


@pytest.fixture
def tagged(tmp_path):
    for number, genre in enumerate(["Rock", "Rock", "NA", None]):
        path = tmp_path / f"{number}.flac"
        write_waveform(path, np.zeros(22050, np.float32), 22050)
        tags = FLAC(path)
        tags["artist"] = f"Band {number // 2}"
        if genre:
            tags["genre"] = [genre, "Live"] if number == 1 else genre
        tags.save()
    (tmp_path / "broken.flac").write_bytes(b"fLaC")
    return tmp_path


def test_labels_and_groups_in_tags(tagged):
    found, table = labels(tagged, label_field="genre", group_field="artist")
    assert found == {"0.flac": "Rock", "1.flac": "Rock;Live", "2.flac": "NA", "3.flac": None,
                     "broken.flac": None}  # fmt: skip
    assert [song.artist for song in table.songs] == ["Band 0", "Band 0", "Band 1", "Band 1", None]
    assert "broken.flac: its tags cannot be read" in table.remarks[4]
    assert table.remarks[:4] == [
        "label from the tags' field genre: Rock 1, Rock;Live 1, NA 1",
        "2 files without genre in the tags: 3.flac, broken.flac",
        "artist from the tags' field artist: Band 0 2, Band 1 2",
        "1 file without artist in the tags: broken.flac",
    ]


def test_a_field_that_is_not_there_is_named(tagged):
    with pytest.raises(SongTableError, match="no file has the field 'album'"):
        labels(tagged, label_field="album")
    with pytest.raises(SettingsError, match=r"no field of tags is called 'gener'\. Did you mean"):
        labels(tagged, label_field="gener")


def test_songs_without_any_label_say_where_labels_may_be(flat):
    done = command("train", flat, "-o", flat / "m.songbag")
    assert done.returncode == 2
    assert "no song has a label" in done.stderr
    assert "--label-pattern" in done.stderr
