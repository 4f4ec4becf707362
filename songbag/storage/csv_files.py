"""CSV files as Songbag writes them: every cell comes out as it went in."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from songbag.storage.files import replacing

Row = dict[str, Any]


def csv_text(rows: Iterable[Row], columns: Sequence[str], header: bool = True) -> str:
    """Return rows as CSV; numbers with six decimals, None as an empty cell."""
    lines = [",".join(map(_quoted, columns))] if header else []
    lines += [",".join(_quoted(_cell(row.get(column))) for column in columns) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _quoted(cell: str) -> str:
    # Not the csv module: it leaves a lone carriage return bare, and readers break the line.
    if any(mark in cell for mark in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{round(value, 6) + 0.0:g}" if abs(value) >= 1e6 else repr(round(value, 6) + 0.0)
    return str(value)


def write_csv(path: str | Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write a CSV file, whole or not at all; rows may come one at a time."""
    with replacing(path) as file:
        file.write(csv_text([], columns).encode())
        for row in rows:
            file.write(csv_text([row], columns, header=False).encode())
