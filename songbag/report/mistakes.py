"""Songs to look at and listen to: the most confident mistakes, and the windows behind them.

A window speaks for the predicted label by its contribution to that label's score minus its
contribution to another label's score: the true one, or, where the prediction is right, the
second best. Of a song with several labels, the label is shown that is furthest off: each
window's probability of it against its threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbag.audio.audio_file import Source
from songbag.data.song import join_labels, split_labels
from songbag.data.splits import NOT_JUDGED
from songbag.report.drawings import label_runs, timeline
from songbag.report.neighbours import nearest_songs, read_neighbours
from songbag.report.pages import clock
from songbag.report.recordings import MAX_SECONDS, cut_excerpts, link_to, read_recordings
from songbag.storage.files import iter_csv, read_csv

MAX_SONGS = 12
MAX_CHANGED = 60  # songs whose answer changed
MAX_SOUND_BYTES = 3_000_000  # of one page, in base64
_WINDOWS_A_SIDE = 2  # windows for, and windows against, that can be played

Row = Mapping[str, str]


@dataclass(frozen=True)
class _Contrast:
    """The label that a song's windows speak for, and what they speak for otherwise."""

    label: str
    other: str | None  # None: the label's absence, below a threshold
    threshold: float = 0.5

    @classmethod
    def of_song(cls, row: Row, figures: Mapping[str, Any]) -> "_Contrast":
        """Return the contrast of a row of predictions.csv."""
        labels = figures["labels"]
        share = {label: float(row[f"p_{label}"]) for label in labels}
        predicted = row["predicted"]
        if not figures.get("multilabel"):
            others = (label for label in labels if label != predicted)
            second = max(others, key=lambda label: share[label])
            return cls(predicted, second if row["label"] == predicted else row["label"])
        thresholds = dict.fromkeys(labels, 0.5)
        for label_row in figures.get("per_label", []):
            thresholds[label_row["label"]] = label_row.get("threshold") or 0.5
        wrong = set(split_labels(predicted)) ^ set(split_labels(row["label"])) or set(labels)
        furthest = max(sorted(wrong), key=lambda label: abs(share[label] - thresholds[label]))
        return cls(furthest, None, thresholds[furthest])

    def value(self, window: Row) -> float:
        """Return how much a row of windows.csv speaks for the label; negative: against it."""
        if self.other is None:
            return float(window[f"p_{self.label}"]) - self.threshold
        values = [window.get(f"contribution_{label}") for label in (self.label, self.other)]
        if not all(values):
            values = [window[f"p_{label}"] for label in (self.label, self.other)]
        return float(values[0] or 0) - float(values[1] or 0)


def surest_mistakes(
    folder: Path, rows: Sequence[Row], figures: Mapping[str, Any], home: Path
) -> dict[str, Any]:
    """Return the most confident mistakes, or the least confident answers if all are right.

    ``rows`` are those of predictions.csv, ``figures`` are metrics.json, ``home`` is the page's
    folder, to which links to songs are relative. run.html shows the result as ``shown``.
    """
    test_rows = [row for row in rows if row["status"] == "ok" and row.get("side") not in NOT_JUDGED]
    wrong = [row for row in test_rows if row["predicted"] != row["label"]]
    shown = sorted(wrong or test_rows, key=lambda row: -float(row["confidence"]))
    shown = shown[:MAX_SONGS] if wrong else shown[-3:][::-1]
    contrasts = [_Contrast.of_song(row, figures) for row in shown]
    cards = _song_cards(folder, shown, contrasts, figures, home)
    return cards | {"wrong": bool(wrong), "count": len(wrong)}


def changed_answers(
    folder: Path, before: Mapping[str, Row], figures: Mapping[str, Any], home: Path
) -> dict[str, Any]:
    """Return the songs that a model answers otherwise than one before it, the surest first.

    ``folder`` is that of the model's evaluation, ``before`` has the rows of changed.csv by id. A
    window speaks for the new answer or for the one before.
    """
    rows = [row for row in read_csv(folder / "predictions.csv") if row["id"] in before]
    rows.sort(key=lambda row: -float(row["confidence"]))
    shown, contrasts = rows[:MAX_CHANGED], list[_Contrast]()
    for row in shown:
        first = set(split_labels(before[row["id"]]["first"])) & set(figures["labels"])
        known = bool(first or figures.get("multilabel"))  # else a label that the model has not
        other = {**row, "label": join_labels(first)} if known else row
        contrasts.append(_Contrast.of_song(other, figures))
    cards = _song_cards(folder, shown, contrasts, figures, home)
    for card in cards["songs"]:
        card |= {"before": before[card["id"]]["first"], "change": before[card["id"]]["change"]}
    return cards | {"count": len(rows)}


