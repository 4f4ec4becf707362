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
from songbag.data.labels import join_labels, split_labels
from songbag.data.song import Song
from songbag.data.song_table import SIDES
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
    """
    values = require_finite(reshape_windows(np.asarray(features), shape, origin), origin)
    told = {"songs": songs, **({} if labels is None else {"labels": labels}), **columns}
    for name, column in told.items():
        if len(column) != len(values):
            raise SongTableError(
                f"{origin}: {len(values)} windows but {len(column)} {name}; give one a window."
            )
    codes, ids = _coded(songs)
    rows, first, counts = _by_song(codes, len(ids), order)
    known = _per_song(told, codes, first, ids, origin)
    if rows is not None:
        values = values[rows]
    names = None if windows is None else np.asarray(windows, dtype=object)
    if names is not None and rows is not None:
        names = names[rows]
    bags, songs = list[Bag](), _songs(ids, known, origin, multilabel)
    begin = 0
    for song, count in zip(songs, counts.tolist(), strict=True):
        part = slice(begin, begin + count)
        window_names = () if names is None else tuple(map(str, names[part]))
        bag = Bag(song, values[part], windows=window_names)
        bags.append(bag)
        begin += count
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
    told = {
        name: values
        for name, values in columns.items()
        if name not in {song, label, order, *features} and np.ndim(values) == 1
    }
    values = feature_matrix(columns, features, origin)
    labels = None if label is None else columns[label]
    return bags_from_arrays(
        values, labels, ids, shape, origin, windows, numbers, multilabel, **_safe(told)
    )


# --- songs ------------------------------------------------------------------------------


def _coded(values: Any) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return a number for every row and the distinct values, in order of appearance."""
    import pandas

    codes, distinct = pandas.factorize(pandas.Series(values), use_na_sentinel=True)
    return np.asarray(codes, dtype=np.int64), np.asarray(distinct, dtype=object)


def _by_song(
    codes: NDArray[np.int64], count: int, numbers: Sequence[Any] | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.int64]]:
    """Return the order that puts songs together (None: they are), first rows and counts."""
    if codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise SongTableError(f"row {row + 1}: the song's name is empty.")
    together = bool((np.diff(codes) >= 0).all())
    order = None if together else np.argsort(codes, kind="stable")
    if numbers is not None:
        order = np.lexsort((np.asarray(numbers), codes))
    first = np.empty(count, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last one written is the first row
    return order, first, np.bincount(codes, minlength=count)


def _per_song(
    told: dict[str, Any],
    codes: NDArray[np.int64],
    first: NDArray[np.int64],
    ids: NDArray[np.object_],
    origin: str,
) -> dict[str, list[str]]:
    """Keep the columns that say one thing about each song; return their values by song.

    Labels must; a song with two is refused.
    """
    known: dict[str, list[str]] = {}
    for name, column in told.items():
        if name == "songs":
            continue
        inner, distinct = _coded(column)
        texts = ["" if value != value else str(value) for value in distinct]
        wrong = np.flatnonzero(inner != inner[first][codes])
        if len(wrong) and name == "labels":
            row, song = int(wrong[0]), codes[wrong[0]]
            here = texts[inner[row]] if inner[row] >= 0 else ""
            raise SongTableError(
                f"{origin}, row {row + 1}: song '{ids[song]}' is labelled '{here}' here and "
                f"'{texts[inner[first[song]]]}' in row {first[song] + 1}. A song has one label."
            )
        if not len(wrong):
            known[name] = [texts[code] if code >= 0 else "" for code in inner[first].tolist()]
    return known


def _songs(
    ids: NDArray[np.object_], known: dict[str, list[str]], origin: str, multilabel: bool
) -> list[Song]:
    nothing = [""] * len(ids)
    labels, artists, splits = (known.pop(one, nothing) for one in ("labels", "artist", "split"))
    wrong = {split for split in splits if split and split.lower() not in SIDES}
    if wrong:
        raise SongTableError(
            f"{origin}: split is '{wrong.pop()}'; it must be train, validation or test."
        )
    if multilabel:
        labels = [join_labels(split_labels(label)) for label in labels]
    extras = [dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)]
    return [
        Song(
            id=str(id_),
            path="",
            label=label if multilabel else label or None,
            artist=artist or None,
            split=SIDES.get(split.lower()),
            extra=extra,
            multilabel=multilabel,
        )
        for id_, label, artist, split, extra in zip(
            ids, labels, artists, splits, extras or ({} for _ in ids), strict=True
        )
    ]


def _safe(told: dict[str, Any]) -> dict[str, Any]:
    """Rename columns that would collide with the arguments of `bags_from_arrays`."""
    taken = {"features", "labels", "songs", "shape", "origin", "windows", "order", "multilabel"}
    return {f"{name}_" if name in taken else name: column for name, column in told.items()}
