"""What the page of a train, crossval or evaluate folder shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from songbag.errors import SongTableError
from songbag.report.drawings import (
    SHARES,
    heard_drawing,
    interval_row,
    learning_curves,
    reliability_drawing,
    tick_texts,
)
from songbag.report.mistakes import shown_songs
from songbag.report.pages import BASELINES, measure, percent
from songbag.storage.csv_files import read_csv


def view_run(folder: Path, figures: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return what run.html is filled with.

    Parameters
    ----------
    folder : Path
        With predictions.csv, and if they are there windows.csv, history.csv, heard.csv and
        audio.csv.
    figures : dict
        Of metrics.json.
    home : Path
        Where the page will lie.
    """
    rows = read_rows(folder / "predictions.csv")
    if rows is None:
        raise SongTableError(
            f"{folder}: no predictions.csv in it. A report needs the whole folder that train, "
            "crossval or evaluate wrote."
        )
    headline = next(iter(figures["metrics"]))
    confusion = figures.get("confusion")
    return {
        "figures": figures,
        "headline": headline,
        "value": figures["metrics"][headline],
        "scale": _scale(figures, headline),
        "verdict": _verdict(figures, headline),
        "confusion": confusion,
        "largest": max((max(line) for line in confusion or []), default=0) or 1,
        "per_label": _label_columns(figures.get("per_label", [])),
        "reliability": reliability_drawing(figures.get("reliability", [])),
        "curves": learning_curves(read_rows(folder / "history.csv") or []),
        "heard": heard_drawing(read_rows(folder / "heard.csv") or []),
        "shown": shown_songs(folder, rows, figures, home),
        "failed": [row for row in rows if row["status"] == "failed"],
        "files": _files(folder) if home.resolve() == folder.resolve() else [],
    }


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """Return the rows of a CSV file, None where there is none."""
    return read_csv(path) if path.exists() else None


def _files(folder: Path) -> list[str]:
    """Return the files beside the page that hold its numbers."""
    names = (
        *("metrics.json", "predictions.csv", "windows.csv", "history.csv", "heard.csv"),
        *("split.csv", "folds.csv", "audio.csv"),
    )
    return [name for name in names if (folder / name).exists()]


def _floors(figures: Mapping[str, Any], headline: str) -> dict[str, float]:
    """Return the known baselines that are of the headline's kind, by what they are called."""
    known = {name: v for name, v in figures.get("baselines", {}).items() if v is not None}
    kind = {headline} if headline in known else {"majority", "level"}
    return {
        BASELINES.get(name, name.replace("_", " ")): value
        for name, value in known.items()
        if name in kind
    }


def _scale(figures: Mapping[str, Any], headline: str) -> dict[str, Any]:
    """Return the headline and what it must beat, on one axis from 0 to 100 percent."""
    rows = [{"name": measure(headline)[0], "kind": "main", **figures["metrics"][headline]}]
    if headline == "accuracy" and figures.get("window_accuracy") is not None:
        rows.append(_point("single windows", "part", figures["window_accuracy"]))
    rows += [_point(name, "floor", v) for name, v in _floors(figures, headline).items()]
    places = [interval_row(row, SHARES, ("value", "low", "high")) for row in rows]
    ticks = tick_texts(SHARES, lambda t: f"{100 * t:.0f} %")
    return {"rows": list(zip(rows, places, strict=True)), "ticks": ticks}


def _point(name: str, kind: str, value: float) -> dict[str, Any]:
    return {"name": name, "kind": kind, "value": value, "low": None, "high": None}


def _verdict(figures: Mapping[str, Any], headline: str) -> str:
    """Say in words whether the figure beats the strongest of its baselines."""
    floors, value = _floors(figures, headline), figures["metrics"][headline]
    if not floors or value["value"] is None:
        return ""
    name = max(floors, key=lambda name: floors[name])
    floor = f"{name} ({percent(floors[name])})"
    if value["value"] <= floors[name]:
        return f"It does not beat {floor}."
    if value["low"] is None:
        return f"It is above {floor}; how far chance alone could take it is not known."
    if value["low"] > floors[name]:
        return f"Even the low end of the interval is above {floor}."
    return f"The interval reaches down to {floor}: these songs cannot tell the two apart."


_COLUMNS = {
    "support": ("songs", "count"),
    "threshold": ("threshold", "number"),
    "precision": ("precision", "percent"),
    "recall": ("recall", "percent"),
    "f1": ("F1", "percent"),
    "ap": ("average precision", "number"),
    "auc": ("ROC AUC", "number"),
}


def _label_columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table per label with the columns that are there, unknown ones last."""
    there = dict.fromkeys(name for row in rows for name in row if name != "label")
    names = [name for name in _COLUMNS if name in there]
    names += [name for name in there if name not in _COLUMNS]
    heads = [_COLUMNS.get(name, (name.replace("_", " "), "number")) for name in names]
    return {"rows": rows, "columns": [(name, *head) for name, head in zip(names, heads)]}
