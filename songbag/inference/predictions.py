"""Predictions as typed arrays by song and window, and as rows: CSV, JSON and Parquet.

predictions.csv has one row a song, every id exactly once. Cells come out as they went in, also
where a spreadsheet would take them for a formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song, join_labels
from songbag.inference.model_file import Card
from songbag.inference.predictor import Prediction
from songbag.storage.files import Row, write_bytes
from songbag.storage.remote import AnyPath

if TYPE_CHECKING:
    import pandas

TEXT_COLUMNS = ("id", "status", "reason", "label", "predicted", "warnings")


@dataclass(frozen=True)
class SongPrediction:
    """One song's prediction, or the reason of its failure."""

    song: Song
    prediction: Prediction | None
    reason: str = ""  # of a failure: a short word
    message: str = ""  # of a failure: a sentence
    warnings: tuple[str, ...] = ()  # what a listener should know about the recording
    level_db: float | None = None  # of the recording, dB of full scale
    window_names: tuple[str, ...] = ()  # of a table; empty where windows are numbered

    @property
    def id(self) -> str:
        """The song's id."""
        return self.song.id

    @property
    def status(self) -> str:
        """Return "ok" or "failed"."""
        return "failed" if self.prediction is None else "ok"


@dataclass(frozen=True)
class Predictions:
    """Predictions for songs, in their order, each id once; columns follow ``labels``."""

    labels: tuple[str, ...]
    items: Sequence[SongPrediction]

    @cached_property
    def ok(self) -> NDArray[np.bool_]:
        """Which songs have a prediction, shape (songs,)."""
        return np.array([item.prediction is not None for item in self.items], dtype=np.bool_)

    @cached_property
    def ids(self) -> list[str]:
        """Song ids."""
        return [item.id for item in self.items]

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (songs, labels); NaN for failures."""
        return self._rows("probabilities")

    @cached_property
    def logits(self) -> NDArray[np.float64]:
        """Song logits before calibration, shape (songs, labels); NaN for failures."""
        return self._rows("logits")

    @cached_property
    def decisions(self) -> NDArray[np.bool_]:
        """Which labels are predicted, shape (songs, labels); none for failures."""
        table = np.zeros((len(self.items), len(self.labels)), dtype=np.bool_)
        for row, item in zip(table, self.items, strict=True):
            if item.prediction is not None:
                row[item.prediction.label_indices] = True
        return table

    @cached_property
    def window_counts(self) -> NDArray[np.int64]:
        """Number of windows of each song, shape (songs,); 0 for failures."""
        return np.array([len(shares) for shares in self.window_probabilities], dtype=np.int64)

    @cached_property
    def window_probabilities(self) -> list[NDArray[np.float64]]:
        """Probabilities (windows, labels) of each song's windows; no rows for failures."""
        nothing = np.zeros((0, len(self.labels)))
        predictions = (item.prediction for item in self.items)
        return [nothing if p is None else p.window_probabilities for p in predictions]

    def _rows(self, name: str) -> NDArray[np.float64]:
        table = np.full((len(self.items), len(self.labels)), np.nan)
        for row, item in zip(table, self.items, strict=True):
            if item.prediction is not None:
                row[:] = getattr(item.prediction, name)
        return table


def recalibrated(item: SongPrediction, card: Card) -> SongPrediction:
    """Return a song's prediction under the calibration of a model's card."""
    if item.prediction is None:
        return item
    shares = card.kind.probabilities(item.prediction.logits, card.temperature)
    prediction = replace(item.prediction, probabilities=shares, thresholds=card.thresholds)
    return replace(item, prediction=prediction)


def probability_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns that hold the song's probabilities, in label order."""
    return [f"p_{label}" for label in labels]


def song_columns(labels: Sequence[str], songs: Sequence[Song] = ()) -> list[str]:
    """Return the columns of predictions.csv; the columns of the user's table come last."""
    columns = ["id", "status", "reason", "label", "predicted", "confidence", "margin"]
    columns += [*probability_columns(labels), "windows", "seconds", "level_db", "typicality"]
    columns.append("warnings")
    return with_user_columns(columns, songs)


def with_user_columns(columns: Sequence[str], songs: Sequence[Song]) -> list[str]:
    """Return columns and the user's own behind them; a name of ours is not repeated."""
    own = dict.fromkeys(name for song in songs for name in song.extra)
    return [*columns, *(name for name in own if name not in columns)]


