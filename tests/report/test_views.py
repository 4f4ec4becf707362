"""Pages whose numbers are those of the files, and in which every name is only text."""

import json
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from songbag.audio.audio_file import Source
from songbag.errors import SongTableError
from songbag.report.drawings import learning_curves
from songbag.report.pages import percent, points
from songbag.report.recordings import read_recordings, write_recordings
from songbag.report.write import write_report
from songbag.storage.files import write_csv, write_json
from tests.helpers.report_pages import Page, compared, hold_the_rules, leaked, rows_of, sounds


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
        "import sys; from pathlib import Path; from songbag.report.write import write_report\n"
        f"write_report(Path({str(wrong)!r}))\n"
        "assert not {'torch', 'pandas', 'sklearn', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
