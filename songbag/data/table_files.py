"""Read tables from files and DataFrames: rows of text for songs, columns of values for windows.

Text files are UTF-8 or UTF-16, their cells separated by commas, semicolons or tabs. Text in a
file stays as it is: ``NA`` is a label, ``001`` and ``1`` are two songs. Every error is a
`SongTableError` that names the file and, where there is one, the line.
"""

import csv
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.data.text_files import decode, dialect_of
from songbag.errors import SongTableError, suggestion

if TYPE_CHECKING:
    import pandas

TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".jsonl")
_DELIMITED = (".csv", ".tsv")
_MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL", "None")  # no number
_NUMBER = re.compile(
    r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(inf|nan)\s*", re.I
)
_CODE = re.compile(r"\s*0\d+\s*")  # 007 is a name
_SAMPLE_ROWS = 1000  # that show which columns hold numbers
_BLOCK_ROWS = 2048  # rows of a matrix filled at once: they stay in the processor's cache
_PARQUET_COLUMNS = 10  # columns decoded at once: bounds memory


def read_rows(table: Any, name: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cells by column) of every row, each cell as the text in the file.

    ``table`` is as in `read_columns`. Missing values are empty cells. Rows without lines have
    those of a CSV file: the first row is line 2.
    """
    if isinstance(table, Path) and table.suffix.lower() in _DELIMITED:
        yield from _delimited_rows(table, name or str(table))
        return
    lines = isinstance(table, Path) and table.suffix.lower() == ".jsonl"
    columns = {key: texts(cells) for key, cells in read_columns(table, name=name).items()}
    for line, row in enumerate(zip(*columns.values(), strict=True), start=1 if lines else 2):
        yield line, dict(zip(columns, row, strict=True))


def read_columns(
    table: Any, features: str | Sequence[str] | None = (), name: str = "", text: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the columns of a table by name, as pandas Series or arrays.

    Parameters
    ----------
    table
        A path of a .csv, .tsv, .parquet, .xlsx, .jsonl or .npz file, a DataFrame of pandas or
        polars, or a table of Arrow.
    features
        Names or patterns of the columns of numbers; None: those that look so, but for ``text``.
        From Parquet they are read directly into one float32 matrix (rows, columns), of which
        the returned columns are views, so that the table is never in memory twice.
    name
        What messages call the table.
    """
    if not isinstance(table, str | Path):
        return _frame_columns(_as_frame(table), name or "the DataFrame")
    path = Path(table)
    name = name or str(path)
    if not path.is_file():
        raise SongTableError(f"{name}: there is no such table.")
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _read_delimited(path, features, name, text)
        case ".parquet":
            return _read_parquet(path, features or (), name)
        case ".xlsx":
            return _frame_columns(_read_excel(path, name), name)
        case ".jsonl":
            return _frame_columns(_read_json_lines(path, name), name)
        case ".npz":
            try:
                with np.load(path, allow_pickle=False) as archive:
                    return {column: archive[column] for column in archive.files}
            except (ValueError, OSError) as error:
                raise SongTableError(f"{name}: not an .npz file of plain arrays: {error}") from None
    raise SongTableError(
        f"{name}: a table is a {', '.join(TABLES)} or .npz file, not '{path.suffix}'."
    )


def texts(column: Any) -> list[str]:
    """Return cells as text, "" for missing ones.

    Whole numbers beside missing cells, of which pandas makes floats, are whole numbers again.

    Examples
    --------
    >>> texts([3.0, None]), texts([3.0, 2.5]), texts(["NA", None, True])
    (['3', ''], ['3.0', '2.5'], ['NA', '', 'True'])
    """
    import pandas

    cells = pandas.Series(column)
    missing = cells.isna()
    if missing.any() and cells.dtype.kind == "f" and (cells[~missing] % 1 == 0).all():
        cells = cells.astype("Int64")
    return ["" if gone else str(cell) for cell, gone in zip(cells.tolist(), missing, strict=True)]


def numbers(column: Any, what: str) -> NDArray[Any]:
    """Return a column as numbers, NaN where they are missing.

    Text is read too, with a decimal comma where every cell has at most that. Errors name the
    first cell that is no number; ``what`` names the table and the column.
    """
    cells = np.asarray(column)
    if cells.dtype.kind in "fiub":
        return cells
    import pandas

    missing = pandas.isna(cells)
    stripped = pandas.Series(np.where(missing, "", cells.astype(str)), dtype="str").str.strip()
    values = pandas.to_numeric(stripped, errors="coerce")
    empty = stripped.isin(_MISSING)
    if (values.isna() & ~empty).any() and not stripped.str.contains(".", regex=False).any():
        values = pandas.to_numeric(stripped.str.replace(",", ".", n=1), errors="coerce")
    wrong = np.flatnonzero(values.isna() & ~empty)
    if len(wrong):
        found = str(cells[wrong[0]])
        hint = " Decimal points and decimal commas are mixed." if "," in found else ""
        raise SongTableError(
            f"{what} does not hold numbers: row {wrong[0] + 1} is '{found}'.{hint}"
        )
    return np.asarray(values, dtype=np.float64)


def looks_numeric(column: Any) -> bool:
    """Return whether a column holds numbers, or texts that are numbers and no codes like 007."""
    import pandas

    cells = pandas.Series(column)
    kind = pandas.api.types.infer_dtype(cells, skipna=True)
    if kind != "string":
        return kind in ("floating", "integer", "mixed-integer-float")
    known = cells[cells.notna() & ~cells.isin(_MISSING)]
    return bool(len(known)) and bool(
        known.str.fullmatch(_NUMBER).all() and not known.str.fullmatch(_CODE).any()
    )


