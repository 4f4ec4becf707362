r"""Read and write the CSV files of results: UTF-8, comma, ``\n``, quotes where needed."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from songbag.storage.files import atomic_write

Row = dict[str, Any]


def csv_text(rows: Iterable[Row], columns: Sequence[str], header: bool = True) -> str:
    r"""Return rows as CSV text: UTF-8, comma, ``\n``, quotes where needed.

    Numbers have at most six decimals, None is an empty cell, and keys that are not in
    ``columns`` are left out.

    Examples
    --------
    >>> csv_text([{"id": "a, b", "p": 1 / 3, "label": None}], ["id", "label", "p"])
    'id,label,p\n"a, b",,0.333333\n'
    """
    lines = [",".join(map(_quoted, columns))] if header else []
    lines += [",".join(_quoted(_cell(row.get(column))) for column in columns) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _quoted(cell: str) -> str:
    # The csv module leaves a carriage return without quotes, and readers end the line there.
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
    """Write rows, as they come, to a CSV file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(csv_text([], columns).encode())
        for row in rows:
            file.write(csv_text([row], columns, header=False).encode())


def iter_csv(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file that Songbag wrote, one at a time, every cell as text.

    Tables that users wrote are read by `songbag.data.table_files`.
    """
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Return all rows of `iter_csv`."""
    return list(iter_csv(path))
