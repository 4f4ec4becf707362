"""Positions of axes, lines, intervals and bars, in percent of a drawing's width and height.

Templates draw with these positions only. Text stands outside of what is stretched, so a
drawing is as readable on a phone as on a wall.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

Row = Mapping[str, Any]

_CHOICES = {  # how windows were chosen in heard.csv
    "random": "random windows",
    "first": "from the start",
    "middle": "from the middle",
}
_MAX_BARS = 240  # of a timeline; in a longer recording a bar is the mean of neighbours


@dataclass(frozen=True)
class Axis:
    """A range of values laid out from 0 to 100 percent."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the position of a value, at most 0 to 100."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def ticks(self, most: int = 6) -> list[float]:
        """Return at most ``most`` round values on the axis."""
        step = 10.0 ** math.floor(math.log10(self.high - self.low))
        steps = (size * step for size in (0.1, 0.2, 0.5, 1, 2, 5))
        width = next(s for s in steps if self.high / s - self.low / s < most)
        first = math.ceil(self.low / width - 1e-9)
        last = math.floor(self.high / width + 1e-9)
        return [number * width + 0.0 for number in range(first, last + 1)]


SHARES = Axis(0.0, 1.0)


def axis_around(values: Iterable[float | None], *included: float) -> Axis:
    """Return an axis with a margin around all values that are known."""
    known = [value for value in values if value is not None] + list(included)
    low, high = min(known, default=0.0), max(known, default=1.0)
    margin = 0.06 * (high - low) or 0.05
    return Axis(low - margin, high + margin)


def symmetric_axis(values: Iterable[float | None]) -> Axis:
    """Return an axis around all values that are known, with 0 in its middle."""
    far = max((abs(value) for value in values if value is not None), default=0.0) * 1.06 or 0.05
    return Axis(-far, far)


def tick_texts(axis: Axis, text: Callable[[float], str], most: int = 6) -> list[dict[str, Any]]:
    """Return positions and texts of an axis' ticks."""
    return [{"at": axis.at(tick), "text": text(tick)} for tick in axis.ticks(most)]


def percent_tick(share: float) -> str:
    """Return the text of a tick of shares, in whole percent."""
    return f"{100 * share:.0f} %"


def polyline(x: Iterable[float], y: Iterable[float], across: Axis, up: Axis) -> str:
    """Return the points of a line in a 100 x 100 SVG drawing, in which y grows downwards."""
    return " ".join(f"{across.at(a):g},{100 - up.at(b):g}" for a, b in zip(x, y, strict=True))


def interval_positions(row: Row, axis: Axis, names: Sequence[str]) -> dict[str, Any]:
    """Return the positions of a value, its low and its high end, named by their columns."""
    at, low, high = (None if row[name] is None else axis.at(row[name]) for name in names)
    return {"at": at, "low": low, "high": high}


