"""Read tables from files and DataFrames: rows of text for songs, columns of values for windows.

CSV and TSV files are UTF-8, separated by commas, semicolons or tabs. Every error is a
`SongTableError` that names the file and, where there is one, the line.
"""

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongTableError, suggestion

if TYPE_CHECKING:
    import pandas

_BLOCK_ROWS = 2048  # rows of a matrix filled at once: they stay in the processor's cache
_PARQUET_COLUMNS = 10  # columns decoded at once: bounds memory


def read_rows(
    table: "pandas.DataFrame | Path", name: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cells by column) of every row, each cell as the text in the file.

    Missing values of a DataFrame or a Parquet file are empty cells. Their rows have the line that
    they would have in a CSV file: the first row is line 2.
    """
    if isinstance(table, Path) and table.suffix.lower() != ".parquet":
        yield from _csv_rows(table, name or str(table))
        return
    import pandas

    texts: dict[str, list[str]] = {}
    for column, values in read_columns(table, name=name).items():
        if values.ndim > 1:
            values = values.iloc[:, -1]  # of several columns with one name, the last
        missing = pandas.isna(values).tolist()
        cells = zip(values.tolist(), missing, strict=True)
        texts[column] = ["" if gone else str(value) for value, gone in cells]
    for line, row in enumerate(zip(*texts.values(), strict=True), start=2):
        yield line, dict(zip(texts, row, strict=True))


def _csv_rows(path: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    text = _decode(path, name)
    delimiter = _delimiter(path, text.partition("\n")[0])
    # strict: otherwise a quote that is never closed would contain all following rows.
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="", strict=True)
    try:
        if not reader.fieldnames:
            raise _empty(name)
        for row in reader:
            if row.get(""):
                raise SongTableError(
                    f"{name}, line {reader.line_num}: more cells than columns. Quote cells that "
                    f"contain '{delimiter}'."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise SongTableError(
            f"{name}, line {reader.line_num}: not a table ({error}). A quote may be open, or a "
            "cell longer than 131,072 characters."
        ) from None


def read_columns(
    table: "pandas.DataFrame | str | Path", features: str | Sequence[str] = (), name: str = ""
) -> dict[str, Any]:
    """Return the columns of a table by name, as pandas Series or arrays.

    ``features`` are names or patterns of the feature columns. They are read from Parquet directly
    into one float32 matrix (rows, columns), of which the returned columns are views, so that the
    table is never in memory twice.
    """
    if not isinstance(table, str | Path):
        return _frame_columns(table)
    path = Path(table)
    name = name or str(path)
    if not path.is_file():
        raise SongTableError(f"{name}: there is no such table.")
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _frame_columns(_read_csv(path, name))
        case ".parquet":
            return _read_parquet(path, features, name)
        case ".npz":
            try:
                with np.load(path, allow_pickle=False) as archive:
                    return {column: archive[column] for column in archive.files}
            except (ValueError, OSError) as error:
                raise SongTableError(f"{name}: not an .npz file of plain arrays: {error}") from None
    raise SongTableError(
        f"{name}: a table of windows is a .csv, .tsv, .parquet or .npz file, not '{path.suffix}'."
    )


def _frame_columns(frame: "pandas.DataFrame") -> dict[str, Any]:
    if frame.index.name and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    return {str(column): frame[column] for column in frame.columns}


def _read_csv(path: Path, name: str) -> "pandas.DataFrame":
    import pandas

    with open(path, "rb") as file:
        head = file.readline().decode("utf-8", "replace")
    try:
        return pandas.read_csv(path, sep=_delimiter(path, head))
    except UnicodeDecodeError:
        _decode(path, name)  # raises with the line
        raise
    except pandas.errors.EmptyDataError:
        raise _empty(name) from None
    except pandas.errors.ParserError as error:
        raise SongTableError(f"{name}: not a table ({error}).") from None


def _read_parquet(path: Path, features: str | Sequence[str], name: str) -> dict[str, Any]:
    require_pyarrow("Parquet files")
    import pyarrow
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
        texts = [
            field.name
            for field in schema
            if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)
        ]
        file = parquet.ParquetFile(path, read_dictionary=texts)
        wide = column_names(schema.names, features, name) if features else []
        if not all(pyarrow.types.is_floating(schema.field(column).type) for column in wide):
            wide = []
        others = [column for column in schema.names if column not in wide]
        values = np.empty((file.metadata.num_rows, len(wide)), dtype=np.float32)
        row = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            for first in range(0, len(wide), _PARQUET_COLUMNS):
                some = wide[first : first + _PARQUET_COLUMNS]
                columns = file.read_row_group(group, columns=some)
                decoded = [columns.column(column).to_numpy() for column in some]
                fill_columns(values[row : row + rows, first : first + len(some)], decoded)
            row += rows
        # Split blocks: no copy that puts columns of one type together.
        read = _frame_columns(file.read(columns=others).to_pandas(split_blocks=True))
    except (pyarrow.ArrowException, OSError) as error:
        raise SongTableError(f"{name}: not a Parquet file that can be read: {error}") from None
    return read | {column: values[:, index] for index, column in enumerate(wide)}


def fill_columns(matrix: NDArray[np.float32], columns: Sequence[NDArray[Any]]) -> None:
    """Copy columns into a matrix (rows, columns), a block of rows at a time."""
    for start in range(0, len(matrix), _BLOCK_ROWS):
        for index, column in enumerate(columns):
            matrix[start : start + _BLOCK_ROWS, index] = column[start : start + _BLOCK_ROWS]


def column_names(columns: Iterable[str], patterns: str | Sequence[str], name: str) -> list[str]:
    """Return the columns that names and patterns stand for, in the order of the patterns."""
    known = dict.fromkeys(columns)
    names: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern in known:
            names.append(pattern)
            continue
        matching = [column for column in known if fnmatchcase(column, pattern)]
        if not matching:
            require_column(known, pattern, name)
        names += matching
    return names


def require_column(columns: Collection[str], column: str, name: str) -> None:
    """Refuse a table without a column, suggesting the nearest name."""
    if column not in columns:
        raise SongTableError(f"{name}: there is no column '{column}'.{suggestion(column, columns)}")


def require_pyarrow(what: str) -> None:
    """Refuse to go on without pyarrow, with the command that installs it."""
    # pyarrow's own allocators hold back 15 MB of freed memory. A user's choice is respected.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if find_spec("pyarrow") is None:
        raise SongTableError(
            f"{what} need pyarrow. Install it with: pip install 'songbag[parquet]'"
        )


def _decode(path: Path, name: str) -> str:
    """Return the text of a UTF-8 file without its byte order mark."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SongTableError(
            f"{name}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). "
            "Save the table as UTF-8."
        ) from None


def _delimiter(path: Path, head: str) -> str:
    """Return the most frequent separator in the line of column names."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    return max(usual, ";", "\t", key=head.count)


def _empty(name: str) -> SongTableError:
    return SongTableError(f"{name}: the table is empty. It needs a line of column names.")
