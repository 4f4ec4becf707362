"""Columns of a window table: ids from names, features as one float32 matrix, checks of values.

Errors name the row: the first row is row 1.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.data.table_files import fill_columns
from songbag.errors import SongTableError

Values = NDArray[np.float32]


def preview(names: Iterable[Any], pattern: str, count: int = 5) -> str:
    r"""Return a text that shows what a pattern finds in the first names.

    Examples
    --------
    >>> print(preview(["song_1_frame7", "intro"], r"(.+)_frame(\d+)"))
    song_1_frame7  ->  song song_1  window 7
    intro  does not match
    """
    lines = []
    for name, _ in zip(names, range(count), strict=False):
        match = re.fullmatch(pattern, str(name))
        if match is None:
            lines.append(f"{name}  does not match")
        else:
            window = f"  window {match[2]}" if match.re.groups > 1 else ""
            lines.append(f"{name}  ->  song {match[1]}{window}")
    return "\n".join(lines)


def parse_names(
    column: Any, pattern: str | None, origin: str
) -> tuple[Any, Any, NDArray[np.int64] | None]:
    r"""Return the song ids, the window names and the window numbers in a column of names.

    Parameters
    ----------
    pattern : str or None
        Regular expression that must match whole names. Group 1 is the song's id, group 2, if
        there is one, the window's number. None: the column holds ids.

    Returns
    -------
    ids, names, numbers
        ``names`` are None without a pattern, ``numbers`` without a second group.

    Examples
    --------
    >>> parse_names(["a_frame2", "a_frame1"], r"(.+)_frame(\d+)", "windows.csv")
    (['a', 'a'], ['a_frame2', 'a_frame1'], array([2, 1]))
    """
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
        match = compiled.fullmatch(str(name))
        if match is None:
            raise SongTableError(
                f"{origin}, row {row}: the name '{name}' does not match the pattern {pattern!r}. "
                "It must match every name as a whole; --preview shows what it finds."
            )
        ids.append(match[1])
        if compiled.groups > 1:
            try:
                numbers.append(int(match[2]))
            except ValueError:
                raise SongTableError(
                    f"{origin}, row {row}: the pattern's second group is '{match[2]}', which "
                    "is no number."
                ) from None
    return ids, column, np.array(numbers) if numbers else None


def feature_matrix(columns: dict[str, Any], names: list[str], origin: str) -> Values:
    """Return the features (windows, ...) in one column of arrays or in columns of numbers."""
    first = columns[names[0]]
    if len(names) == 1:
        if np.ndim(first) > 1:
            return np.asarray(first, dtype=np.float32)
        cells = np.asarray(first, dtype=object)
        if len(cells) and np.ndim(cells[0]) > 0:
            shape = np.shape(cells[0])
            for row, cell in enumerate(cells, start=1):
                if np.shape(cell) != shape:
                    raise SongTableError(
                        f"{origin}, row {row}: '{names[0]}' has the shape {np.shape(cell)}, row 1 "
                        f"has {shape}. All windows must have the same shape."
                    )
            return np.stack([np.asarray(cell, dtype=np.float32) for cell in cells])
    whole = getattr(first, "base", None)
    if isinstance(whole, np.ndarray) and whole.shape[1:] == (len(names),):
        return whole  # the columns are views of this matrix, see `read_columns`
    numbers = [np.asarray(columns[name]) for name in names]
    for name, column in zip(names, numbers, strict=True):
        if column.dtype.kind not in "fiub":
            raise SongTableError(f"{origin}: column '{name}' does not hold numbers.")
    values = np.empty((len(first), len(names)), dtype=np.float32)
    fill_columns(values, numbers)
    return values


def reshape_windows(values: NDArray[Any], shape: Sequence[int] | None, origin: str) -> Values:
    """Return features (windows, ...) as float32, each window in the given shape.

    Examples
    --------
    >>> reshape_windows(np.zeros((10, 6)), (2, 3), "the arrays").shape
    (10, 2, 3)
    """
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


def require_finite(values: Values, origin: str) -> Values:
    """Return the features, refusing the first value that is not finite."""
    flat = values.reshape(len(values), -1)
    if not np.isfinite(flat.sum(dtype=np.float64)):  # one pass without temporary arrays
        row = int(np.flatnonzero(~np.isfinite(flat).all(axis=1))[0])
        column = int(np.flatnonzero(~np.isfinite(flat[row]))[0])
        raise SongTableError(
            f"{origin}, row {row + 1}: value {column} of the window is {flat[row, column]}. "
            "Drop the row or repair it."
        )
    return values
