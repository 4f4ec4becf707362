"""A table of window features becomes bags: the way in for features made elsewhere.

A row is a window; the song's id is a column, or what a pattern finds in one. Errors name the
row: the first row is row 1.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.data.song_table import user_fields
from songbag.data.table_files import (
    column_names,
    fill_columns,
    looks_numeric,
    numbers,
    read_columns,
    require_column,
    texts,
)
from songbag.errors import SongTableError

if TYPE_CHECKING:
    import pandas

# Arguments of `bags_from_arrays`; columns of these names get an underscore.
_ARGUMENTS = {"features", "labels", "songs", "shape", "origin", "windows", "order", "multilabel"}
# Numbers of these names say which window or song it is, not what a window is like.
_NAMES = {"start", "end", "offset", "onset", "time", "window", "frame", "segment", "index", "row",
          "id", "song_id", "track_id", "artist", "artist_id", "album", "album_id", "group", "year",
          "fold", "split", "label", "label_id", "class", "class_id", "genre", "target"}  # fmt: skip


def bags_from_arrays(
    features: Any,
    labels: Sequence[Any] | None,
    songs: Sequence[Any],
    shape: Sequence[int] | None = None,
    origin: str = "the arrays",
    windows: Sequence[Any] | None = None,
    order: Any = None,
    multilabel: bool = False,
    **columns: Sequence[Any],
) -> MemoryDataset:
    """Make bags from windows in an array, as in Keras.

    Parameters
    ----------
    features : array, shape (windows, ...)
        One window a row: vectors, or matrices of any shape.
    labels : sequence of length windows, or None
        The song's label, repeated for each of its windows.
    songs : sequence of length windows
        The song's id. Windows of a song need not be neighbours; their order is kept.
    shape : sequence of int, optional
        Shape that every flat window is given, for example (13, 216).
    origin : str
        What messages call the data.
    windows : sequence of length windows, optional
        Names of the windows.
    order : sequence of length windows, optional
        Orders the windows of each song; the order of rows otherwise.
    multilabel : bool
        A label is a set of labels, separated by ; or |.
    **columns
        More about the songs (``artist``, ``split``, ...), repeated for each window.

    Raises
    ------
    SongTableError
        Lengths differ, a value is not finite, a song has two labels; the row is named.

    Examples
    --------
    >>> windows = np.zeros((3, 20), dtype=np.float32)
    >>> dataset = bags_from_arrays(windows, ["rock", "jazz", "rock"], ["a", "b", "a"])
    >>> [(bag.id, bag.features.shape) for bag in dataset]
    [('a', (2, 20)), ('b', (1, 20))]
    """
    values = _window_values(features, shape, origin)
    for name, column in {"songs": songs, "labels": labels, **columns}.items():
        if column is not None and len(column) != len(values):
            raise SongTableError(
                f"{origin}: {len(values)} windows but {len(column)} {name}; give one a window."
            )
    codes, ids = _text_codes(songs)
    if codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise SongTableError(f"{origin}, row {row + 1}: the song's name is empty.")
    first = np.unique(codes, return_index=True)[1]
    cells: dict[str, list[str]] = {}
    for name, column in columns.items():
        of_songs, differing = _constant_by_song(column, codes, first)
        if differing is None:
            cells[name] = of_songs
    if labels is not None:
        cells["labels"], differing = _constant_by_song(labels, codes, first)
        if differing is not None:
            song, before = ids[codes[differing]], first[codes[differing]]
            cell, cell_before = np.asarray(labels, dtype=object)[[differing, before]]
            raise SongTableError(
                f"{origin}, row {differing + 1}: song '{song}' is labelled '{cell}' here "
                f"and '{cell_before}' in row {before + 1}. A song has one label."
            )
    names = None if windows is None else np.asarray(windows, dtype=object)
    if order is not None or (np.diff(codes) < 0).any():
        rows = np.lexsort((np.arange(len(codes)) if order is None else np.asarray(order), codes))
        values, names = values[rows], None if names is None else names[rows]
    bags, start = list[Bag](), 0
    counts = np.bincount(codes).tolist()
    for song, count in zip(_songs(ids, cells, origin, multilabel), counts, strict=True):
        part = slice(start, start + count)
        window_names = () if names is None else tuple(map(str, names[part]))
        bags.append(Bag(song, values[part], windows=window_names))
        start += count
    return MemoryDataset(bags, origin)


def bags_from_table(
    table: "pandas.DataFrame | str | Path",
    song: str,
    label: str | None = None,
    feature: str | Sequence[str] | None = None,
    song_pattern: str | None = None,
    order: str | None = None,
    shape: Sequence[int] | None = None,
    multilabel: bool = False,
) -> MemoryDataset:
    r"""Make bags from a long table with a row a window.

    Parameters
    ----------
    table : DataFrame of pandas, polars or Arrow, or a path
        Of a .csv, .tsv, .parquet, .xlsx, .jsonl or .npz file. An .npz holds one array a column
        and is read without pickle.
    song : str
        Column of the song's id, or of names that ``song_pattern`` takes apart.
    label : str or None
        Column of the label; None where it is not known.
    feature : str or list of str, optional
        A column of arrays, one column of numbers, many columns, or a pattern such as
        ``"mfcc_*"``. By default the column ``feature``, else all columns of numbers that change
        within a song; the dataset's remarks say which.
    song_pattern : str, optional
        Regular expression that matches every name as a whole. Its first group is the
        song's id, its second, if any, the window's number: ``(.+)_frame(\d+)``.
    order : str, optional
        Column that orders a song's windows; the order of rows otherwise.
    shape : sequence of int, optional
        Shape that every flat window is given, for example (13, 216).
    multilabel : bool
        A label is a set of labels, separated by ; or |.

    Raises
    ------
    SongTableError
        A column is missing, a name does not match, a value is not finite, shapes differ
        or a song has two labels; the row is named.
    """
    origin = str(table) if isinstance(table, str | Path) else "the DataFrame"
    named = [name for name in (song, label, order) if name]
    columns, remarks = read_columns(table, feature, origin, text=named), list[str]()
    for name in named:
        require_column(columns, name, origin)
    if len(columns[song]) == 0:
        raise SongTableError(f"{origin}: the table holds no windows.")
    ids, windows, places = _parse_names(columns[song], song_pattern, origin)
    labels = None if label is None else columns[label]
    if feature is None:
        others = {name: cells for name, cells in columns.items() if name not in named}
        feature, remarks = _default_features(others, ids, labels, origin)
        columns = read_columns(table, feature, origin)  # what is left out stays as it is written
    features = column_names(columns, feature, origin)
    if order is not None:
        places = _ordering(columns[order])
    others = {
        name: values
        for name, values in columns.items()
        if name not in {song, label, order, *features} and np.ndim(values) == 1
    }
    for name in _ARGUMENTS & set(others):
        others[f"{name}_"] = others.pop(name)
    values = _feature_matrix(columns, features, origin)
    dataset = bags_from_arrays(
        values, labels, ids, shape, origin, windows, places, multilabel, **others
    )
    return replace(dataset, remarks=remarks, columns=tuple(features))


def _ordering(column: Any) -> NDArray[Any]:
    """Return what orders windows: numbers, and text where a cell is none."""
    try:
        return numbers(column, "")
    except SongTableError:
        return np.array(texts(column))


def _default_features(
    columns: Mapping[str, Any], ids: Any, labels: Any, origin: str
) -> tuple[list[str], list[str]]:
    """Return the columns that say what a window is like, and a remark that names them.

    Numbers that are the same in all windows of each song say something about songs, and may
    be the label's: they are left out, as are rows' numbers and places in time.
    """
    if "feature" in columns:
        return ["feature"], []
    songs, _ = _text_codes(ids)
    first, several = np.unique(songs, return_index=True)[1], len(songs) > songs.max() + 1
    truth = None if labels is None else _text_codes(labels)[0]
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
    return chosen, [f"{remark}. To choose: --feature"]


def _repeats(values: NDArray[Any], truth: NDArray[np.int64]) -> bool:
    """Return whether every label has a value of its own: the labels once more, as numbers."""
    first = np.unique(truth, return_index=True)[1]
    of_labels = values[first]
    return len(set(of_labels.tolist())) == len(first) > 1 and bool(
        (values == of_labels[truth]).all()
    )


def preview(names: Iterable[Any], pattern: str, count: int = 5) -> str:
    """Return a text that shows what a pattern finds in the first names."""
    lines = []
    for name, _ in zip(names, range(count), strict=False):
        match = re.fullmatch(pattern, str(name))
        if match is None:
            lines.append(f"{name}  does not match")
        else:
            window = f"  window {match[2]}" if match.re.groups > 1 else ""
            lines.append(f"{name}  ->  song {match[1]}{window}")
    return "\n".join(lines)


def _parse_names(
    column: Any, pattern: str | None, origin: str
) -> tuple[Any, Any, NDArray[np.int64] | None]:
    """Return the song ids, the window names and the window numbers in a column of names.

    Names are None without a pattern, numbers without a second group in it.
    """
    if pattern is None:
        return column, None, None
    compiled = re.compile(pattern)
    if compiled.groups < 1:
        raise SongTableError(
            f"the pattern {pattern!r} has no group: put the part that names the song in "
            r"parentheses, for example '(.+)_frame\d+'."
        )
    ids, places = [], []
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
                places.append(int(match[2]))
            except ValueError:
                raise SongTableError(
                    f"{origin}, row {row}: the pattern's second group is '{match[2]}', which "
                    "is no number."
                ) from None
    return ids, column, np.array(places) if places else None


def _feature_matrix(columns: dict[str, Any], names: list[str], origin: str) -> NDArray[np.float32]:
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


def _window_values(features: Any, shape: Sequence[int] | None, origin: str) -> NDArray[np.float32]:
    """Return features (windows, ...) as finite float32, each window in the given shape."""
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
        row, column = np.argwhere(~np.isfinite(flat))[0]
        raise SongTableError(
            f"{origin}, row {row + 1}: value {column} of the window is {flat[row, column]}. "
            "Drop the row or repair it."
        )
    return values


def _text_codes(column: Any) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
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


def _constant_by_song(
    column: Any, songs: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[list[str], int | None]:
    """Return the text in each song's first row, and the first row that differs from it."""
    codes, distinct = _text_codes(column)
    different = np.flatnonzero(codes != codes[first][songs])
    if len(different):
        return [], int(different[0])
    return [distinct[code] if code >= 0 else "" for code in codes[first].tolist()], None


def _songs(
    ids: NDArray[np.object_], cells: dict[str, list[str]], origin: str, multilabel: bool
) -> list[Song]:
    """Return the songs with the cells of their columns, and "labels" as their label."""
    songs = []
    rows = zip(*cells.values(), strict=True) if cells else ((),) * len(ids)
    for id_, row in zip(ids, rows, strict=True):
        fields = dict(zip(cells, row, strict=True))
        label = fields.pop("labels", "")
        try:
            known = user_fields(fields, label, multilabel)
        except SongTableError as error:
            raise SongTableError(f"{origin}: {error}.") from None
        extra = {name: cell for name, cell in fields.items() if name not in ("artist", "split")}
        songs.append(Song(id=str(id_), path="", extra=extra, multilabel=multilabel, **known))
    return songs
