"""Predictions as rows and files: predictions.csv, windows.csv, JSON and Parquet.

predictions.csv has one row a song, every id exactly once. A prediction has status "ok"; a
failure has status "failed", a reason and empty cells. Cells come out as they went in, also
where a spreadsheet would take them for a formula.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from songbag.data.song import Song, join_labels
from songbag.inference.predictions import SongPrediction
from songbag.storage.files import Row, write_bytes
from songbag.storage.remote import AnyPath


def probability_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns that hold the song's probabilities, in label order.

    Examples
    --------
    >>> probability_columns(["jazz", "rock"])
    ['p_jazz', 'p_rock']
    """
    return [f"p_{label}" for label in labels]


def song_columns(labels: Sequence[str], songs: Sequence[Song] = ()) -> list[str]:
    """Return the columns of predictions.csv; the columns of the user's table come last."""
    columns = ["id", "status", "reason", "predicted", "confidence", *probability_columns(labels)]
    columns += ["windows", "seconds", "level_db", "warnings"]
    return with_user_columns(columns, songs)


def with_user_columns(columns: Sequence[str], songs: Sequence[Song]) -> list[str]:
    """Return columns and the user's own behind them; a name of ours is not repeated."""
    own = dict.fromkeys(name for song in songs for name in song.extra)
    return [*columns, *(name for name in own if name not in columns)]


def window_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of windows.csv."""
    shares = [f"contribution_{label}" for label in labels]
    return ["id", "window", "start", "end", *probability_columns(labels), *shares]


def song_row(item: SongPrediction, labels: Sequence[str]) -> Row:
    """Return a song's row of predictions.csv, the user's own columns included."""
    row: Row = dict.fromkeys(song_columns(labels), None)
    row |= {"id": item.id, "status": item.status, "reason": item.reason}
    if item.prediction is None:
        row["warnings"] = item.message
    else:
        prediction = item.prediction
        row["predicted"] = join_labels([labels[index] for index in prediction.label_indices])
        row["confidence"] = prediction.confidence
        shares = map(float, prediction.probabilities)
        row |= dict(zip(probability_columns(labels), shares, strict=True))
        row["windows"] = len(prediction.contributions)
        row["seconds"] = _seconds(prediction.end_seconds[-1])
        row["level_db"] = item.level_db
        row["warnings"] = "; ".join(item.warnings)
    return row | {name: cell for name, cell in item.song.extra.items() if name not in row}


def window_rows(item: SongPrediction, labels: Sequence[str]) -> list[Row]:
    """Return a song's rows of windows.csv, none for a failure; windows are named or numbered."""
    prediction = item.prediction
    if prediction is None:
        return []
    rows, columns = [], window_columns(labels)
    for number, start in enumerate(prediction.start_seconds):
        name = item.window_names[number] if item.window_names else number
        values = [item.id, name, _seconds(start), _seconds(prediction.end_seconds[number])]
        values += map(float, prediction.window_probabilities[number])
        values += map(float, prediction.contributions[number])
        rows.append(dict(zip(columns, values, strict=True)))
    return rows


def _seconds(seconds: float) -> float | None:
    return None if seconds != seconds else float(seconds)


def write_json_rows(path: Path, rows: Sequence[Row], windows: Sequence[Sequence[Row]]) -> None:
    """Write rows of predictions.csv as a JSON list, each with its windows if there are any."""
    detailed: list[dict[str, Any]] = list(rows)
    if windows:
        pairs = zip(rows, windows, strict=True)
        detailed = [row | {"windows_detail": list(of_song)} for row, of_song in pairs]
    write_bytes(path, msgspec.json.format(msgspec.json.encode(detailed), indent=1) + b"\n")


def write_parquet_rows(
    file: AnyPath, rows: Sequence[Row], columns: Sequence[str], user_columns: Sequence[str] = ()
) -> None:
    """Write rows of predictions.csv or windows.csv as Parquet; the user's columns are text."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("id", "status", "reason", "predicted", "warnings"), pyarrow.string()),
        **dict.fromkeys(("windows", "window"), pyarrow.int64()),
    }
    fields = [(name, kinds.get(name, pyarrow.float64())) for name in columns]
    fields += [(name, pyarrow.string()) for name in user_columns]
    arrays = [pyarrow.array([row.get(name) for row in rows], kind) for name, kind in fields]
    table = pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
    out = BytesIO()
    parquet.write_table(table, out, compression="zstd")
    write_bytes(file, out.getvalue())
