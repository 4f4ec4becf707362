"""Windows become spans, and spans label files."""

from types import SimpleNamespace

import numpy as np
import pytest

from songbag.data.annotations import Span, read_spans
from songbag.inference.segments import (
    Segment,
    SegmentRules,
    foreign_label_file,
    segments,
    write_segments,
)

CARD = SimpleNamespace(labels=("a", "b"), multilabel=False, thresholds=(), background="")


def spans(shares, card=CARD, **rules):
    """Spans of windows of 2 s every second; their middles are 1, 2, 3, ..."""
    starts = np.arange(len(shares), dtype=float)
    found = segments(card, starts, starts + 2, np.array(shares, float), SegmentRules(**rules))
    return [(round(s.start, 1), round(s.end, 1), s.label) for s in found]


def test_a_span_begins_and_ends_between_windows():
    """From .1 at 2 s to .9 at 3 s the threshold .5 is passed at 2.5 s, .4 on the way down."""
    shares = [[0.1, 0.0], [0.1, 0.0], [0.9, 0.0], [0.9, 0.0], [0.1, 0.0]]
    ((start, end, label),) = spans(shares)
    assert label == "a"
    assert start == pytest.approx(2.4, abs=0.05)  # it holds from .8 of the threshold on
    assert end == pytest.approx(4.6, abs=0.05)


def test_the_first_and_last_window_hold_to_the_ends():
    assert spans([[0.9, 0.1], [0.9, 0.1]]) == [(0.0, 3.0, "a")]


def test_labels_hold_at_once_where_songs_may_have_several():
    card = SimpleNamespace(
        labels=("a", "b"), multilabel=True, thresholds=(0.3, 0.95), background=""
    )
    assert spans([[0.4, 0.9], [0.4, 0.9]], card) == [(0.0, 3.0, "a")]
    assert spans([[0.4, 0.96]], card) == [(0.0, 2.0, "a"), (0.0, 2.0, "b")]


def test_what_hardly_passes_the_lower_threshold_is_no_span():
    assert spans([[0.45, 0.0], [0.45, 0.0]]) == []
    assert spans([[0.45, 0.0], [0.45, 0.0]], threshold=0.45) != []


def test_gaps_are_joined_and_short_spans_dropped():
    shares = [[0.9, 0.0], [0.9, 0.0], [0.35, 0.0], [0.9, 0.0], [0.9, 0.0]]
    assert len(spans(shares)) == 1
    assert len(spans(shares, gap_seconds=0.1)) == 2
    assert spans(shares, gap_seconds=0.1, least_seconds=3.0) == []


def test_background_has_no_spans():
    card = SimpleNamespace(labels=("a", "none"), multilabel=False, thresholds=(), background="none")
    assert spans([[0.1, 0.9], [0.1, 0.9]], card) == []


SPANS = [Segment(0.5, 2.0, "a b", 0.9), Segment(3.25, 4.0, "c", 0.75)]


@pytest.mark.parametrize("form", ["audacity", "raven"])
def test_files_are_read_again_as_they_were_written(tmp_path, form):
    write_segments(
        tmp_path / "out", {"x/one.wav": SPANS, "x/two.mp3": [], "y/one.wav": SPANS}, form
    )
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.txt"))
    ending = {"audacity": ".txt", "raven": ".Table.1.selections.txt"}[form]
    assert files == [f"{name}{ending}" for name in ("x/one", "x/two", "y/one")]
    name = "" if form == "audacity" else "one.wav"
    expected = {name: [Span(0.5, 2.0, "a b"), Span(3.25, 4.0, "c")]}
    assert read_spans(tmp_path / "out" / f"x/one{ending}") == expected
    assert read_spans(tmp_path / "out" / f"x/two{ending}") == {"": []}


def test_names_of_label_files_stay_apart(tmp_path):
    ids = ["/data/a.wav", "/data/a.mp3", "/data/b#1.5-3", "/data/../c.wav"]
    write_segments(tmp_path / "out", dict.fromkeys(ids, SPANS))
    names = sorted(file.name for file in tmp_path.rglob("*.txt"))
    assert names == ["a.mp3.txt", "a.wav.txt", "b#1.5-3.txt", "c.txt"]


def test_a_label_file_of_the_user_s_is_foreign(tmp_path):
    (tmp_path / "a.txt").write_text("1\t2\tmine\n")
    assert foreign_label_file(tmp_path, ["a.wav", "b.wav"], "audacity") == tmp_path / "a.txt"
    assert foreign_label_file(tmp_path, ["b.wav"], "audacity") is None
    write_segments(tmp_path, {"b.wav": SPANS})
    assert foreign_label_file(tmp_path, ["b.wav"], "audacity") is None  # ours, as we wrote it
    (tmp_path / "b.txt").write_text("1\t2\tcorrected\n")
    assert foreign_label_file(tmp_path, ["b.wav"], "audacity") == tmp_path / "b.txt"


def test_no_songs_are_no_files(tmp_path):
    write_segments(tmp_path / "out", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_one_table_for_all(tmp_path):
    write_segments(tmp_path / "spans.csv", {"a.wav": SPANS, "b.wav": []})
    lines = (tmp_path / "spans.csv").read_text().splitlines()
    assert lines == [
        "id,start,end,label,probability",
        "a.wav,0.5,2.0,a b,0.9",
        "a.wav,3.25,4.0,c,0.75",
    ]
