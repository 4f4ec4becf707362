"""One self-contained page about a run, from the files of its folder alone."""

import csv
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from songbag.errors import SongTableError
from songbag.files import write_bytes

_MISTAKES = 12  # most confident mistakes shown


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write report.html for a folder with metrics.json and predictions.csv.

    Raises
    ------
    SongTableError
        The folder holds no evaluation.
    """
    from jinja2 import Environment, StrictUndefined, select_autoescape

    try:
        figures = msgspec.json.decode((folder / "metrics.json").read_bytes())
        rows = _rows(folder / "predictions.csv")
    except FileNotFoundError as error:
        raise SongTableError(
            f"{folder}: no {Path(error.filename).name} in it. A report needs a folder written by "
            "train, crossval or evaluate."
        ) from None
    template = (resources.files("songbag.jobs") / "report.html").read_text(encoding="utf-8")
    page = Environment(autoescape=select_autoescape(default=True), undefined=StrictUndefined)
    page.filters["percent"] = _percent
    text = page.from_string(template).render(
        figures=figures,
        name=folder.name,
        mistakes=_mistakes(rows),
        failed=[row for row in rows if row["status"] == "failed"],
        timelines=_timelines(folder, rows, figures["labels"]),
        curves=_curves(folder / "history.csv"),
        largest=max(max(line) for line in figures["confusion"]) or 1,
    )
    target = path or folder / "report.html"
    write_bytes(target, text.encode())
    return target


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _mistakes(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    judged = [row for row in rows if row["status"] == "ok" and row.get("side") != "training"]
    wrong = [row for row in judged if row["predicted"] != row["label"]]
    return sorted(wrong, key=lambda row: -float(row["confidence"]))[:_MISTAKES]


def _timelines(
    folder: Path, rows: list[dict[str, str]], labels: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return, for every mistake shown, each window's probability of the predicted label."""
    wanted = {row["id"]: row["predicted"] for row in _mistakes(rows)}
    found: dict[str, list[dict[str, Any]]] = {song: [] for song in wanted}
    if not (folder / "windows.csv").exists():
        return found
    for row in _rows(folder / "windows.csv"):
        if row["id"] in wanted:
            share = float(row[f"p_{wanted[row['id']]}"])
            found[row["id"]].append({"start": row["start"], "share": share})
    return found


def _curves(path: Path) -> dict[str, Any] | None:
    """Return polylines of the losses for a 600 x 160 drawing, None without a history."""
    if not path.exists():
        return None
    rows = _rows(path)
    if any("fold" in row for row in rows):
        rows = [row for row in rows if row["fold"] == rows[0]["fold"]]
    series = {
        name: [float(row[name]) for row in rows if row.get(name)]
        for name in ("loss", "validation_loss")
    }
    highest = max((max(values) for values in series.values() if values), default=1.0) or 1.0
    width = 600 / max(1, len(rows) - 1)
    lines = {
        name: " ".join(
            f"{index * width:.1f},{155 - 150 * value / highest:.1f}"
            for index, value in enumerate(values)
        )
        for name, values in series.items()
        if values
    }
    return {"lines": lines, "highest": highest, "epochs": len(rows)}
