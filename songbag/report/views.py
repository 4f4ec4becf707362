"""What each kind of page shows: a run (train, crossval, evaluate), a comparison, a leakage."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from songbag.errors import SongTableError
from songbag.report.drawings import (
    SHARES,
    axis_around,
    interval_positions,
    learning_curves,
    percent_tick,
    reliability_drawing,
    symmetric_axis,
    tick_texts,
    windows_needed_drawing,
)
from songbag.report.mistakes import changed_answers, surest_mistakes
from songbag.report.neighbours import doubtful_labels, read_neighbours
from songbag.report.pages import BASELINES, metric, percent
from songbag.report.recordings import read_recordings
from songbag.storage.files import read_csv

Row = Mapping[str, Any]

_RUN_FILES = (
    *("metrics.json", "predictions.csv", "windows.csv", "history.csv", "heard.csv"),
    *("robust.csv", "split.csv", "folds.csv", "neighbours.csv", "audio.csv"),
)
# A column of ``per_label`` in metrics.json to its title and how its numbers are written.
_LABEL_COLUMNS = {
    "support": ("songs", "count"),
    "threshold": ("threshold", "number"),
    "precision": ("precision", "percent"),
    "recall": ("recall", "percent"),
    "f1": ("F1", "percent"),
    "ap": ("average precision", "number"),
    "auc": ("ROC AUC", "number"),
}
# A row of leakage.json to its title, and whether one song is on both sides of the split.
_SPLITS = {
    "group": ("by group", False),
    "song": ("by song", False),
    "window": ("by window", True),
    "permuted": ("labels permuted, by group", False),
    "permuted_window": ("labels permuted, by window", True),
}
_MAX_PAIRS = 15  # shown at once


def view_run(folder: Path, figures: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return the values of run.html, from metrics.json and what a folder has beside it.

    ``home`` is the page's folder.
    """
    try:
        rows = read_csv(folder / "predictions.csv")
    except FileNotFoundError:
        raise SongTableError(
            f"{folder}: no predictions.csv in it. A report needs the whole folder that train, "
            "crossval or evaluate wrote."
        ) from None
    history, needed = (
        read_csv(folder / name) if (folder / name).exists() else []
        for name in ("history.csv", "heard.csv")
    )
    headline = next(iter(figures["metrics"]))
    confusion = figures.get("confusion")
    beside = home.resolve() == folder.resolve()
    neighbours, sources = read_neighbours(folder), read_recordings(folder)
    many = bool(figures.get("multilabel"))
    return {
        "figures": figures,
        "headline": headline,
        "value": figures["metrics"][headline],
        "scale": _headline_scale(figures, headline),
        "verdict": _verdict(figures, headline),
        "confusion": confusion,
        "largest": max((max(line) for line in confusion or []), default=0) or 1,
        "per_label": _label_table(figures.get("per_label", [])),
        "reliability": reliability_drawing(figures.get("reliability", [])),
        "curves": learning_curves(history),
        "needed": windows_needed_drawing(needed),
        "shown": surest_mistakes(folder, rows, figures, home),
        "doubtful": doubtful_labels(neighbours, sources, home, many),
        "failed": [row for row in rows if row["status"] == "failed"],
        "files": [name for name in _RUN_FILES if beside and (folder / name).exists()],
    }


def _baselines(figures: Row, headline: str) -> dict[str, float]:
    """Return the known baselines of the headline's kind, by the names that readers see."""
    known = {name: v for name, v in figures.get("baselines", {}).items() if v is not None}
    comparable = {headline} if headline in known else {"majority", "level"}
    return {
        BASELINES.get(name, name.replace("_", " ")): value
        for name, value in known.items()
        if name in comparable
    }


def _headline_scale(figures: Row, headline: str) -> dict[str, Any]:
    """Return the headline and its baselines on one axis from 0 to 100 percent."""
    rows = [{"name": metric(headline)[0], "kind": "main", **figures["metrics"][headline]}]
    if headline == "accuracy" and figures.get("window_accuracy") is not None:
        rows.append({"name": "single windows", "kind": "part", "value": figures["window_accuracy"]})
    for name, value in _baselines(figures, headline).items():
        rows.append({"name": name, "kind": "floor", "value": value})
    rows = [{"low": None, "high": None} | row for row in rows]
    places = [interval_positions(row, SHARES, ("value", "low", "high")) for row in rows]
    return {"rows": list(zip(rows, places, strict=True)), "ticks": tick_texts(SHARES, percent_tick)}


def _verdict(figures: Row, headline: str) -> str:
    """Return a sentence on whether the headline is above the strongest baseline."""
    baselines, value = _baselines(figures, headline), figures["metrics"][headline]
    if not baselines or value["value"] is None:
        return ""
    strongest = max(baselines, key=lambda name: baselines[name])
    baseline = f"{strongest} ({percent(baselines[strongest])})"
    if value["value"] <= baselines[strongest]:
        return f"It does not beat {baseline}."
    if value["low"] is None:
        return f"It is above {baseline}; how far chance alone could take it is not known."
    if value["low"] > baselines[strongest]:
        return f"Even the low end of the interval is above {baseline}."
    return f"The interval reaches down to {baseline}: on these songs the two cannot be told apart."