def _song_cards(
    folder: Path,
    rows: Sequence[Row],
    contrasts: Sequence[_Contrast],
    figures: Mapping[str, Any],
    home: Path,
) -> dict[str, Any]:
    """Return the cards of songs, with sound as long as the page has room for it."""
    windows: dict[str, list[Row]] = {row["id"]: [] for row in rows}
    if (folder / "windows.csv").exists():
        for window in iter_csv(folder / "windows.csv"):
            if window["id"] in windows:
                windows[window["id"]].append(window)
    sources, neighbours = read_recordings(folder), read_neighbours(folder)
    songs = [
        _song(row, windows[row["id"]], contrast, figures)
        for row, contrast in zip(rows, contrasts, strict=True)
    ]
    bytes_left = MAX_SOUND_BYTES
    for song in songs:
        bytes_left = _add_sound(song, sources.get(song["id"]), home, bytes_left)
        song["nearest"] = nearest_songs(neighbours.get(song["id"], []), sources, home)
    return {"songs": songs, "known": bool(sources)}


def _song(
    row: Row, windows: Sequence[Row], contrast: _Contrast, figures: Mapping[str, Any]
) -> dict[str, Any]:
    values = [contrast.value(window) for window in windows]
    timed = bool(windows) and all(window["start"] and window["end"] for window in windows)
    label, predicted = row["label"], row["predicted"]
    if figures.get("multilabel"):
        label, predicted = (", ".join(split_labels(cell)) for cell in (label, predicted))
    most_probable = [
        max(figures["labels"], key=lambda name: float(window[f"p_{name}"])) for window in windows
    ]
    return {
        "id": row["id"],
        "label": label,
        "predicted": predicted,
        "confidence": float(row["confidence"]),
        "contrast": contrast,
        "bars": timeline(values) if values else [],
        "runs": label_runs(most_probable),
        "windows": len(values),
        "for": sum(value >= 0 for value in values),
        "against": sum(value < 0 for value in values),
        "timed": timed,
        "end": float(windows[-1]["end"]) if timed else 0.0,
        "strongest": _strongest(windows, values, contrast) if timed else [],
        "warnings": row.get("warnings", ""),
    }


def _strongest(
    windows: Sequence[Row], values: Sequence[float], contrast: _Contrast
) -> list[dict[str, Any]]:
    """Return up to two windows for and two against that do not overlap, strongest first."""
    labels = [label for label in (contrast.label, contrast.other) if label is not None]
    strongest: list[dict[str, Any]] = []
    for side, sign in (("for", 1), ("against", -1)):
        chosen: list[dict[str, Any]] = []
        for k in sorted(range(len(values)), key=lambda k: -sign * values[k]):
            start, end = float(windows[k]["start"]), float(windows[k]["end"])
            apart = all(end <= other["start"] or start >= other["end"] for other in chosen)
            if sign * values[k] > 0 and apart and len(chosen) < _WINDOWS_A_SIDE:
                shares = {label: float(windows[k][f"p_{label}"]) for label in labels}
                chosen.append({"side": side, "start": start, "end": end, "shares": shares})
        strongest += chosen
    return strongest


def _add_sound(song: dict[str, Any], source: Source | None, home: Path, bytes_left: int) -> int:
    """Add a link to the song's file and the sound of its strongest windows.

    A window has its sound in the page (``address``), or a link where that would need more
    than ``bytes_left``. Returns the bytes that are left then.
    """
    if source is None or not Path(source.path).is_file():
        song |= {"file": None, "strongest": []}
        return bytes_left
    song["file"] = link_to(source.path, home)
    spans = [(window["start"], window["end"]) for window in song["strongest"]]
    excerpts = cut_excerpts(source, spans) if bytes_left > 0 else []
    for number, (window, (start, end)) in enumerate(zip(song["strongest"], spans, strict=True)):
        address = excerpts[number] if excerpts else None
        if address is not None and len(address) > bytes_left:
            address = None
        bytes_left -= len(address or "")
        window["address"] = address
        window["cut"] = MAX_SECONDS if end - start > MAX_SECONDS else None
        begin = source.start + start
        window["link"] = f"{song['file']}#t={begin:g},{begin + end - start:g}"
        window["title"] = f"{clock(start)} to {clock(end)}"
    return bytes_left
