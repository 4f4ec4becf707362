"""The report: numbers that are those of the files, harmless names, sound that is small enough."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from songbag.audio.source import Source
from songbag.cli.comparison_text import leakage_text, verdict_text
from songbag.errors import SongTableError
from songbag.report import mistakes, write_report
from songbag.report.drawings import Axis, learning_curves, timeline
from songbag.report.pages import clock, percent, points
from songbag.report.recordings import read_recordings, write_recordings
from songbag.settings import Excerpt
from songbag.storage.csv_files import write_csv
from songbag.storage.files import write_json
from tests.helpers.audio import read_waveform
from tests.helpers.report_pages import (
    Page,
    all_wrong,
    compared,
    copied_run,
    hold_the_rules,
    leaked,
    rows_of,
    sounds,
)


@pytest.fixture
def run(trained, songs, tmp_path):
    """The files of a training, and its songs, where a test may change them."""
    return copied_run(trained, songs, tmp_path)


@pytest.fixture
def wrong(run):
    """The same with every answer wrong, so that there are mistakes to show."""
    return all_wrong(run)


@pytest.fixture
def mute(wrong):
    """The same where nobody knows the files: quick, because nothing is decoded."""
    (wrong / "audio.csv").unlink()
    return wrong


# --- a run ------------------------------------------------------------------------------


def test_the_headline_is_what_metrics_say(mute):
    page = Page(write_report(mute))
    hold_the_rules(page)
    found = json.loads((mute / "metrics.json").read_text())
    accuracy = found["metrics"]["accuracy"]
    said = page.said.replace("\u00a0", " ")
    wanted = [accuracy["value"], accuracy["low"], accuracy["high"], found["window_accuracy"]]
    wanted += [value for value in found["baselines"].values() if value is not None]
    for value in wanted:
        assert percent(value).replace("\u00a0", " ") in said
    assert f"of {found['songs']} songs" in said
    cells = [int(n) for n in re.findall(r'class="cell[^>]*>(\d+)<', page.text)]
    assert cells == [count for line in found["confusion"] for count in line]
    assert found["split"]["hash"] in said
    for row in found["per_label"]:
        assert f"{row['label']} {row['support']} " in said
    for name in ("accuracy", "ece", "nll"):
        assert f"{found['metrics'][name]['value']:.3f}" in said


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
        for one in song["strongest"]:
            (at,) = [k for k, w in enumerate(mine) if float(w["start"]) == one["start"]]
            assert (lead[at] > 0) == (one["side"] == "for")
        first = [one for one in song["strongest"] if one["side"] == "for"]
        if first:
            assert float(mine[int(np.argmax(lead))]["start"]) == first[0]["start"]


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


def test_without_mistakes_the_least_sure_answers_are_shown(run):
    rows = rows_of(run / "predictions.csv")
    for row in rows:
        row["predicted"] = row["label"]
    write_csv(run / "predictions.csv", rows, list(rows[0]))
    page = Page(write_report(run))
    assert "No mistakes" in page.said
    assert len(re.findall("<h3>", page.text)) == 3


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><b>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)//#?%41 .wav",
    "=cmd|' /C calc'!A0",
    "夜想曲 \u202e gnp.exe",
]


def test_hostile_names_stay_text(wrong, tmp_path):
    """In ids, labels, groups, reasons, and as names of files."""
    rows, windows = (rows_of(wrong / name) for name in ("predictions.csv", "windows.csv"))
    sources = read_recordings(wrong)
    moved = {}
    for row, name in zip(rows, HOSTILE * 3, strict=False):
        if name not in moved:
            for window in windows:
                window["id"] = name if window["id"] == row["id"] else window["id"]
            path = tmp_path / "audio" / f"{name.replace('/', '_')}.wav"
            shutil.copy(sources[row["id"]].path, path)
            moved[name] = Source(path=str(path))
            row["id"] = name
    rows[0] |= {"status": "failed", "reason": HOSTILE[0], "warnings": "".join(HOSTILE)}
    text = json.dumps(json.loads((wrong / "metrics.json").read_text()))
    evil = {"drift": HOSTILE[0], "waltz": HOSTILE[1], "gallop": HOSTILE[4]}
    for plain, bad in evil.items():
        text = text.replace(json.dumps(plain), json.dumps(bad))
        for row in [*rows, *windows]:
            for name in list(row):
                value = row.pop(name)
                new = re.sub(f"(?<=_){plain}$", lambda _: bad, name)  # noqa: B023
                row[new] = bad if value == plain else value
    (wrong / "metrics.json").write_text(text)
    write_csv(wrong / "predictions.csv", rows, list(rows[0]))
    write_csv(wrong / "windows.csv", windows, list(windows[0]))
    write_recordings(wrong, moved)
    page = Page(write_report(wrong))
    hold_the_rules(page)
    for name in HOSTILE:
        assert name in "".join(page.texts)
    assert "49" not in [text.strip() for text in page.texts]
    assert sounds(page)
    for link in [one["href"] for one in page.all("a") if one["href"].startswith("..")]:
        assert (wrong / unquote(urlsplit(link).path)).is_file()


def test_a_table_of_windows_has_timelines_without_times(mute):
    windows = rows_of(mute / "windows.csv")
    for row in windows:
        row["start"] = row["end"] = ""
    write_csv(mute / "windows.csv", windows, list(windows[0]))
    page = Page(write_report(mute))
    hold_the_rules(page)
    assert "first window" in page.said


def test_several_labels_a_song(mute):
    figures = json.loads((mute / "metrics.json").read_text())
    labels = figures["labels"]
    value = {"value": 0.7125, "low": 0.6, "high": 0.8}
    per_label = [
        {"label": x, "support": 3, "threshold": 0.25, "ap": 0.5, "auc": None} for x in labels
    ]
    found = {
        "multilabel": True, "songs": 8, "groups": None, "labels": labels, "per_label": per_label,
        "metrics": {"map": value, "hamming_accuracy": value, "anything_new": value},
        "baselines": {"map": 0.4125, "majority": 0.9},
    }  # fmt: skip
    write_json(mute / "metrics.json", found)
    rows = rows_of(mute / "predictions.csv")
    rows[0] |= {"label": ";".join(labels[:2]), "predicted": ""}
    write_csv(mute / "predictions.csv", rows, list(rows[0]))
    page = Page(write_report(mute))
    hold_the_rules(page)
    said = page.said.replace("\u00a0", " ")
    assert "71.2 % mean average precision" in said
    assert "41.2 %" in said
    assert "90.0 %" not in said  # a baseline of another figure
    assert "anything new" in said
    assert "average precision" in said
    assert "no label" in said


def test_learning_curves_show_every_fold_and_their_mean(mute):
    rows = [
        {"fold": str(fold), "epoch": str(epoch), "loss": str(fold / epoch)}
        for fold in (1, 2, 3)
        for epoch in range(1, 5 if fold == 3 else 4)
    ]
    write_csv(mute / "history.csv", rows, list(rows[0]))
    page = Page(write_report(mute))
    hold_the_rules(page)
    assert len([one for one in page.all("polyline") if "thin" in one["class"]]) == 3
    drawing = learning_curves(rows)
    assert drawing["ends"] == {"loss": pytest.approx(3 / 4)}  # the one fold still learning
    assert drawing["epochs"] == 4
    assert learning_curves([{"epoch": "1", "loss": "nan"}]) is None


def test_accuracy_by_seconds_heard_is_drawn(mute):
    rows = [
        {"variant": v, "windows": n, "seconds": 5.0 * n, "accuracy": 0.1 * n, "low": 0.05 * n,
         "high": 0.15 * n}
        for v in ("random", "first") for n in (1, 2, 5)
    ]  # fmt: skip
    write_csv(mute / "heard.csv", rows, list(rows[0]))
    page = Page(write_report(mute))
    hold_the_rules(page)
    assert "How much of a song" in page.said
    assert len(page.all("polygon")) == 1
    assert [one["class"] for one in page.all("polyline")][:2] == ["variant0", "variant1"]


# --- comparisons and leakage ------------------------------------------------------------


def test_a_comparison_shows_systems_differences_and_sentences(tmp_path):
    found = compared()
    write_json(tmp_path / "comparison.json", found)
    run = tmp_path / "runs" / "a&b-seed0"
    run.mkdir(parents=True)
    (run / "report.html").write_text("a run")
    page = Page(write_report(tmp_path))
    hold_the_rules(page)
    said = page.said.replace("\u00a0", " ")
    for sentence in found["said"]:
        assert sentence in said
    for row in found["systems"]:
        assert f"{row['system']} {100 * row['accuracy']:.1f} %" in said
    for row in found["differences"]:
        assert f"{row['a']} − {row['b']} {points(row['difference'])}" in said
        assert (
            abs(float(points(row["difference"]).replace("−", "-")) - 100 * row["difference"]) < 0.1
        )
    assert [one["href"] for one in page.all("a")] == ["runs/a%26b-seed0/report.html"]
    # one learning curve a system
    assert len(page.all("polyline")) == 2 * len(found["systems"])


def test_with_many_systems_the_pairs_without_the_best_are_folded_away(tmp_path):
    found = compared(systems=9)
    write_json(tmp_path / "comparison.json", found)
    page = Page(write_report(tmp_path))
    hold_the_rules(page)
    assert "28 pairs without" in page.said
    best = found["systems"][0]["system"]
    others = [row for row in found["differences"] if best not in (row["a"], row["b"])]
    text = page.text.replace("<wbr>", "")
    assert text.index(f"{others[0]['a']} − {others[0]['b']}") > text.index("pairs without")


def test_leakage_has_a_page(tmp_path):
    found = leaked()
    write_json(tmp_path / "leakage.json", found)
    page = Page(write_report(tmp_path))
    hold_the_rules(page)
    said = page.said.replace("\u00a0", " ")
    assert "60.0 % 0.600 is the figure to report. 95 % interval 55.0 % to 65.0 %." in said
    for row in found["rows"]:
        assert row["what"] in said
        assert f"{100 * row['accuracy']:.1f} %" in said
    assert page.text.count("dot wrong") == 2


# --- what cannot be shown ---------------------------------------------------------------


def test_a_folder_without_anything_is_refused_in_words(tmp_path):
    with pytest.raises(SongTableError, match=r"no metrics\.json, comparison\.json, leak"):
        write_report(tmp_path)
    with pytest.raises(SongTableError, match="crossval, evaluate, compare or leakage"):
        write_report(tmp_path / "nothing")
    (tmp_path / "metrics.json").write_text('{"metrics": {"accuracy": {"value": 1.0}}}')
    with pytest.raises(SongTableError, match=r"no predictions\.csv"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("{broken")
    with pytest.raises(SongTableError, match=r"metrics\.json: not the file"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_report_needs_no_torch(wrong):
    code = (
        "import sys; from pathlib import Path; from songbag.report import write_report\n"
        f"write_report(Path({str(wrong)!r}))\n"
        "assert not {'torch', 'pandas', 'sklearn', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- drawings ---------------------------------------------------------------------------


@pytest.mark.parametrize("low", [0.0, -3.2, 0.31, 1e-5])
@pytest.mark.parametrize("width", [1e-4, 0.08, 0.5, 1, 7, 1234])
def test_ticks_are_few_round_and_inside(low, width):
    axis = Axis(low, low + width)
    ticks = axis.ticks(5)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= low + width + 1e-9 for tick in ticks)
    assert all(0 <= axis.at(tick) <= 100 for tick in ticks)


def test_a_timeline_has_signs_and_a_limit():
    bars = timeline([1.0, -0.5, 0.0])
    assert [bar["side"] for bar in bars] == ["for", "against", "for"]
    assert bars[0]["height"] == 48
    assert bars[1]["y"] == 50
    long = timeline(np.sin(np.arange(5000)).tolist())
    assert len(long) == 240
    assert clock(59.96) == "1:00"
    assert clock(67.5) == "1:07.5"


# --- on a terminal ----------------------------------------------------------------------


def test_a_comparison_on_a_pipe_is_plain_and_fits(tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    found = compared(systems=6)
    found["systems"][0]["system"] = "a name [bold]that is longer than any column should be"
    verdict = SimpleNamespace(folder=tmp_path, **found)
    text = verdict_text(verdict)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]" in text
    assert text.splitlines()[0] == found["said"][0]
    assert "5 more pairs" in text
    for row in found["systems"]:
        assert f"{row['accuracy']:.3f}" in text
    many = leakage_text(leaked()["rows"], leaked()["said"])
    assert max(map(len, many.splitlines())) <= 80
    assert "permuted window" in many


def test_a_single_song_shows_a_timeline_of_every_label(model_path, songs):
    """A real pseudo-terminal of 80 columns, without colours."""
    import pty

    path = next(iter(sorted((songs.parent / "audio").iterdir())))
    output = b""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="80", TERM="xterm", NO_COLOR="1")
        command = [sys.executable, "-m", "songbag", "predict", str(model_path), str(path)]
        os.execv(sys.executable, command)
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        output += data
        if not data:
            break
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    text = output.decode()
    assert not re.search(r"\x1b\[[0-9;]*3\dm", text)  # no colour
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n")
    drawn = {line.split()[0]: line.split()[-1] for line in lines if re.search("[▁▂▃▄▅▆▇█]", line)}
    assert set(drawn) == {"drift", "gallop", "waltz"}
    assert len({len(bars) for bars in drawn.values()}) == 1
    assert max(map(len, lines)) <= 80
