"""Audacity label files and Raven selection tables, and the songs that their spans become."""

import math

import pytest

from songbag.data.annotations import Span, SpanOptions, read_spans, with_spans
from songbag.data.song import Song
from songbag.data.song_table import read_songs
from songbag.errors import SongTableError

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def spans_of(tmp_path, text, encoding="utf-8", **options):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    return read_spans(path, **options)


# --- files ------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_audacity_labels(tmp_path, encoding):
    """Spectral lines, a point, decimal commas, spaces in labels, CR LF, an empty line."""
    text = (
        "0.500000\t2.250000\twren\r\n\\\t3000.0\t6000.0\r\n4,5\t4,5\tgreat tit\r\n\r\n5\t6\tNA\r\n"
    )
    assert spans_of(tmp_path, text, encoding) == {
        "": [Span(0.5, 2.25, "wren"), Span(4.45, 4.55, "great tit"), Span(5.0, 6.0, "NA")]
    }


def test_a_raven_table_says_each_selection_once(tmp_path):
    """A selection has a row for each of its views."""
    rows = [
        f"{RAVEN}\tSpecies",
        "1\tWaveform 1\t1\t0.5\t2.25\t0\t8000\twren",
        "1\tSpectrogram 1\t1\t0.5\t2.25\t0\t8000\twren",
        "2\tSpectrogram 1\t1\t3\t4\t0\t8000\towl",
    ]
    expected = {"": [Span(0.5, 2.25, "wren"), Span(3.0, 4.0, "owl")]}
    assert spans_of(tmp_path, "\n".join(rows)) == expected


def test_a_raven_table_of_several_files_counts_in_each(tmp_path):
    """Begin Time counts over all files of a selection table, File Offset within each."""
    rows = [
        f"{RAVEN}\tBegin File\tFile Offset (s)\tcall",
        "1\tSpectrogram 1\t1\t0.5\t2.5\t0\t8000\ta.wav\t0.5\twren",
        "2\tSpectrogram 1\t1\t63\t64\t0\t8000\tC:\\rec\\b.wav\t3\towl",
    ]
    spans = spans_of(tmp_path, "\n".join(rows), column="Call")
    assert spans == {"a.wav": [Span(0.5, 2.5, "wren")], "b.wav": [Span(3.0, 4.0, "owl")]}
    without = "\n".join(row.replace("File Offset (s)", "Other") for row in rows)
    with pytest.raises(SongTableError, match=r"of 2 recordings.*File Offset"):
        spans_of(tmp_path, without, column="call")


