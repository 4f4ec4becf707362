"""audio.csv, and the excerpts inside a page."""

import json
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from songbag.audio.audio_file import Source
from songbag.report import mistakes
from songbag.report.recordings import read_recordings, write_recordings
from songbag.report.write import write_report
from songbag.settings import Excerpt
from tests.helpers.audio import read_waveform
from tests.helpers.report_pages import Page, hold_the_rules, rows_of, sounds


def test_embedded_pieces_are_the_songs_at_that_place(wrong):
    page = Page(write_report(wrong))
    rows = rows_of(wrong / "predictions.csv")
    figures = json.loads((wrong / "metrics.json").read_text())
    shown = mistakes.surest_mistakes(wrong, rows, figures, wrong)
    pieces = [(song["id"], one) for song in shown["songs"] for one in song["strongest"]]
    heard = sounds(page)
    assert len(heard) == len(pieces) > 4
    sources = read_recordings(wrong)
    for data, (song, one) in list(zip(heard, pieces, strict=True))[::3]:
        (wrong / "piece.mp3").write_bytes(data)
        piece, report = read_waveform(wrong / "piece.mp3", 8000)
        assert report.decoded_seconds == pytest.approx(one["end"] - one["start"], abs=0.08)
        there, _ = read_waveform(sources[song].path, 8000, (one["start"], one["end"]))
        length = min(len(piece), len(there))
        assert np.corrcoef(piece[:length], there[:length])[0, 1] > 0.9


def test_songs_and_folder_can_be_moved_together(wrong, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("audio", "run"):
        (tmp_path / name).rename(moved / name)
    assert sounds(Page(write_report(moved / "run")))


def test_an_excerpt_and_a_part_of_a_file_are_kept(tmp_path):
    one = Source(path=str(tmp_path / "a.mp3"), start=3.5, end=70.0)
    two = Source(path="/elsewhere/b.mp3", excerpt=Excerpt(seconds=30.0, place="middle"))
    (tmp_path / "run").mkdir()
    write_recordings(tmp_path / "run", {"one": one, "two": two, "table": Source(path="")})
    assert read_recordings(tmp_path / "run") == {"one": one, "two": two}
    assert rows_of(tmp_path / "run" / "audio.csv")[0]["path"] == "../a.mp3"


def test_a_page_elsewhere_links_from_there(wrong, tmp_path):
    target = tmp_path / "pages" / "deep" / "r.html"
    target.parent.mkdir(parents=True)
    page = Page(write_report(wrong, target))
    hold_the_rules(page)
    links = [one["href"] for one in page.all("a")]
    assert links
    for link in links:
        assert (target.parent / unquote(urlsplit(link).path)).is_file()
