"""Columns are found as people name them, the choice is said, and nothing is guessed in silence."""

import pandas
import pytest

from songbag.data.columns import GROUPS, NAMES, find_columns
from songbag.data.label_map import relabelled
from songbag.data.song import Song, joined_groups
from songbag.data.song_table import read_songs
from songbag.data.window_table import bags_from_table
from songbag.errors import SongTableError


def songs_of(names, rows=(("a.wav", "x"), ("b.wav", "y")), **options):
    return read_songs(pandas.DataFrame(rows, columns=names), **options)


@pytest.mark.parametrize("path", [*NAMES["path"], "Path", "FILENAME", " file "])
@pytest.mark.parametrize("label", ["label", "Genre", "species"])
def test_paths_and_labels_go_by_many_names(path, label):
    table = songs_of([path, label])
    assert [(song.path, song.label) for song in table.songs] == [("a.wav", "x"), ("b.wav", "y")]
    said = " ".join(table.remarks)
    assert (f"label from column {label}" in said) == (label != "label")
    assert (f"path from column {path.strip()}" in said) == (path.strip() != "path")
    assert all(song.extra == {} for song in table.songs)


def test_two_candidates_are_an_error_that_names_both():
    with pytest.raises(SongTableError, match="Genre and category may both be the column of labels"):
        songs_of(["path", "Genre", "category"], [("a.wav", "x", "y")])
    with pytest.raises(SongTableError, match=r"file and filename may both .* --path file"):
        songs_of(["file", "filename", "label"], [("a.wav", "b.wav", "y")])
    table = songs_of(
        ["path", "Genre", "category"], [("a.wav", "x", "y")], columns={"label": "category"}
    )
    assert table.songs[0].label == "y"
    assert table.songs[0].extra == {"Genre": "x"}
    with pytest.raises(SongTableError, match=r"no column 'gnre'. Did you mean 'genre'"):
        songs_of(["path", "genre"], columns={"label": "gnre"})
    with pytest.raises(
        SongTableError, match=r"no column 'path'.* give --path COLUMN.* Known: label, wave"
    ):
        songs_of(["wave", "label"])


def test_songbags_own_name_comes_first_and_that_is_said():
    table = songs_of(["path", "label", "genre"], [("a.wav", "x", "rock")])
    assert table.songs[0].label == "x"
    assert table.songs[0].extra == {"genre": "rock"}
    assert "label from column label, not genre" in table.remarks[0]


def test_artist_comes_before_album_and_site():
    assert GROUPS.index("artist") < GROUPS.index("album") < GROUPS.index("site")
    rows = [("a.wav", "x", "A", "S"), ("b.wav", "y", "A", "T")]
    table = songs_of(["path", "label", "Album", "site"], rows)
    assert [song.group for song in table.songs] == ["Album A", "Album A"]
    assert "group from column Album" in table.remarks[0]
    assert table.songs[0].extra == {"Album": "A", "site": "S"}
    table = songs_of(["path", "label", "Artist", "album"], rows)
    assert (table.songs[0].artist, table.songs[0].extra) == ("A", {"album": "S"})


@pytest.mark.parametrize(
    ("text", "side"),
    [("train", "train"), ("Training", "train"), ("valid", "validation"), ("val", "validation"),
     ("dev", "validation"), ("validation", "validation"), ("test", "test"), ("testing", "test"),
     ("eval", "test")],
)  # fmt: skip
@pytest.mark.parametrize("column", ["split", "Subset", "partition", "set"])
def test_sides_of_a_split_go_by_many_names(column, text, side):
    table = songs_of(["path", "label", column], [("a.wav", "x", text)])
    assert table.songs[0].split == side


def test_a_label_with_a_separator_is_one_label_and_that_is_said():
    table = songs_of(["path", "label"], [("a.wav", "pop;quiet")])
    assert table.songs[0].labels == ("pop;quiet",)
    assert "labels such as 'pop;quiet' are taken as one label each" in table.remarks[0]
    assert songs_of(["path", "labels"], [("a.wav", "pop;quiet")]).songs[0].labels == (
        "pop",
        "quiet",
    )


def test_ids_and_folds():
    table = songs_of(["path", "label", "track_id", "Fold"], [("a.wav", "x", "001", "10")])
    assert (table.songs[0].id, table.songs[0].fold) == ("001", "10")
    assert table.songs[0].extra == {"Fold": "10"}


def test_tables_of_windows_know_the_same_names():
    frame = pandas.DataFrame(
        {"song": ["a", "b"], "Artist": ["A", "B"], "Subset": ["train", "testing"],
         "fold": [1, 2], "feature": [0.0, 1.0]}
    )  # fmt: skip
    one, two = bags_from_table(frame, "song").songs
    assert (one.artist, one.split, one.fold) == ("A", "train", "1")
    assert two.split == "test"
    album = bags_from_table(frame.rename(columns={"Artist": "album"}), "song").songs
    assert album[0].group == "album A"


def test_labels_are_renamed_and_merged(tmp_path):
    songs = [
        Song("1", "a", label="hard rock"),
        Song("2", "b", label="punk"),
        Song("3", "c", label="jazz"),
    ]
    (tmp_path / "map.csv").write_text("subgenre,genre\nhard rock,rock\npunk,rock\n")
    renamed, remarks = relabelled(songs, tmp_path / "map.csv")
    assert [song.label for song in renamed] == ["rock", "rock", "jazz"]
    assert remarks == ["labels that map.csv does not name stay: jazz"]
    many = [Song("1", "a", label="hard rock;punk", multilabel=True)]
    assert relabelled(many, tmp_path / "map.csv")[0][0].label == "rock"
    (tmp_path / "map.csv").write_text("a,b\npunck,rock\njazz,jazz\njazz,jazz\npunk,x\n")
    assert relabelled(songs, tmp_path / "map.csv")[1] == [
        "labels that map.csv does not name stay: hard rock",
        "labels of map.csv that no song has: punck. Did you mean 'punk'?",
    ]
    for text, message in (
        ("a,b\npunck,rock\n", "no song has any of its labels, such as 'punck'. Labels of the"),
        ("a,b\npunk,\n", "line 2: 2 cells, 1 of them filled"),
        ("a,b\npunk,x\npunk,y\n", "line 3: label 'punk' becomes 'y', and 'x' in a line before"),
    ):
        (tmp_path / "map.csv").write_text(text)
        with pytest.raises(SongTableError, match=message):
            relabelled(songs, tmp_path / "map.csv")


def test_what_shares_a_file_or_its_content_is_one_group():
    songs = [
        Song("1", "long.wav", artist="x"), Song("2", "long.wav", artist="y"), Song("3", "b.wav", artist="y"),
        Song("4", "c.wav", content="c0"), Song("5", "copy.wav", content="c0"), Song("6", "", ""), Song("7", ""),
    ]  # fmt: skip
    groups = joined_groups(songs)
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 4


def test_the_first_names_are_known():
    assert (
        find_columns(["path", "label", "artist", "id", "split", "start", "end"], {}, "t")[1] == []
    )