def window_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of windows.csv."""
    shares = [f"contribution_{label}" for label in labels]
    names = ["id", "window", "start", "end", *probability_columns(labels)]
    return [*names, *shares, "typicality"]


def song_row(item: SongPrediction, labels: Sequence[str]) -> Row:
    """Return a song's row of predictions.csv, the user's own columns included."""
    row: Row = dict.fromkeys(song_columns(labels), None)
    row |= {"id": item.id, "status": item.status, "reason": item.reason}
    # A folder that is no label of the model is an album or a place; what a table says is meant.
    stated = item.song.line is not None or set(item.song.labels) <= set(labels)
    row["label"] = item.song.label if stated else None
    if item.prediction is None:
        row["warnings"] = item.message
    else:
        prediction = item.prediction
        row["predicted"] = join_labels([labels[index] for index in prediction.label_indices])
        row["confidence"] = prediction.confidence
        row["margin"] = prediction.margin
        shares = map(float, prediction.probabilities)
        row |= dict(zip(probability_columns(labels), shares, strict=True))
        row["windows"] = len(prediction.contributions)
        row["seconds"] = _seconds(prediction.end_seconds[-1])
        row["level_db"] = item.level_db
        row["typicality"] = prediction.typicality
        row["warnings"] = "; ".join(item.warnings)
    return row | {name: cell for name, cell in item.song.extra.items() if name not in row}


def withhold(row: Row, confidence: float = 0.0, unknown: float = 0.0) -> Row:
    """Return a row of predictions.csv without its label where that should not be given.

    A song whose typicality is at most ``unknown`` gets the status unknown, else one whose label
    is less sure than ``confidence`` the status unsure. The probabilities stay.

    Examples
    --------
    >>> row = {"status": "ok", "predicted": "rock", "confidence": 0.6, "typicality": 0.01}
    >>> withhold(row, unknown=0.05)["status"], withhold(row, confidence=0.9)["status"]
    ('unknown', 'unsure')
    """
    if row["status"] == "failed":
        return row
    if unknown and row["typicality"] <= unknown:
        reason = f"unlike the songs of training: {row['typicality']:.2g} of them are as unusual"
        return row | {"status": "unknown", "reason": reason, "predicted": None}
    if row["confidence"] < confidence:
        reason = f"less sure than {confidence:.3f}"
        return row | {"status": "unsure", "reason": reason, "predicted": None}
    return row


def window_rows(item: SongPrediction, labels: Sequence[str]) -> list[Row]:
    """Return a song's rows of windows.csv, none for a failure; windows are named or numbered."""
    prediction = item.prediction
    if prediction is None:
        return []
    rows, columns, typicality = [], window_columns(labels), prediction.window_typicality
    for number, start in enumerate(prediction.start_seconds):
        name = item.window_names[number] if item.window_names else number
        values = [item.id, name, _seconds(start), _seconds(prediction.end_seconds[number])]
        values += map(float, prediction.window_probabilities[number])
        values += map(float, prediction.contributions[number])
        values.append(None if typicality is None else float(typicality[number]))
        rows.append(dict(zip(columns, values, strict=True)))
    return rows


def _seconds(seconds: float) -> float | None:
    return None if np.isnan(seconds) else float(seconds)


def write_json_rows(path: Path, rows: Sequence[Row], windows: Sequence[Sequence[Row]]) -> None:
    """Write rows of predictions.csv as a JSON list, each with its windows if there are any."""
    data = msgspec.json.encode(_with_windows(rows, windows))
    write_bytes(path, msgspec.json.format(data, indent=1) + b"\n")


def write_json_lines(
    path: Path, rows: Sequence[Row], windows: Sequence[Sequence[Row]], labels: Sequence[str]
) -> None:
    """Write the same as `write_json_rows`, a song a line, with objects by label for p_<label>."""
    by_label = [[_by_label(row, labels) for row in of_song] for of_song in windows]
    lines = _with_windows([_by_label(row, labels) for row in rows], by_label)
    write_bytes(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _with_windows(rows: Sequence[Row], windows: Sequence[Sequence[Row]]) -> Sequence[Row]:
    if not windows:
        return rows
    pairs = zip(rows, windows, strict=True)
    return [row | {"windows_detail": list(of_song)} for row, of_song in pairs]


def _by_label(row: Row, labels: Sequence[str]) -> Row:
    """Return a row whose columns by label, such as p_rock, are objects by label."""
    nested = dict(row)
    for prefix, name in (("p_", "probabilities"), ("contribution_", "contributions")):
        if f"{prefix}{labels[0]}" in row:
            nested[name] = {label: nested.pop(f"{prefix}{label}") for label in labels}
    return nested


def write_parquet_rows(
    file: AnyPath, rows: Sequence[Row], columns: Sequence[str], user_columns: Sequence[str] = ()
) -> None:
    """Write rows of predictions.csv or windows.csv as Parquet; the user's columns are text."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(
            ("id", "status", "reason", "label", "predicted", "warnings"), pyarrow.string()
        ),
        **dict.fromkeys(("windows", "window"), pyarrow.int64()),
    }
    fields = [(name, kinds.get(name, pyarrow.float64())) for name in columns]
    fields += [(name, pyarrow.string()) for name in user_columns]
    table = pyarrow.Table.from_pylist(list(rows), schema=pyarrow.schema(fields))
    out = BytesIO()
    parquet.write_table(table, out, compression="zstd")
    write_bytes(file, out.getvalue())


def song_frame(rows: Sequence[Row], columns: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of predictions.csv as a DataFrame indexed by song id."""
    import pandas

    frame = pandas.DataFrame(rows, columns=list(columns)).set_index("id")
    if "typicality" in frame:  # a number also where no song has one
        frame["typicality"] = frame["typicality"].astype(float)
    return frame


def window_frame(rows: Sequence[Row], labels: Sequence[str]) -> "pandas.DataFrame":
    """Return rows of windows.csv by song id, start and end (a table's by id and window)."""
    import pandas

    frame = pandas.DataFrame(rows, columns=window_columns(labels))
    frame["typicality"] = frame["typicality"].astype(float)
    if frame["start"].isna().all():  # windows of a table have names or numbers, no seconds
        return frame.drop(columns=["start", "end"]).set_index(["id", "window"]).sort_index()
    # Sorted, because pandas looks up unsorted indices slowly and warns about it.
    return frame.drop(columns="window").set_index(["id", "start", "end"]).sort_index()
