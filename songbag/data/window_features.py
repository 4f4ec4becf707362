"""The features in a table of windows: which columns they are, and their matrix."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.data.table_files import fill_columns, looks_numeric, numbers, texts
from songbag.errors import SongTableError

Missing: TypeAlias = Literal["refuse", "impute"]  # what becomes of a value that is missing

# Numbers of these names say which window or song it is, not what a window is like.
_NAMES = {"start", "end", "offset", "onset", "time", "window", "frame", "segment", "index", "row",
          "id", "song_id", "track_id", "artist", "artist_id", "album", "album_id", "group", "year",
          "fold", "split", "label", "label_id", "class", "class_id", "genre", "target"}  # fmt: skip


def default_features(
    columns: Mapping[str, Any], ids: Any, labels: Any, origin: str
) -> tuple[list[str], list[str]]:
    """Return the columns that say what a window is like, and a remark that names them.

    Numbers that are the same in all windows of each song say something about songs, and may
    be the label's: they are left out, as are rows' numbers and places in time.
    """
    if "feature" in columns:
        return ["feature"], []
    songs, _ = text_codes(ids)
    first, several = np.unique(songs, return_index=True)[1], len(songs) > songs.max() + 1
    truth = None if labels is None else text_codes(labels)[0]
    chosen, left_out = list[str](), list[str]()
    for name, column in columns.items():
        if np.ndim(column) > 1 or not looks_numeric(column):
            continue
        values = numbers(column, f"{origin}: column '{name}'")
        constant = several and not (values != values[first][songs]).any()
        repeats = truth is not None and _repeats(values, truth)
        named = name.lower() in _NAMES or name.startswith("Unnamed:")
        (left_out if constant or repeats or named else chosen).append(name)
    if not chosen:
        raise SongTableError(
            f"{origin}: no column holds numbers that change within a song; columns are "
            f"{', '.join(columns)}. Name those of the features with --feature."
        )
    shown = chosen if len(chosen) < 5 else [*chosen[:2], "...", chosen[-1]]
    remark = f"{len(chosen)} columns of numbers are the features: {', '.join(shown)}"
    if left_out:
        remark += f"; left out, being no property of a window: {', '.join(left_out)}"
    return chosen, [f"{remark}. Others: --feature (Python: feature)"]


def _repeats(values: NDArray[Any], truth: NDArray[np.int64]) -> bool:
    """Return whether every label has a value of its own: the labels once more, as numbers."""
    first = np.unique(truth, return_index=True)[1]
    of_labels = values[first]
    return len(set(of_labels.tolist())) == len(first) > 1 and bool(
        (values == of_labels[truth]).all()
    )


def feature_matrix(columns: dict[str, Any], names: list[str], origin: str) -> NDArray[np.float32]:
    """Return the features (windows, ...) in one column of arrays or in columns of numbers."""
    first = columns[names[0]]
    if len(names) == 1:
        if np.ndim(first) > 1:
            return np.asarray(first, dtype=np.float32)
        cells = np.asarray(first, dtype=object)
        if len(cells) and isinstance(cells[0], list | tuple | np.ndarray):
            return _stacked(cells, names[0], origin)
    whole = getattr(first, "base", None)
    if isinstance(whole, np.ndarray) and whole.shape[1:] == (len(names),):
        return whole  # the columns are views of this matrix, see `read_columns`
    values = np.empty((len(first), len(names)), dtype=np.float32)
    fill_columns(values, [numbers(columns[n], f"{origin}: column '{n}'") for n in names])
    return values


def _stacked(cells: NDArray[np.object_], name: str, origin: str) -> NDArray[np.float32]:
    """Return cells that are arrays or (nested) lists as one array (windows, ...)."""
    arrays = []
    for row, cell in enumerate(cells, start=1):
        try:
            array = np.array(_nested(cell), dtype=np.float32)
        except (TypeError, ValueError):
            raise SongTableError(
                f"{origin}, row {row}: '{name}' is no array of numbers, or one whose rows differ "
                "in length."
            ) from None
        arrays.append(array)
        if array.shape != arrays[0].shape:
            raise SongTableError(
                f"{origin}, row {row}: '{name}' has the shape {array.shape}, row 1 "
                f"has {arrays[0].shape}. All windows must have the same shape."
            )
    return np.stack(arrays)


def _nested(cell: Any) -> Any:
    """Return arrays of arrays, as nested lists of Parquet are read, as lists of arrays."""
    if isinstance(cell, np.ndarray) and cell.dtype == object:
        return [_nested(part) for part in cell]
    return cell


def window_values(
    features: Any, shape: Sequence[int] | None, origin: str, missing: Missing
) -> NDArray[np.float32]:
    """Return features (windows, ...) as float32, each window in the given shape.

    They are finite, or NaN where values may be missing.
    """
    values = np.asarray(features, dtype=np.float32)
    if values.ndim < 2 or len(values) == 0:
        raise SongTableError(
            f"{origin}: features have the shape {values.shape}; needed is (windows, ...)."
        )
    flat = values.reshape(len(values), -1)
    if shape is not None:
        if np.prod(shape) != flat.shape[1]:
            raise SongTableError(
                f"{origin}: windows of {flat.shape[1]} values cannot be shaped {tuple(shape)}."
            )
        values = values.reshape(len(values), *shape)
    if not np.isfinite(flat.sum(dtype=np.float64)):  # one pass without temporary arrays
        wrong = np.isinf(flat) if missing == "impute" else ~np.isfinite(flat)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise SongTableError(
                f"{origin}, row {row + 1}: value {column} of the window is {flat[row, column]}. "
                "Drop the row or repair it. Where values are missing: --missing impute."
            )
    return values


def text_codes(column: Any) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return a code for every row, -1 where the cell is empty, and the texts by code.

    Codes are given in the order of the texts' first appearance.
    """
    import pandas

    cells = pandas.Series(column)
    missing = cells.isna()
    if missing.any():  # of which pandas makes floats of whole numbers, see `texts`
        cells = pandas.Series(texts(cells))
    codes, distinct = pandas.factorize(cells)
    of_cells = texts(distinct)
    numbered = {text: code for code, text in enumerate(dict.fromkeys(filter(None, of_cells)))}
    merged = np.array([numbered.get(text, -1) for text in of_cells], dtype=np.int64)
    return merged[codes], np.array([*numbered], dtype=object)
