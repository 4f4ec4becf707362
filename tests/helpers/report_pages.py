"""What the tests of the report share: pages taken apart, and folders to report on."""

import base64
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from songbag.audio.audio_file import Source
from songbag.report.recordings import read_recordings, write_recordings
from songbag.storage.files import write_csv

VOID = {"meta", "br", "img", "input", "link", "hr", "col", "source", "base", "embed"}


class Page(HTMLParser):
    """Elements, texts and headings of a page; whatever is not closed is an error."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text.replace("<wbr>", ""))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), self.open[-1] if self.open else None))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), self.open[-1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes another"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def said(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def hold_the_rules(page):
    """What every page keeps: nothing from outside, nothing that runs, readable by all."""
    assert not page.all("link") + page.all("img") + page.all("iframe") + page.all("base")
    assert len(page.all("script")) == 1
    for tag, attributes, _ in page.elements:
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "href"):
            address = attributes.get(name)
            if address is not None:
                kind = urlsplit(address).scheme
                assert kind == ("data" if name == "src" else ""), address[:80]
        if tag == "th":
            assert attributes.get("scope") in ("row", "col")
        if tag == "svg":
            hidden = attributes.get("aria-hidden") == "true"
            assert hidden or (attributes["role"] == "img" and attributes["aria-label"])
        if tag == "button":
            assert attributes["type"] == "button"
            assert attributes["aria-label"]
    styles = page.text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles
    headings = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))


def sounds(page):
    return [base64.b64decode(one["src"].partition("base64,")[2]) for one in page.all("audio")]


def copied_run(trained, songs, folder):
    """Copy the files of a training and its songs to ``folder``; return where the files are."""
    shutil.copytree(songs.parent / "audio", folder / "audio")
    shutil.copytree(trained.folder, folder / "run")
    (folder / "run" / "report.html").unlink()
    moved = {
        song: Source(path=str(folder / "audio" / Path(one.path).name))
        for song, one in read_recordings(trained.folder).items()
    }
    write_recordings(folder / "run", moved)
    return folder / "run"


def all_wrong(run):
    """Make every answer of a run wrong, so that there are mistakes to show."""
    rows = rows_of(run / "predictions.csv")
    labels = json.loads((run / "metrics.json").read_text())["labels"]
    for row in rows:
        others = (label for label in labels if label != row["label"])
        row["predicted"] = max(others, key=lambda label: float(row[f"p_{label}"]))
        row["confidence"] = row[f"p_{row['predicted']}"]
    write_csv(run / "predictions.csv", rows, list(rows[0]))
    return run


def compared(systems=4, songs=60, seeds=2):
    """A comparison.json of real arithmetic on simulated answers."""
    rng = np.random.default_rng(0)
    names = [f"pooling{k}-song" for k in range(systems)]
    right = {n: rng.random((seeds, songs)) < 0.5 + 0.1 * k for k, n in enumerate(names)}
    rows = []
    for name in names:
        mean = right[name].mean()
        rows.append(
            {"system": name, "accuracy": mean, "accuracy_low": mean - 0.1,
             "accuracy_high": mean + 0.1, "least_seed": right[name].mean(axis=1).min(),
             "most_seed": right[name].mean(axis=1).max(), "window_accuracy": mean - 0.05,
             "nll": 1.0, "nll_low": 0.9, "nll_high": 1.1, "macro_f1": mean, "ece": 0.1,
             "seconds": 12.5}
        )  # fmt: skip
    rows.sort(key=lambda row: -row["accuracy"])
    pairs = []
    for k, a in enumerate(rows):
        for b in rows[k + 1 :]:
            value = a["accuracy"] - b["accuracy"]
            pairs.append(
                {"a": a["system"], "b": b["system"], "accuracy_a": a["accuracy"],
                 "accuracy_b": b["accuracy"], "difference": value, "low": value - 0.08,
                 "high": value + 0.08, "only_a_right": 5, "only_b_right": 3, "p": 0.01,
                 "p_adjusted": 0.02, "told_apart": bool(value > 0.08)}
            )  # fmt: skip
    curves = {n: {"loss": [1.0, 0.5], "validation_loss": [1.1, 0.9]} for n in names}
    said = [f"{rows[0]['system']} is better & that can be told.", "The rest cannot."]
    return json.loads(
        json.dumps({"songs": songs, "groups": 20, "seeds": seeds, "systems": rows,
                    "differences": pairs, "said": said, "curves": curves}, default=float)
    )  # fmt: skip


def two_models(trained, songs, folder):
    """The files of a comparison of two models: the second one has every answer wrong."""
    (folder / "old").mkdir(parents=True)
    (folder / "new").mkdir()
    old = copied_run(trained, songs, folder / "old")
    new = all_wrong(copied_run(trained, songs, folder / "new"))
    changed = [
        {"id": row["id"], "label": row["label"], "change": "became wrong", "first": row["label"],
         "second": row["predicted"]}
        for row in rows_of(new / "predictions.csv")
    ]  # fmt: skip
    write_csv(folder / "changed.csv", changed, list(changed[0]))
    for name, run in (("old", old), ("new", new)):
        shutil.move(run, folder / "runs" / name)
    sources = read_recordings(folder / "runs" / "new")
    moved = {
        song: Source(path=str(folder / "new" / "audio" / Path(one.path).name))
        for song, one in sources.items()
    }
    write_recordings(folder / "runs" / "new", moved)
    return compared(systems=2, seeds=1) | {"models": {"old": 18, "new": 20}}


def leaked():
    names = ("group", "song", "window", "permuted", "permuted_window")
    rows = [
        {"split": name, "accuracy": value, "low": value - 0.05, "high": value + 0.05,
         "window_accuracy": value, "what": f"what {name} means"}
        for name, value in zip(names, (0.6, 0.65, 0.95, 0.33, 0.9), strict=True)
    ]  # fmt: skip
    return {"rows": rows, "said": ["0.600 is the figure to report.", "It measures memory."]}
