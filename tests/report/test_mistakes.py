"""Which songs and windows are shown, and what can be played."""

import json
import re
import shutil
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from songbag.report import mistakes
from songbag.report.write import write_report
from songbag.storage.files import write_csv
from tests.helpers.report_pages import Page, hold_the_rules, rows_of


def test_every_mistake_shown_is_one_and_the_surest_come_first(mute):
    page = Page(write_report(mute))
    hold_the_rules(page)
    rows = sorted(rows_of(mute / "predictions.csv"), key=lambda row: -float(row["confidence"]))
    shown = re.findall(r"<h3>(.*?)</h3>", page.text)
    assert shown == [row["id"] for row in rows][: mistakes.MAX_SONGS]
    for row in rows[: mistakes.MAX_SONGS]:
        assert f"is {row['label']} , was called {row['predicted']}" in page.said


def test_windows_for_and_against_are_what_they_contribute(wrong):
    rows = {row["id"]: row for row in rows_of(wrong / "predictions.csv")}
    windows = rows_of(wrong / "windows.csv")
    figures = json.loads((wrong / "metrics.json").read_text())
    shown = mistakes.surest_mistakes(wrong, list(rows.values()), figures, wrong)
    for song in shown["songs"]:
        row = rows[song["id"]]
        said, other = row["predicted"], row["label"]
        mine = [one for one in windows if one["id"] == song["id"]]
        lead = [
            float(one[f"contribution_{said}"]) - float(one[f"contribution_{other}"]) for one in mine
        ]
        assert song["for"] == sum(value >= 0 for value in lead)
        assert [bar["side"] == "for" for bar in song["bars"]] == [value >= 0 for value in lead]
        assert sum(run["width"] for run in song["runs"]) == pytest.approx(100, abs=0.1)
        leading = max(figures["labels"], key=lambda label: float(mine[0][f"p_{label}"]))
        assert song["runs"][0]["label"] == leading
        for one in song["strongest"]:
            (at,) = [k for k, w in enumerate(mine) if float(w["start"]) == one["start"]]
            assert (lead[at] > 0) == (one["side"] == "for")
        first = [one for one in song["strongest"] if one["side"] == "for"]
        if first:
            assert float(mine[int(np.argmax(lead))]["start"]) == first[0]["start"]


def test_sound_has_a_limit_and_the_rest_are_links(wrong, monkeypatch):
    whole = write_report(wrong)
    assert whole.stat().st_size < mistakes.MAX_SOUND_BYTES + 200_000
    monkeypatch.setattr(mistakes, "MAX_SOUND_BYTES", 120_000)
    page = Page(write_report(wrong))
    hold_the_rules(page)
    embedded = [one["src"] for one in page.all("audio")]
    assert 0 < sum(map(len, embedded)) <= 120_000
    links = [one["href"] for one in page.all("a") if "#t=" in one["href"]]
    assert len(links) > 4
    for link in links:
        assert (wrong / unquote(urlsplit(link).path)).is_file()
        start, end = map(float, urlsplit(link).fragment.removeprefix("t=").split(","))
        assert 0 <= start < end


def test_songs_that_are_gone_have_no_player_and_that_is_said(wrong):
    shutil.rmtree(wrong.parent / "audio")
    page = Page(write_report(wrong))
    hold_the_rules(page)
    assert not page.all("audio")
    assert "no longer there" in page.said
    assert 'class="time"' in page.text
    (wrong / "audio.csv").unlink()
    assert "Nothing can be played" in Page(write_report(wrong)).said


def test_a_file_that_is_no_longer_sound_costs_only_its_player(wrong):
    for path in (wrong.parent / "audio").iterdir():
        path.write_bytes(b"not sound")
    page = Page(write_report(wrong))
    hold_the_rules(page)
    assert not page.all("audio")
    assert page.all("svg")


def test_without_mistakes_the_least_sure_answers_are_shown(run):
    rows = rows_of(run / "predictions.csv")
    for row in rows:
        row["predicted"] = row["label"]
    write_csv(run / "predictions.csv", rows, list(rows[0]))
    page = Page(write_report(run))
    assert "No mistakes" in page.said
    assert len(re.findall("<h3>", page.text)) == 3


def test_a_table_of_windows_has_timelines_without_times(mute):
    windows = rows_of(mute / "windows.csv")
    for row in windows:
        row["start"] = row["end"] = ""
    write_csv(mute / "windows.csv", windows, list(windows[0]))
    page = Page(write_report(mute))
    hold_the_rules(page)
    assert "first window" in page.said
