"""A table of window features becomes bags: the way in for features made elsewhere.

The founding table has a row a window: ``name, label, feature``, the name telling song and
window (``song_i_frame1``). The song's id is a column, or what a pattern finds in one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.data.song_table import user_fields
from songbag.data.table_files import column_names, read_columns, require_column
from songbag.data.window_columns import (
    feature_matrix,
    parse_names,
    require_finite,
    reshape_windows,
)
from songbag.errors import SongTableError

if TYPE_CHECKING:
    import pandas

# Arguments of `bags_from_arrays`; columns of these names get an underscore.
_ARGUMENTS = {"features", "labels", "songs", "shape", "origin", "windows", "order", "multilabel"}


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
    values = require_finite(reshape_windows(np.asarray(features), shape, origin), origin)
    for name, column in {"songs": songs, "labels": labels, **columns}.items():
        if column is not None and len(column) != len(values):
            raise SongTableError(
                f"{origin}: {len(values)} windows but {len(column)} {name}; give one a window."
            )
    codes, ids = _factorize(songs)
    if codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise SongTableError(f"row {row + 1}: the song's name is empty.")
    first = np.empty(len(ids), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last assignment wins: the first row
    cells: dict[str, list[str]] = {}
    for name, column in columns.items():
        texts, differing = _constant_by_song(column, codes, first)
        if differing is None:
            cells[name] = texts
    if labels is not None:
        cells["labels"], differing = _constant_by_song(labels, codes, first)
        if differing is not None:
            song, before = ids[codes[differing]], first[codes[differing]]
            cell, cell_before = np.asarray(labels, dtype=object)[[differing, before]]
            raise SongTableError(
                f"{origin}, row {differing + 1}: song '{song}' is labelled '{_text(cell)}' here "
                f"and '{_text(cell_before)}' in row {before + 1}. A song has one label."
            )
    names = None if windows is None else np.asarray(windows, dtype=object)
    if order is not None or (np.diff(codes) < 0).any():
        rows = np.lexsort((np.arange(len(codes)) if order is None else np.asarray(order), codes))
        values, names = values[rows], None if names is None else names[rows]
    bags, start = list[Bag](), 0
    counts = np.bincount(codes, minlength=len(ids)).tolist()
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
    feature: str | Sequence[str] = "feature",
    song_pattern: str | None = None,
    order: str | None = None,
    shape: Sequence[int] | None = None,
    multilabel: bool = False,
) -> MemoryDataset:
    r"""Make bags from a long table with a row a window.

    Parameters
    ----------
    table : DataFrame, or path of a .csv, .tsv, .parquet or .npz file
        An .npz holds one array a column and is read without pickle.
    song : str
        Column of the song's id, or of names that ``song_pattern`` takes apart.
    label : str or None
        Column of the label; None where it is not known.
    feature : str or list of str
        A column of arrays, one column of numbers, many columns, or a pattern such as
        ``"mfcc_*"``.
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
    origin = "the DataFrame" if hasattr(table, "columns") else str(table)
    columns = read_columns(table, feature)
    for name in filter(None, (song, label, order)):
        require_column(columns, name, origin)
    features = column_names(columns, feature, origin)
    if len(columns[song]) == 0:
        raise SongTableError(f"{origin}: the table holds no windows.")
    ids, windows, numbers = parse_names(columns[song], song_pattern, origin)
    if order is not None:
        numbers = np.asarray(columns[order])
    others = {
        name: values
        for name, values in columns.items()
        if name not in {song, label, order, *features} and np.ndim(values) == 1
    }
    for name in _ARGUMENTS & set(others):
        others[f"{name}_"] = others.pop(name)
    values = feature_matrix(columns, features, origin)
    labels = None if label is None else columns[label]
    return bags_from_arrays(
        values, labels, ids, shape, origin, windows, numbers, multilabel, **others
    )


def _factorize(values: Any) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return a code for every row, -1 where it is missing, and the values in order of codes."""
    import pandas

    codes, distinct = pandas.factorize(pandas.Series(values), use_na_sentinel=True)
    return np.asarray(codes, dtype=np.int64), np.asarray(distinct, dtype=object)


def _constant_by_song(
    column: Any, songs: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[list[str], int | None]:
    """Return the text in each song's first row, and the first row that differs from it.

    Parameters
    ----------
    songs : ndarray, shape (windows,)
        Codes of the songs.
    first : ndarray, shape (songs,)
        First row of each song.
    """
    codes, distinct = _factorize(column)
    different = np.flatnonzero(codes != codes[first][songs])
    if len(different):
        return [], int(different[0])
    texts = [_text(value) for value in distinct]
    return [texts[code] if code >= 0 else "" for code in codes[first].tolist()], None


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


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