def test_an_empty_table_has_no_spans(tmp_path):
    assert spans_of(tmp_path, "") == {"": []}
    assert spans_of(tmp_path, f"{RAVEN}\n") == {"": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t1\twren\n2\tx\towl\n", r"line 2: '2' to 'x' are no seconds"),
        ("0\t1\twren\n3\t2\towl\n", r"line 2: '3' to '2'"),
        ("0\t1\twren\nnonsense\n", r"line 2"),
        ("0\t1\t\n", r"line 1: the label is empty"),
        ("0\t1\n", r"line 1: the label is empty"),
        (f"{RAVEN}\n1\tS\t1\t0\t1\t0\t1\n", r"no column of labels; columns are Selection"),
        (f"{RAVEN}\tSpecies\n1\tS\t1\t0\tinf\t0\t1\tx\n", r"line 2: '0' to 'inf'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(SongTableError, match=message):
        spans_of(tmp_path, text)


def test_other_texts_are_no_label_files(tmp_path):
    assert spans_of(tmp_path, "Recorded at dawn.\n12 degrees\n") is None
    assert spans_of(tmp_path, "path,label\na.wav,rock\n") is None


# --- songs ------------------------------------------------------------------------------


def pieces(tmp_path, labels, songs=None, seconds=math.inf, **options):
    """(id, label) of what recordings become; ``labels`` are texts by file name."""
    for name, text in labels.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    songs = songs or [
        Song("a.wav", str(tmp_path / "a.wav")),
        Song("b.wav", str(tmp_path / "b.wav")),
    ]
    made, remarks = with_spans(songs, SpanOptions(**options), tmp_path, lambda song: seconds)
    return [(song.id, song.label) for song in made], remarks


def test_what_is_not_labelled_is_unknown(tmp_path):
    songs, remarks = pieces(tmp_path, {"a.txt": "1\t2.5\twren\n4\t9\towl\n"})
    assert songs == [("a.wav#1-2.5", "wren"), ("a.wav#4-9", "owl")]
    assert remarks[0] == "2 labelled spans of 1 recording, the rest is unknown"
    assert "left out: 1 recording without a label file or a label" in remarks


def test_background_is_what_lies_between(tmp_path):
    """Gaps of a second and more, in parts of at most ten; the empty file is all background."""
    labels = {"a.txt": "3\t4\twren\n4.5\t9\towl\n", "b.txt": ""}
    songs, _ = pieces(tmp_path, labels, seconds=24.0, background="none")
    gaps = [name for name, label in songs if label == "none"]
    assert gaps == ["a.wav#0-3", "a.wav#9-16.5", "a.wav#16.5-24", "b.wav#0-8", "b.wav#8-16",
                    "b.wav#16-24"]  # fmt: skip


def test_an_empty_file_without_background_is_left_out_with_a_remark(tmp_path):
    songs, remarks = pieces(tmp_path, {"a.txt": "1\t2\twren\n", "b.txt": ""})
    assert songs == [("a.wav#1-2", "wren")]
    assert any("an empty label file" in remark for remark in remarks)


def test_overlapping_spans_are_several_labels_at_once(tmp_path):
    labels = {"a.txt": "1\t4\twren\n3\t6\towl\n6\t8\towl\n", "b.txt": ""}
    songs, remarks = pieces(tmp_path, labels)
    assert songs == [
        ("a.wav#1-3", "wren"),
        ("a.wav#3-4", "owl;wren"),
        ("a.wav#4-6", "owl"),
        ("a.wav#6-8", "owl"),
        ("b.wav", ""),  # labelled, with nothing
    ]
    assert "some overlap" in remarks[0]


def test_spans_that_overlap_by_a_hair_only_touch(tmp_path):
    songs, _ = pieces(tmp_path, {"a.txt": "1\t3.02\twren\n3\t6\towl\n"})
    assert songs == [("a.wav#1-3", "wren"), ("a.wav#3-6", "owl")]


def test_whole_songs_with_a_label_stay_beside_spans(tmp_path):
    """Weak and strong labels together."""
    songs = [Song("a.wav", "a.wav"), Song("c.wav", "c.wav", label="wren"),
             Song("d.wav", "d.wav", label="owl", line=4)]  # fmt: skip
    labelled, remarks = pieces(tmp_path, {"a.txt": "1\t2\twren\n"}, songs)
    assert labelled == [("a.wav#1-2", "wren"), ("c.wav", "wren"), ("d.wav", "owl")]
    assert "2 whole recordings with a label of their own beside" in remarks


def test_a_folder_of_a_site_is_no_label_beside_spans(tmp_path):
    songs = [Song("a.wav", "a.wav", label="site"), Song("c.wav", "c.wav", label="site")]
    labelled, remarks = pieces(tmp_path, {"a.txt": "1\t2\twren\n"}, songs)
    assert labelled == [("a.wav#1-2", "wren")]
    assert "left out: 1 recording without a label file or a label" in remarks


def test_a_label_file_of_another_form_is_named(tmp_path):
    with pytest.raises(SongTableError, match=r"b\.txt: neither an Audacity label file"):
        pieces(tmp_path, {"a.txt": "1\t2\twren\n", "b.txt": "1.0 2.0 wren\n"})


def test_label_files_of_a_folder_of_their_own(tmp_path):
    labels = {"labels/a.selections.txt": f"{RAVEN}\tLabel\n1\tS\t1\t1\t2\t0\t1\twren\n",
              "labels/B.txt": "3\t4\towl\n", "labels/other.txt": "3\t4\towl\n"}  # fmt: skip
    songs, remarks = pieces(tmp_path, labels, place=tmp_path / "labels")
    assert songs == [("a.wav#1-2", "wren"), ("b.wav#3-4", "owl")]
    assert any("1 label file of no recording here" in remark for remark in remarks)


def test_two_recordings_of_one_name_are_told_apart_by_their_folders(tmp_path):
    songs = [Song(f"{x}/a.wav", str(tmp_path / x / "a.wav")) for x in "xy"]
    found, _ = pieces(tmp_path, {"x/a.txt": "1\t2\twren\n", "y/a.txt": "3\t4\towl\n"}, songs)
    assert found == [("x/a.wav#1-2", "wren"), ("y/a.wav#3-4", "owl")]
    with pytest.raises(SongTableError, match=r"it may be of x/a.wav and y/a.wav"):
        pieces(tmp_path, {"labels/z/a.txt": "1\t2\twren\n"}, songs, place=tmp_path / "labels")


def test_label_files_that_are_of_no_recording_are_an_error(tmp_path):
    with pytest.raises(SongTableError, match="no label file there is of a recording"):
        pieces(tmp_path, {"labels/other.txt": "3\t4\towl\n"}, place=tmp_path / "labels")
    with pytest.raises(SongTableError, match="neither an Audacity label file"):
        pieces(tmp_path, {"labels/a.txt": "prose"}, place=tmp_path / "labels")


def test_a_recording_is_labelled_by_the_table_or_by_a_file(tmp_path):
    songs = [Song("a.wav#0-2", "a.wav", end=2.0)]
    with pytest.raises(SongTableError, match=r"so does the table \(a.wav#0-2\)"):
        pieces(tmp_path, {"a.txt": "1\t2\twren\n"}, songs)


def test_text_beside_songs_is_not_taken_for_labels(tmp_path):
    """Neither lyrics, nor one empty file, make a folder of songs one of labelled recordings."""
    songs, remarks = pieces(tmp_path, {"a.txt": "la la la\n", "b.txt": ""})
    assert songs == [("a.wav", None), ("b.wav", None)]
    assert remarks == []


def test_prediction_takes_whole_recordings(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "a.txt").write_text("1\t2\twren\n")
    assert [song.id for song in read_songs(tmp_path).songs] == ["a.wav"]
    spans = read_songs(tmp_path, spans=SpanOptions()).songs
    assert [song.id for song in spans] == ["a.wav#1-2"]