def learning_curves(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the drawing of rows of history.csv: both losses by epoch, of every fold and the mean.

    The mean is over the folds that were still training in that epoch. None without a finite loss.
    """
    losses: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        for name in ("loss", "validation_loss"):
            value = float(row.get(name) or math.nan)
            if math.isfinite(value):
                losses[name][str(row.get("fold", ""))][int(float(row["epoch"]))] = value
    if not losses:
        return None
    means: dict[str, dict[int, float]] = {}
    for name, folds in losses.items():
        epochs = sorted(set().union(*folds.values()))
        values_of = {e: [curve[e] for curve in folds.values() if e in curve] for e in epochs}
        means[name] = {epoch: sum(values) / len(values) for epoch, values in values_of.items()}
    curves = [
        (name, fold, curve) for name, folds in losses.items() for fold, curve in folds.items()
    ]
    values = [value for _, _, curve in curves for value in curve.values()]
    last = max(epoch for _, _, curve in curves for epoch in curve)
    across, up = Axis(1.0, max(2.0, last)), Axis(min(0.0, *values), max(values) * 1.04 or 1.0)
    epoch_ticks = tick_texts(across, lambda epoch: f"{epoch:g}")
    return {
        "folds": [
            {"name": name, "fold": fold, "points": polyline(curve, curve.values(), across, up)}
            for name, fold, curve in curves
        ],
        "means": [
            {"name": name, "points": polyline(curve, curve.values(), across, up)}
            for name, curve in means.items()
        ],
        "ends": {name: curve[max(curve)] for name, curve in means.items()},
        "count": max(len(folds) for folds in losses.values()),
        "epochs": last,
        "x_ticks": [tick for tick in epoch_ticks if "." not in tick["text"]],
        "y_ticks": tick_texts(up, lambda loss: f"{loss:g}", 5),
    }


def reliability_drawing(bins: Sequence[Row]) -> dict[str, Any]:
    """Return a dot per bin (share right against confidence) and a bar for its count."""
    filled = [row for row in bins if row["count"]]
    most = max((row["count"] for row in filled), default=1)
    dots = [
        {
            "x": SHARES.at(row["confidence"]),
            "y": 100 - SHARES.at(row["accuracy"]),
            "bar": round(18 * row["count"] / most, 2),
            "size": round(5 + 8 * math.sqrt(row["count"] / most), 1),
        }
        for row in filled
    ]
    return {"dots": dots, "bins": filled, "most": most}


def windows_needed_drawing(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the drawing of rows of heard.csv: accuracy by how much of each song is used.

    Drawn over seconds, or over windows where seconds are unknown. None without an accuracy.
    """
    rows = [row for row in rows if row.get("accuracy")]
    if not rows:
        return None
    unit = "seconds" if all(row.get("seconds") for row in rows) else "windows"
    across = Axis(0.0, max(float(row[unit]) for row in rows) * 1.02)
    up = axis_around(
        float(row[name]) for row in rows for name in ("accuracy", "low", "high") if row.get(name)
    )
    lines = []
    for choice in dict.fromkeys(row.get("variant", "") for row in rows):
        line_rows = [row for row in rows if row.get("variant", "") == choice]
        line_rows.sort(key=lambda row: float(row[unit]))
        x = [float(row[unit]) for row in line_rows]
        points = {
            name: polyline(x, [float(row[name]) for row in line_rows], across, up)
            for name in ("accuracy", "low", "high")
            if all(row.get(name) for row in line_rows)
        }
        line, band = points["accuracy"], ""
        if len(points) == 3:
            band = f"{points['low']} {' '.join(reversed(points['high'].split()))}"
        name = _CHOICES.get(choice, choice)
        lines.append({"name": name, "points": line, "dots": line.split(), "band": band})
    return {
        "unit": unit,
        "lines": lines,
        "rows": rows,
        "x_ticks": tick_texts(across, lambda amount: f"{amount:g}"),
        "y_ticks": tick_texts(up, percent_tick, 5),
    }


def label_runs(leading: Sequence[str]) -> list[dict[str, Any]]:
    """Return stretches of windows with the same ``leading`` label, placed as in `timeline`.

    >>> label_runs(["rock", "rock", "pop", "rock"])[0]
    {'label': 'rock', 'x': 0.0, 'width': 50.0}
    """
    runs, first = list[dict[str, Any]](), 0
    for label, group in groupby(leading):
        count = len(list(group))
        place = {"x": 100 * first / len(leading), "width": 100 * count / len(leading)}
        runs.append({"label": label, **{name: round(at, 3) for name, at in place.items()}})
        first += count
    return runs


def timeline(values: Sequence[float]) -> list[dict[str, Any]]:
    """Return a bar per window, up for positive and down for negative values."""
    count = min(_MAX_BARS, len(values))
    edges = [k * len(values) // count for k in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    most = max(map(abs, means), default=0.0) or 1.0
    gap = 0.12 if count <= 80 else 0.0
    return [
        {
            "x": round(100 * (k + gap / 2) / count, 3),
            "width": round(100 * (1 - gap) / count, 3),
            "y": round(50 - 48 * max(0.0, value) / most, 2),
            "height": round(48 * abs(value) / most, 2),
            "side": "for" if value >= 0 else "against",
        }
        for k, value in enumerate(means)
    ]
