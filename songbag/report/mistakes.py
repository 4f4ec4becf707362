"""Songs to look at and listen to: the surest mistakes, and the windows that made them.

A window speaks for the answer by what it contributes to the answer's score less what it
contributes to the other label's: the true one, or, of a right answer, the second best. Of a
song with several labels the label that is furthest off is shown, a window's probability of
it against its threshold.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from songbag.audio.source import Source
from songbag.report.drawings import timeline
from songbag.report.excerpts import LONGEST, cut_excerpts, data_address
from songbag.report.pages import clock
from songbag.report.recordings import read_recordings
from songbag.storage.csv_files import iter_csv

MOST = 12  # songs shown
EMBEDDED_BYTES = 3_000_000  # of sound in one page
_A_SIDE = 2  # windows for, and windows against, that can be heard

Row = dict[str, str]


@dataclass(frozen=True)
class _Sides:
    """Two columns of windows.csv: what a window says for the answer, and what against."""

    said: str
    other: str | None  # None: against a threshold
    threshold: float = 0.5

    def value(self, row: Row) -> float:
        """Return how much a window speaks for the answer; negative: against it."""
        if self.other is None:
            return float(row[f"p_{self.said}"]) - self.threshold
        shares = [row.get(f"contribution_{label}") for label in (self.said, self.other)]
        if not all(shares):
            shares = [row[f"p_{label}"] for label in (self.said, self.other)]
        return float(shares[0] or 0) - float(shares[1] or 0)


def shown_songs(
    folder: Path, rows: Sequence[Row], figures: Mapping[str, Any], home: Path
) -> dict[str, Any]:
    """Return the surest mistakes, or without any the least sure answers, ready to draw.

    Parameters
    ----------
    folder : Path
        With windows.csv and, if the songs are files, audio.csv.
    rows
        Of predictions.csv.
    home : Path
        Where the page will lie; links to songs are relative to it.
    """
    judged = [row for row in rows if row["status"] == "ok" and row.get("side") != "training"]
    wrong = [row for row in judged if row["predicted"] != row["label"]]
    chosen = sorted(wrong or judged, key=lambda row: -float(row["confidence"]))
    chosen = chosen[:MOST] if wrong else chosen[-3:][::-1]
    windows = _windows(folder, {row["id"] for row in chosen})
    sources = read_recordings(folder)
    songs = [_song(row, windows[row["id"]], figures) for row in chosen]
    room = EMBEDDED_BYTES
    for song in songs:
        source = sources.get(song["id"])
        song["file"] = _file(source, home)
        room = _embed(song, source, room)
    return {"songs": songs, "wrong": bool(wrong), "count": len(wrong), "known": bool(sources)}


def _windows(folder: Path, wanted: set[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    if (folder / "windows.csv").exists():
        for row in iter_csv(folder / "windows.csv"):
            if row["id"] in wanted:
                found[row["id"]].append(row)
    return found


def _song(row: Row, windows: Sequence[Row], figures: Mapping[str, Any]) -> dict[str, Any]:
    sides = _sides(row, figures)
    values = [sides.value(window) for window in windows]
    timed = bool(windows) and all(window["start"] and window["end"] for window in windows)
    return {
        "id": row["id"],
        "label": _joined(row["label"], figures),
        "predicted": _joined(row["predicted"], figures),
        "confidence": float(row["confidence"]),
        "sides": sides,
        "bars": timeline(values) if values else [],
        "windows": len(values),
        "for": sum(value >= 0 for value in values),
        "against": sum(value < 0 for value in values),
        "timed": timed,
        "end": float(windows[-1]["end"]) if timed else 0.0,
        "strongest": _strongest(windows, values, sides) if timed else [],
        "warnings": row.get("warnings", ""),
    }


def _sides(row: Row, figures: Mapping[str, Any]) -> _Sides:
    labels = figures["labels"]
    share = {label: float(row[f"p_{label}"]) for label in labels}
    if not figures.get("multilabel"):
        said = row["predicted"]
        second = max((label for label in labels if label != said), key=lambda label: share[label])
        return _Sides(said, second if row["label"] == said else row["label"])
    limits = {one["label"]: one.get("threshold") or 0.5 for one in figures.get("per_label", [])}
    differ = _labels(row["predicted"]) ^ _labels(row["label"]) or set(labels)
    furthest = max(sorted(differ), key=lambda label: abs(share[label] - limits.get(label, 0.5)))
    return _Sides(furthest, None, limits.get(furthest, 0.5))


def _joined(cell: str, figures: Mapping[str, Any]) -> str:
    """Return what a reader sees of a cell: one label, or a set with commas."""
    return ", ".join(cell.split(";")) if figures.get("multilabel") else cell


def _labels(cell: str) -> set[str]:
    """Return the labels of a set as predictions.csv writes it."""
    return set(cell.split(";")) - {""}


def _strongest(
    windows: Sequence[Row], values: Sequence[float], sides: _Sides
) -> list[dict[str, Any]]:
    """Return up to two windows for and two against that do not overlap, strongest first."""
    found: list[dict[str, Any]] = []
    for side, sign in (("for", 1), ("against", -1)):
        order = sorted(range(len(values)), key=lambda k: -sign * values[k])
        taken: list[dict[str, Any]] = []
        for k in order:
            start, end = float(windows[k]["start"]), float(windows[k]["end"])
            apart = all(end <= one["start"] or start >= one["end"] for one in taken)
            if sign * values[k] > 0 and apart and len(taken) < _A_SIDE:
                names = [sides.said, sides.other]
                shares = {n: float(windows[k][f"p_{n}"]) for n in names if n is not None}
                taken.append({"side": side, "start": start, "end": end, "shares": shares})
        found += taken
    return found


def _file(source: Source | None, home: Path) -> str | None:
    """Return the address of a song's file from the page, None where there is no file."""
    if source is None or not Path(source.path).is_file():
        return None
    try:
        path = os.path.relpath(source.path, home.resolve()).replace(os.sep, "/")
    except ValueError:  # another drive
        return Path(source.path).as_uri()
    return quote(os.fsencode(path))


def _embed(song: dict[str, Any], source: Source | None, room: int) -> int:
    """Give the song's strongest windows their sound, or a link; return the bytes left."""
    if source is None or song["file"] is None:
        song["strongest"] = []
        return room
    spans = [(one["start"], one["end"]) for one in song["strongest"]]
    pieces = cut_excerpts(source, spans) if room > 0 else []
    for number, one in enumerate(song["strongest"]):
        address = data_address(pieces[number]) if pieces else ""
        fits = bool(address) and len(address) <= room
        one["address"] = address if fits else None
        room -= len(address) if fits else 0
        one["cut"] = LONGEST if one["end"] - one["start"] > LONGEST else None
        begin = source.start + one["start"]
        one["link"] = f"{song['file']}#t={begin:g},{begin + one['end'] - one['start']:g}"
        one["title"] = f"{clock(one['start'])} to {clock(one['end'])}"
    return room
