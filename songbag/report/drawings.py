"""Numbers to places: axes, lines, intervals and bars, in percent of a drawing's width and height.

Templates draw with these places alone. Text stands outside of what is stretched, so a drawing
is as readable on a phone as on a wall.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]
_VARIANTS = {
    "random": "random windows",
    "first": "from the start",
    "middle": "from the middle",
}
_BARS = 240  # most bars of a timeline: those of a long recording are means of neighbours


@dataclass(frozen=True)
class Axis:
    """A range of values laid out from 0 to 100 percent."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the place of a value, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values on the axis, ``most`` of them at the most."""
        step = 10.0 ** math.floor(math.log10(self.high - self.low))
        steps = (size * step for size in (0.1, 0.2, 0.5, 1, 2, 5))
        width = next(s for s in steps if self.high / s - self.low / s < most)
        first = math.ceil(self.low / width - 1e-9)
        last = math.floor(self.high / width + 1e-9)
        return [place * width + 0.0 for place in range(first, last + 1)]


SHARES = Axis(0.0, 1.0)


def axis_around(values: Iterable[float | None], *kept: float) -> Axis:
    """Return an axis that holds all values, and those to be kept in view, with some room."""
    known = [value for value in values if value is not None] + list(kept)
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = 0.06 * (high - low) or 0.05
    return Axis(low - room, high + room)


def symmetric_axis(values: Iterable[float | None]) -> Axis:
    """Return an axis with 0 in its middle."""
    far = max((abs(value) for value in values if value is not None), default=0.0) * 1.06 or 0.05
    return Axis(-far, far)


def polyline(x: Sequence[float], y: Sequence[float], across: Axis, up: Axis) -> str:
    """Return the points of a line in a 100 x 100 drawing, its y growing downwards."""
    return " ".join(f"{across.at(a):g},{100 - up.at(b):g}" for a, b in zip(x, y, strict=True))


def learning_curves(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return loss and validation loss by epoch: every fold thin, their mean thick.

    The mean is over the folds that were still learning in that epoch.
    """
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        for name in ("loss", "validation_loss"):
            value = float(row.get(name) or math.nan)
            if math.isfinite(value):
                found[name][str(row.get("fold", ""))][int(float(row["epoch"]))] = value
    if not found:
        return None
    values = [v for folds in found.values() for epochs in folds.values() for v in epochs.values()]
    last = max(e for folds in found.values() for epochs in folds.values() for e in epochs)
    across, up = Axis(1.0, max(2.0, last)), Axis(min(0.0, *values), max(values) * 1.04 or 1.0)
    means = {name: _mean(folds.values()) for name, folds in found.items()}
    return {
        "folds": [
            {"name": name, "fold": fold} | _curve(epochs, across, up)
            for name, folds in found.items()
            for fold, epochs in folds.items()
        ],
        "means": [{"name": name} | _curve(epochs, across, up) for name, epochs in means.items()],
        "ends": {name: epochs[max(epochs)] for name, epochs in means.items()},
        "count": max(len(folds) for folds in found.values()),
        "epochs": last,
        "x_ticks": [
            tick for tick in tick_texts(across, lambda t: f"{t:g}") if "." not in tick["text"]
        ],
        "y_ticks": tick_texts(up, lambda t: f"{t:g}", 5),
    }


def _mean(folds: Iterable[Mapping[int, float]]) -> dict[int, float]:
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for epochs in folds:
        for epoch, value in epochs.items():
            by_epoch[epoch].append(value)
    return {epoch: sum(by_epoch[epoch]) / len(by_epoch[epoch]) for epoch in sorted(by_epoch)}


def _curve(epochs: Mapping[int, float], across: Axis, up: Axis) -> dict[str, str]:
    return {"points": polyline(list(epochs), list(epochs.values()), across, up)}


def interval_row(row: Row, axis: Axis, names: Sequence[str]) -> dict[str, Any]:
    """Return the places of value, low and high (by their column names) on an axis."""
    value, low, high = (None if row[name] is None else axis.at(row[name]) for name in names)
    return {"at": value, "low": low, "high": high}


def tick_texts(axis: Axis, text: Any, most: int = 6) -> list[dict[str, Any]]:
    """Return places and texts of an axis' ticks."""
    return [{"at": axis.at(t), "text": text(t)} for t in axis.ticks(most)]


def reliability_drawing(bins: Sequence[Row]) -> dict[str, Any]:
    """Return a dot a bin (confidence against share right) and a bar for its count."""
    known = [row for row in bins if row["count"]]
    most = max((row["count"] for row in known), default=1)
    dots = [
        {
            "x": SHARES.at(row["confidence"]),
            "y": 100 - SHARES.at(row["accuracy"]),
            "bar": round(18 * row["count"] / most, 2),
            "size": round(5 + 8 * math.sqrt(row["count"] / most), 1),
        }
        for row in known
    ]
    return {"dots": dots, "bins": known, "most": most, "songs": sum(row["count"] for row in known)}


def heard_drawing(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return accuracy by seconds heard (by windows where seconds are unknown), with its band."""
    rows = [row for row in rows if row.get("accuracy")]
    if not rows:
        return None
    unit = "seconds" if all(row.get("seconds") for row in rows) else "windows"
    across = Axis(0.0, max(float(row[unit]) for row in rows) * 1.02)
    known = [float(row[n]) for row in rows for n in ("accuracy", "low", "high") if row.get(n)]
    up = axis_around(known)
    lines = []
    for variant in dict.fromkeys(row.get("variant", "") for row in rows):
        mine = sorted(
            (r for r in rows if r.get("variant", "") == variant), key=lambda r: float(r[unit])
        )
        x = [float(row[unit]) for row in mine]
        line = polyline(x, [float(row["accuracy"]) for row in mine], across, up)
        lines.append(
            {
                "name": _VARIANTS.get(variant, variant),
                "points": line,
                "dots": line.split(),
                "band": _band(mine, x, across, up),
            }
        )
    return {
        "unit": unit,
        "lines": lines,
        "rows": rows,
        "x_ticks": tick_texts(across, lambda t: f"{t:g}"),
        "y_ticks": tick_texts(up, lambda t: f"{100 * t:.0f} %", 5),
    }


def _band(rows: Sequence[Row], x: Sequence[float], across: Axis, up: Axis) -> str:
    if not all(row.get("low") and row.get("high") for row in rows):
        return ""
    ends = [(x, "low"), (x, "high")]
    low, high = (polyline(xs, [float(r[name]) for r in rows], across, up) for xs, name in ends)
    return f"{low} {' '.join(reversed(high.split()))}"


def timeline(values: Sequence[float]) -> list[dict[str, Any]]:
    """Return a signed bar a window (neighbours joined beyond 240), 0 in the middle."""
    count = min(_BARS, len(values))
    cuts = [k * len(values) // count for k in range(count + 1)]
    joined = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    most = max(map(abs, joined), default=0.0) or 1.0
    gap = 0.12 if count <= 80 else 0.0
    return [
        {
            "x": round(100 * (k + gap / 2) / count, 3),
            "width": round(100 * (1 - gap) / count, 3),
            "y": round(50 - 48 * max(0.0, value) / most, 2),
            "height": round(48 * abs(value) / most, 2),
            "side": "for" if value >= 0 else "against",
        }
        for k, value in enumerate(joined)
    ]