def _label_table(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the table per label with the columns that it has, unknown ones last."""
    present = dict.fromkeys(name for row in rows for name in row if name != "label")
    names = [name for name in _LABEL_COLUMNS if name in present]
    names += [name for name in present if name not in _LABEL_COLUMNS]
    columns = [
        (name, *_LABEL_COLUMNS.get(name, (name.replace("_", " "), "number"))) for name in names
    ]
    return {"rows": rows, "columns": columns}


def view_comparison(folder: Path, comparison: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return the values of comparison.html, from comparison.json."""
    systems, metric = comparison["systems"], comparison.get("metric", "accuracy")
    best = systems[0]["system"]
    ends = (metric, f"{metric}_low", f"{metric}_high")
    axis = axis_around(row[name] for row in systems for name in (*ends, "least_seed", "most_seed"))
    system_rows = []
    for row in systems:
        seeds = {"least": axis.at(row["least_seed"]), "most": axis.at(row["most_seed"])}
        system_rows.append((row, interval_positions(row, axis, ends) | seeds))

    pairs = comparison["differences"]
    between = symmetric_axis(row[name] for row in pairs for name in ("difference", "low", "high"))
    with_best = [row for row in pairs if best in (row["a"], row["b"])]
    without_best = [row for row in pairs if best not in (row["a"], row["b"])]
    folded = len(pairs) > _MAX_PAIRS

    def pair_rows(pairs: Sequence[Row]) -> list[tuple[Row, dict[str, Any]]]:
        names = ("difference", "low", "high")
        return [(row, interval_positions(row, between, names)) for row in pairs]

    def points_tick(difference: float) -> str:
        points = round(100 * difference, 6)
        return f"{points:+g}".replace("-", "−") if points else "0"

    return {
        "comparison": comparison,
        "best": best,
        "metric": metric,
        "is_share": metric != "nll",
        "systems": system_rows,
        "ticks": tick_texts(axis, percent_tick, 5),
        "first": pair_rows(with_best if folded else with_best + without_best),
        "rest": pair_rows(without_best if folded else []),
        "between_ticks": tick_texts(between, points_tick, 5),
        "curves": _system_curves(comparison.get("curves", {}), systems),
        "changed": _changed(folder, list(comparison.get("models") or ()), home),
        "runs": _run_links(folder, home, "runs/*/report.html"),
    }


def _changed(folder: Path, models: Sequence[str], home: Path) -> dict[str, Any] | None:
    """Return the songs whose answer changed from one model to another, None for systems."""
    if not models:
        return None
    before = {row["id"]: row for row in read_csv(folder / "changed.csv")}
    run = folder / "runs" / models[-1]
    figures = msgspec.json.decode((run / "metrics.json").read_bytes())
    return changed_answers(run, before, figures, home)


def _system_curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]], systems: Sequence[Row]
) -> list[dict[str, Any]]:
    """Return every system's learning curve, each on its own axis."""
    drawings = []
    for name in (row["system"] for row in systems if row["system"] in curves):
        epochs = max(map(len, curves[name].values()), default=0)
        rows: list[dict[str, Any]] = [{"epoch": k + 1} for k in range(epochs)]
        for loss, values in curves[name].items():
            for row, value in zip(rows, values, strict=False):
                row[loss] = value
        drawing = learning_curves(rows)
        if drawing is not None:
            drawings.append(drawing | {"system": name})
    return drawings


def view_leakage(folder: Path, leakage: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return the values of leakage.html, from leakage.json."""
    rows, ends = leakage["rows"], ("accuracy", "low", "high")
    axis = axis_around((row[name] for row in rows for name in ends), 0.0)
    return {
        "leakage": leakage,
        "rows": [
            (row, interval_positions(row, axis, ends), *_SPLITS[row["split"]]) for row in rows
        ],
        "right": next((row for row in rows if row["split"] == "group"), rows[0]),
        "ticks": tick_texts(axis, percent_tick, 5),
        "runs": _run_links(folder, home, "*/report.html"),
    }


def _run_links(folder: Path, home: Path, pattern: str) -> list[dict[str, str]]:
    """Return links to the reports of single runs, if the page is in their folder."""
    if home.resolve() != folder.resolve():
        return []
    return [
        {"name": path.parent.name, "address": quote(path.relative_to(folder).as_posix())}
        for path in sorted(folder.glob(pattern))
    ]


View = Callable[[Path, dict[str, Any], Path], dict[str, Any]]

# The file that tells what a folder is, to its page's template and the values for it.
VIEWS: dict[str, tuple[str, View]] = {
    "metrics.json": ("run.html", view_run),
    "comparison.json": ("comparison.html", view_comparison),
    "leakage.json": ("leakage.html", view_leakage),
}
