"""Columns of a table of windows: read from any file, checked, rows named in every refusal."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongTableError, suggestion

if TYPE_CHECKING:
    import pandas

Values = NDArray[np.float32]

_ROWS = 2048  # rows of a wide table turned at once: they stay in the processor's cache
_COLUMNS = 10  # columns of Parquet decoded at once: bounds memory


def column(table: "pandas.DataFrame | str | Path", name: str) -> Any:
    """Return one column of a table of windows."""
    columns = read_columns(table)
    require(columns, name, str(table))
    return columns[name]


def preview(names: Iterable[Any], song_pattern: str, count: int = 5) -> str:
    """Show what a pattern makes of the first names."""
    lines = []
    for name, _ in zip(names, range(count), strict=False):
        found = re.fullmatch(song_pattern, str(name))
        if found is None:
            lines.append(f"{name}  does not match")
        else:
            number = f"  window {found[2]}" if found.re.groups > 1 else ""
            lines.append(f"{name}  ->  song {found[1]}{number}")
    return "\n".join(lines)


def read_columns(table: Any, feature: str | Sequence[str] = ()) -> dict[str, Any]:
    """Return a table as a dict of columns, in its own order.

    The columns that ``feature`` stands for are read from Parquet straight into the matrix
    that they become, of which they are then views: the table is never held twice.
    """
    if not hasattr(table, "columns"):
        path = Path(table)
        if not path.is_file():
            raise SongTableError(f"{path}: there is no such table.")
        if path.suffix.lower() == ".npz":
            return _npz(path)
        if path.suffix.lower() == ".parquet":
            return _parquet(path, feature)
        table = _read(path)
    return {str(name): table[name] for name in table.columns}


def _read(path: Path) -> "pandas.DataFrame":
    import pandas

    if path.suffix.lower() in (".csv", ".tsv"):
        try:
            return pandas.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
        except (UnicodeDecodeError, pandas.errors.ParserError, pandas.errors.EmptyDataError) as e:
            raise SongTableError(f"{path}: cannot be read as UTF-8 CSV: {e}") from None
    raise SongTableError(
        f"{path}: a table of windows is a .csv, .tsv, .parquet or .npz file, not '{path.suffix}'."
    )


def _parquet(path: Path, feature: str | Sequence[str]) -> dict[str, Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
        texts = [one.name for one in schema if pyarrow.types.is_large_string(one.type)]
        texts += [one.name for one in schema if pyarrow.types.is_string(one.type)]
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
    except (pyarrow.ArrowException, OSError) as error:
        raise SongTableError(f"{path}: not a Parquet file that can be read: {error}") from None
    numbers = {one.name for one in schema if pyarrow.types.is_floating(one.type)}
    wanted = feature_names(dict.fromkeys(schema.names), feature, str(path)) if feature else []
    wide = wanted if set(wanted) <= numbers else []
    others = [name for name in schema.names if name not in wide]
    values = np.empty((file.metadata.num_rows, len(wide)), dtype=np.float32)
    rest, at = [], 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        for first in range(0, len(wide), _COLUMNS):
            part = wide[first : first + _COLUMNS]
            columns = file.read_row_group(group, columns=part)
            decoded = [columns.column(name).to_numpy() for name in part]
            _fill(values[at : at + rows, first : first + _COLUMNS], decoded)
        rest.append(file.read_row_group(group, columns=others))
        at += rows
    table = pyarrow.concat_tables(rest) if rest else schema.empty_table().select(others)
    read = {name: table.column(name).to_pandas() for name in others}
    return read | {name: values[:, index] for index, name in enumerate(wide)}


def _fill(values: Values, numbers: Sequence[NDArray[Any]]) -> None:
    """Set the columns of ``values`` (rows, columns), some rows at a time."""
    for start in range(0, len(values), _ROWS):
        for index, column in enumerate(numbers):
            values[start : start + _ROWS, index] = column[start : start + _ROWS]


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError) as error:
        raise SongTableError(f"{path}: not an .npz file of plain arrays: {error}") from None


def require(columns: dict[str, Any], name: str, origin: str) -> None:
    """Refuse a table without a column, suggesting the nearest name."""
    if name not in columns:
        raise SongTableError(f"{origin}: there is no column '{name}'.{suggestion(name, columns)}")


def feature_names(columns: dict[str, Any], feature: str | Sequence[str], origin: str) -> list[str]:
    """Return the columns that names and patterns such as ``mfcc_*`` stand for."""
    wanted = [feature] if isinstance(feature, str) else list(feature)
    names: list[str] = []
    for one in wanted:
        if one in columns:
            names.append(one)
            continue
        matching = [name for name in columns if fnmatchcase(name, one)]
        if not matching:
            require(columns, one, origin)
        names += matching
    return names


def take_apart(
    column: Any, pattern: str | None, origin: str
) -> tuple[Any, Any, NDArray[np.int64] | None]:
    """Return the songs' ids, the windows' names and, where captured, their numbers."""
    if pattern is None:
        return column, None, None
    compiled = re.compile(pattern)
    if compiled.groups < 1:
        raise SongTableError(
            f"the pattern {pattern!r} has no group: put the part that names the song in "
            r"parentheses, for example '(.+)_frame\d+'."
        )
    ids, numbers = [], []
    for row, name in enumerate(column, start=1):
        found = compiled.fullmatch(str(name))
        if found is None:
            raise SongTableError(
                f"{origin}, row {row}: the name '{name}' does not match the pattern {pattern!r}. "
                "It must match every name as a whole; --preview shows what it finds."
            )
        ids.append(found[1])
        if compiled.groups > 1:
            numbers.append(_number(found[2], row, origin))
    return ids, column, np.array(numbers) if numbers else None


def _number(text: str, row: int, origin: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SongTableError(
            f"{origin}, row {row}: the pattern's second group found '{text}', which is no number."
        ) from None


def matrix(columns: dict[str, Any], names: list[str], origin: str) -> Values:
    """Return the features (rows, ...) of one column of arrays or many of numbers."""
    if len(names) == 1:
        only = columns[names[0]]
        if np.ndim(only) > 1:
            return np.asarray(only, dtype=np.float32)
        if len(only) and np.ndim(np.asarray(only, dtype=object)[0]) > 0:
            return _stacked(np.asarray(only, dtype=object), names[0], origin)
    together = getattr(columns[names[0]], "base", None)
    if isinstance(together, np.ndarray) and together.shape[1:] == (len(names),):
        return together  # read as a matrix
    values = np.empty((len(columns[names[0]]), len(names)), dtype=np.float32)
    numbers = [_numbers(columns[name], name, origin) for name in names]
    _fill(values, numbers)
    return values


def _numbers(values: Any, name: str, origin: str) -> NDArray[Any]:
    column = np.asarray(values)
    if column.dtype.kind not in "fiub":
        raise SongTableError(f"{origin}: column '{name}' does not hold numbers.")
    return column


def _stacked(cells: NDArray[np.object_], name: str, origin: str) -> Values:
    shape = np.shape(cells[0])
    for row, cell in enumerate(cells, start=1):
        if np.shape(cell) != shape:
            raise SongTableError(
                f"{origin}, row {row}: '{name}' has the shape {np.shape(cell)}, row 1 has {shape}. "
                "All windows must have the same shape."
            )
    return np.stack([np.asarray(cell, dtype=np.float32) for cell in cells])


def shaped(values: NDArray[Any], shape: Sequence[int] | None, origin: str) -> Values:
    """Return features (windows, ...) as float32, flat windows in the wanted shape."""
    values = np.asarray(values, dtype=np.float32)
    if values.ndim < 2 or len(values) == 0:
        raise SongTableError(
            f"{origin}: features have the shape {values.shape}; needed is (windows, ...)."
        )
    if shape is None:
        return values
    size = int(np.prod(values.shape[1:]))
    if int(np.prod(shape)) != size:
        raise SongTableError(f"{origin}: windows of {size} values cannot be shaped {tuple(shape)}.")
    return values.reshape(len(values), *shape)


def finite(values: Values, origin: str) -> Values:
    """Return the features, refusing the first value that is not finite."""
    flat = values.reshape(len(values), -1)
    if not np.isfinite(flat.sum(dtype=np.float64)):  # the cheapest pass that nothing escapes
        row = int(np.flatnonzero(~np.isfinite(flat).all(axis=1))[0])
        column = int(np.flatnonzero(~np.isfinite(flat[row]))[0])
        raise SongTableError(
            f"{origin}, row {row + 1}: value {column} of the window is {flat[row, column]}. "
            "Drop the row or repair it."
        )
    return values
