"""What the pages of a comparison and of a measured leakage show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from songbag.report.drawings import (
    Axis,
    axis_around,
    interval_row,
    learning_curves,
    symmetric_axis,
    tick_texts,
)

_FEW = 15  # pairs that are all shown at once

# A row of leakage.json to what it is called, and whether a song stands on both sides.
_SPLITS = {
    "group": ("by group", False),
    "song": ("by song", False),
    "window": ("by window", True),
    "permuted": ("labels permuted, by group", False),
    "permuted_window": ("labels permuted, by window", True),
}

Row = Mapping[str, Any]


def view_comparison(folder: Path, found: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return what comparison.html is filled with, from comparison.json."""
    systems = sorted(found["systems"], key=lambda row: -row["accuracy"])
    ends = ("accuracy", "accuracy_low", "accuracy_high")
    axis = axis_around(row[name] for row in systems for name in (*ends, "least_seed", "most_seed"))
    pairs = found["differences"]
    between = symmetric_axis(row[name] for row in pairs for name in ("difference", "low", "high"))
    first, rest = _parted(pairs, systems[0]["system"])
    return {
        "found": found,
        "best": systems[0]["system"],
        "systems": [(row, interval_row(row, axis, ends) | _seeds(row, axis)) for row in systems],
        "ticks": tick_texts(axis, lambda t: f"{100 * t:.0f} %", 5),
        "first": _placed(first, between),
        "rest": _placed(rest, between),
        "between_ticks": tick_texts(between, _signed, 5),
        "curves": _curves(found.get("curves", {}), [row["system"] for row in systems]),
        "runs": _links(folder, home, "runs/*/report.html"),
        "longest": max((row["seconds"] for row in systems), default=0) or 1,
    }


def _signed(difference: float) -> str:
    points = round(100 * difference, 6)
    return f"{points:+g}".replace("-", "−") if points else "0"


def _seeds(row: Row, axis: Axis) -> dict[str, float]:
    return {"least": axis.at(row["least_seed"]), "most": axis.at(row["most_seed"])}


def _parted(pairs: Sequence[Row], best: str) -> tuple[list[Row], list[Row]]:
    """Return the pairs shown at once (all, or with many systems those of the best), the rest."""
    if len(pairs) <= _FEW:
        return sorted(pairs, key=lambda row: best not in (row["a"], row["b"])), []
    with_best = [row for row in pairs if best in (row["a"], row["b"])]
    return with_best, [row for row in pairs if best not in (row["a"], row["b"])]


def _placed(pairs: Sequence[Row], axis: Axis) -> list[tuple[Row, dict[str, Any]]]:
    return [(row, interval_row(row, axis, ("difference", "low", "high"))) for row in pairs]


def _curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]], order: Sequence[str]
) -> list[dict[str, Any]]:
    """Return every system's learning curve, each on its own axis."""
    drawn = {name: learning_curves(_epoch_rows(curves[name])) for name in order if name in curves}
    return [one | {"system": name} for name, one in drawn.items() if one is not None]


def _epoch_rows(curve: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    epochs = max((len(values) for values in curve.values()), default=0)
    return [
        {"epoch": k + 1} | {name: values[k] for name, values in curve.items() if k < len(values)}
        for k in range(epochs)
    ]


def view_leakage(folder: Path, found: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return what leakage.html is filled with, from leakage.json."""
    rows = found["rows"]
    axis = axis_around((row[name] for row in rows for name in ("accuracy", "low", "high")), 0.0)
    return {
        "found": found,
        "rows": [
            (row, interval_row(row, axis, ("accuracy", "low", "high")), *_SPLITS[row["split"]])
            for row in rows
        ],
        "honest": next((row for row in rows if row["split"] == "group"), rows[0]),
        "ticks": tick_texts(axis, lambda t: f"{100 * t:.0f} %", 5),
        "runs": _links(folder, home, "*/report.html"),
    }


def _links(folder: Path, home: Path, pattern: str) -> list[dict[str, str]]:
    """Return the reports of single runs, if the page lies in their folder."""
    if home.resolve() != folder.resolve():
        return []
    found = sorted(folder.glob(pattern))
    return [
        {"name": path.parent.name, "address": quote(path.relative_to(folder).as_posix())}
        for path in found
    ]