# --- text files -------------------------------------------------------------------------


def _delimited_rows(path: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    data = path.read_bytes()
    dialect = dialect_of(path, data[:65536])
    # newline="": the reader itself takes every kind of line end.
    lines = io.StringIO(decode(data, dialect.encoding, name), newline="")
    for _ in range(dialect.skipped):
        lines.readline()
    # strict: otherwise a quote that is never closed would contain all following rows.
    reader = csv.DictReader(lines, delimiter=dialect.delimiter, restkey="", strict=True)
    try:
        if not reader.fieldnames:
            raise _empty(name)
        _require_single_names(reader.fieldnames, name)
        for row in reader:
            line = reader.line_num + dialect.skipped
            if row.get(""):
                raise SongTableError(
                    f"{name}, line {line}: more cells than columns. Quote cells that "
                    f"contain '{dialect.delimiter}'."
                )
            yield line, row
    except csv.Error as error:
        raise SongTableError(
            f"{name}, line {reader.line_num + dialect.skipped}: not a table ({error}). A quote may "
            "be open, or a cell longer than 131,072 characters."
        ) from None


def _read_delimited(
    path: Path, features: str | Sequence[str] | None, name: str, text: Iterable[str]
) -> dict[str, Any]:
    """Return the columns of a text file: features as numbers, all others as text."""
    import pandas

    with open(path, "rb") as file:
        dialect = dialect_of(path, file.read(65536))
    how: dict[str, Any] = {
        "sep": dialect.delimiter,
        "encoding": dialect.encoding,
        "skiprows": dialect.skipped,
        "keep_default_na": False,
        "index_col": False,
    }
    try:
        head = pandas.read_csv(path, header=None, dtype=str, nrows=1 + _SAMPLE_ROWS, **how)
        names = [str(column).strip() for column in head.iloc[0]]
        _require_single_names(names, name)
        names = [column or f"Unnamed: {place}" for place, column in enumerate(names)]
        sample = head.iloc[1:].set_axis(names, axis=1)
        if features is None:
            chosen = [each for each in names if each not in text and looks_numeric(sample[each])]
        else:
            chosen = column_names(names, features, name) if features else []
        # What looks like text in the sample is read as text, and as numbers by `numbers`.
        plain = [each for each in chosen if not sample[each].str.contains(",").any()]
        dtype = {each: "float64" if each in plain else "str" for each in names}
        missing = {each: list(_MISSING) for each in plain}
        with warnings.catch_warnings():  # pandas drops cells of rows that are too long, and warns
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                path, header=0, names=names, dtype=dtype, na_values=missing, low_memory=False, **how
            )
    except UnicodeDecodeError:
        decode(path.read_bytes(), dialect.encoding, name)  # raises with the line
        raise
    except pandas.errors.EmptyDataError:
        raise _empty(name) from None
    except (pandas.errors.ParserError, pandas.errors.ParserWarning, ValueError) as error:
        said = " ".join(str(error).split())[:120]
        if "'[" in said:
            said += "; cells hold arrays as text: write Parquet, or a column for each value"
        raise SongTableError(f"{name}: not a table ({said}).") from None
    return _frame_columns(frame, name)


def _require_single_names(names: Iterable[str], name: str) -> None:
    counts = Counter(column.strip() for column in names if column and column.strip())
    twice = [column for column, count in counts.items() if count > 1]
    if twice:
        raise SongTableError(
            f"{name}: two columns are called '{twice[0]}'. Rename or delete one of them."
        )


# --- other files ------------------------------------------------------------------------


def _as_frame(table: Any) -> "pandas.DataFrame":
    """Return a table of pandas, polars or Arrow as a DataFrame of pandas."""
    import pandas

    if isinstance(table, pandas.DataFrame):
        return table
    require_pyarrow("Tables of polars and Arrow")
    import pyarrow

    if not isinstance(table, pyarrow.Table):
        if not hasattr(table, "__arrow_c_stream__"):
            raise TypeError(
                f"a table is a path, or a DataFrame of pandas, polars or Arrow; this is a "
                f"{type(table).__name__}"
            )
        table = pyarrow.table(table)
    frame: pandas.DataFrame = table.to_pandas()
    return frame


def _frame_columns(frame: "pandas.DataFrame", name: str) -> dict[str, Any]:
    """Return the columns of a frame, and its index where it has a name."""
    if frame.index.name and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    names = [str(column).strip() for column in frame.columns]
    _require_single_names(names, name)
    return {column: frame.iloc[:, place] for place, column in enumerate(names)}


def _read_excel(path: Path, name: str) -> "pandas.DataFrame":
    if find_spec("openpyxl") is None:
        raise SongTableError(
            f"{name}: Excel files need openpyxl. Install it with: pip install 'songbag[excel]'"
        )
    import pandas

    try:
        return pandas.read_excel(path, dtype=object, keep_default_na=False, na_values=[""])
    except Exception as error:  # of openpyxl, zipfile and xml, many types
        raise SongTableError(f"{name}: not an Excel file that can be read: {error}") from None


def _read_json_lines(path: Path, name: str) -> "pandas.DataFrame":
    import pandas

    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(decode(path.read_bytes(), "utf-8-sig", name).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SongTableError(f"{name}, line {number}: not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise SongTableError(f"{name}, line {number}: not an object {{...}} with the cells.")
        rows.append(row)
    if not rows:
        raise _empty(name)
    return pandas.DataFrame(rows)


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
        read = _frame_columns(file.read(columns=others).to_pandas(split_blocks=True), name)
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


def _empty(name: str) -> SongTableError:
    return SongTableError(f"{name}: the table is empty. It needs a line of column names.")
