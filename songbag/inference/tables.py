"""Answers as rows: the columns of predictions.csv and windows.csv, and nothing else.

predictions.csv: one row a song, every id exactly once. An answer has status "ok"; a
failure has status "failed", a reason and empty cells. Cells come out as they went in,
also where a spreadsheet would take them for a formula.
"""

from collections.abc import Sequence

from songbag.data.labels import join_labels
from songbag.inference.predictor import Prediction
from songbag.storage.csv_files import Row


def probability_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns that hold the song's probabilities, in label order."""
    return [f"p_{label}" for label in labels]


def song_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of predictions.csv, before those of the user's own table."""
    answer = ["id", "status", "reason", "predicted", "confidence", *probability_columns(labels)]
    return [*answer, "windows", "seconds", "level_db", "warnings"]


def window_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of windows.csv."""
    shares = [f"contribution_{label}" for label in labels]
    return ["id", "window", "start", "end", *probability_columns(labels), *shares]


def song_row(song_id: str, found: Prediction, labels: Sequence[str], level_db: float | None) -> Row:
    """Return the row of one answered song."""
    values: Row = {"id": song_id, "status": "ok", "reason": "", "warnings": ""}
    values["predicted"] = join_labels([labels[index] for index in found.answer])
    values["confidence"] = found.confidence
    values.update(zip(probability_columns(labels), map(float, found.probabilities), strict=True))
    values["windows"] = len(found.contributions)
    values["seconds"] = _known(float(found.end_seconds[-1]))
    values["level_db"] = level_db
    return {name: values[name] for name in song_columns(labels)}


def failure_row(song_id: str, reason: str, message: str, labels: Sequence[str]) -> Row:
    """Return the row of a song that could not be answered."""
    row: Row = dict.fromkeys(song_columns(labels), None)
    return row | {"id": song_id, "status": "failed", "reason": reason, "warnings": message}


def window_rows(
    song_id: str, found: Prediction, labels: Sequence[str], names: Sequence[str] = ()
) -> list[Row]:
    """Return one row a window of one song; windows without names are numbered."""
    rows = []
    for number, (start, end) in enumerate(zip(found.start_seconds, found.end_seconds, strict=True)):
        name = names[number] if names else number
        values = [song_id, name, _known(start), _known(end)]
        values += map(float, found.window_probabilities[number])
        values += map(float, found.contributions[number])
        rows.append(dict(zip(window_columns(labels), values, strict=True)))
    return rows


def with_own(row: Row, own: Row) -> Row:
    """Return a row with a user's own columns; one called as a column of ours stays away."""
    return row | {name: cell for name, cell in own.items() if name not in row}


def _known(seconds: float) -> float | None:
    return None if seconds != seconds else float(seconds)
