"""Names from strangers: what is no text is written as text, what looks like a formula is said."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from songbag.errors import SongTableError

_FORMULA = "=+-@\t\r"


def is_text(name: str) -> bool:
    """Tell whether a name can be written; file names of other encodings cannot."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def as_text(name: str) -> str:
    """Return a name with the bytes that are no UTF-8 written out in hexadecimal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def count_formulas(cells: Iterable[str | None]) -> int:
    """Count the cells that a spreadsheet would compute."""
    return sum(bool(c) and c[0] in _FORMULA and not _is_number(c) for c in cells if c)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# --- rows ---
#
# Rows of a table file or DataFrame, each with its line: CSV, TSV, Parquet.


def table_rows(path: Path, name: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, cells by column) of a table file, as they stand in it.

    ``name`` is what messages call the file.
    """
    name = name or str(path)
    if path.suffix.lower() == ".parquet":
        import pandas

        yield from frame_rows(pandas.read_parquet(path))
        return
    text = _decoded(path, name)
    head = text.partition("\n")[0]
    delimiter = max("\t" if path.suffix.lower() == ".tsv" else ",", ";", "\t", key=head.count)
    # strict: else an open quote swallows the songs that follow
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="", strict=True)
    try:
        yield from _csv_rows(name, reader, delimiter)
    except csv.Error as error:
        raise SongTableError(
            f"{name}, line {reader.line_num}: not a table ({error}). A quote may be open, or a "
            "cell longer than 131,072 characters."
        ) from None


def _csv_rows(
    name: str, reader: "csv.DictReader[str]", delimiter: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    if not reader.fieldnames:
        raise SongTableError(f"{name}: the table is empty. It needs a line of column names.")
    for row in reader:
        if row.get(""):
            raise SongTableError(
                f"{name}, line {reader.line_num}: more cells than columns. Quote cells that "
                f"contain '{delimiter}'."
            )
        yield reader.line_num, row


def _decoded(path: Path, name: str) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SongTableError(
            f"{name}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). "
            "Save the table as UTF-8."
        ) from None


def frame_rows(frame: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every row of a DataFrame with the line it would have in a file."""
    if frame.index.name and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    for number, row in enumerate(frame.to_dict("records"), start=2):  # line 1: column names
        yield number, {str(name): _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    missing = value is None or value != value  # NaN, NaT
    return "" if missing else str(value)
