"""A table of window features becomes bags: the way in for features made elsewhere.

A row is a window; the song's id is a column, or what a pattern finds in one. Errors name the
row: the first row is row 1.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.data.bag import Bag
from songbag.data.columns import GROUPS, NAMES
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.data.song_table import user_fields
from songbag.data.table_files import column_names, numbers, read_columns, require_column, texts
from songbag.data.window_features import (
    Missing,
    default_features,
    feature_matrix,
    text_codes,
    window_values,
)
from songbag.errors import SongTableError

if TYPE_CHECKING:
    import pandas

# Arguments of `bags_from_arrays`; columns of these names get an underscore.
_ARGUMENTS = {
    "features",
    "labels",
    "songs",
    "shape",
    "origin",
    "windows",
    "order",
    "multilabel",
    "missing",
}


def bags_from_arrays(
    features: Any,
    labels: Sequence[Any] | None,
    songs: Sequence[Any],
    shape: Sequence[int] | None = None,
    origin: str = "the arrays",
    windows: Sequence[Any] | None = None,
    order: Any = None,
    multilabel: bool = False,
    missing: Missing = "refuse",
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
    missing : {"refuse", "impute"}
        What becomes of a value that is missing (NaN): an error that names its row, or the middle
        of the training windows' values, with a further value that says so (recipe ``windows``).
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
    values = window_values(features, shape, origin, missing)
    for name, column in {"songs": songs, "labels": labels, **columns}.items():
        if column is not None and len(column) != len(values):
            raise SongTableError(
                f"{origin}: {len(values)} windows but {len(column)} {name}; give one a window."
            )
    codes, ids = text_codes(songs)
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
        content = hashlib.blake2b(values[part].tobytes(), digest_size=16).hexdigest()
        bags.append(Bag(replace(song, content=content), values[part], windows=window_names))
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
    missing: Missing = "refuse",
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
    missing : {"refuse", "impute"}
        What becomes of a value that is missing (see `bags_from_arrays`).

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
        feature, remarks = default_features(others, ids, labels, origin)
        columns = read_columns(table, feature, origin)  # what is left out stays as it is written
    features = column_names(columns, feature, origin)
    if order is not None:
        try:
            places = numbers(columns[order], "")
        except SongTableError:  # a cell is no number: all are ordered as text
            places = np.array(texts(columns[order]))
    others = {
        name: values
        for name, values in columns.items()
        if name not in {song, label, order, *features} and np.ndim(values) == 1
    }
    for name in _ARGUMENTS & set(others):
        others[f"{name}_"] = others.pop(name)
    values = feature_matrix(columns, features, origin)
    dataset = bags_from_arrays(
        values, labels, ids, shape, origin, windows, places, multilabel, missing, **others
    )
    return replace(dataset, remarks=remarks, columns=tuple(features))


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


def _constant_by_song(
    column: Any, songs: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[list[str], int | None]:
    """Return the text in each song's first row, and the first row that differs from it."""
    codes, distinct = text_codes(column)
    different = np.flatnonzero(codes != codes[first][songs])
    if len(different):
        return [], int(different[0])
    return [distinct[code] if code >= 0 else "" for code in codes[first].tolist()], None


def _songs(
    ids: NDArray[np.object_], cells: dict[str, list[str]], origin: str, multilabel: bool
) -> list[Song]:
    """Return the songs with the cells of their columns, and "labels" as their label."""
    songs = []
    known = {name.strip().lower(): name for name in cells}
    group, split, fold = (
        next((known[name] for name in names if name in known), "")
        for names in (GROUPS, NAMES["split"], NAMES["fold"])
    )
    by_artist = group.lower() in ("", "artist")
    used = {split, group if by_artist else ""}
    rows = zip(*cells.values(), strict=True) if cells else ((),) * len(ids)
    for id_, row in zip(ids, rows, strict=True):
        fields = dict(zip(cells, row, strict=True))
        label = fields.pop("labels", "").strip()
        stated = {
            "split": fields.get(split, ""),
            "artist": fields.get(group, "") if by_artist else "",
        }
        try:
            said = user_fields(stated, label, multilabel)
        except SongTableError as error:
            raise SongTableError(f"{origin}: {error}.") from None
        songs.append(
            Song(
                id=str(id_),
                path="",
                extra={name: cell for name, cell in fields.items() if name not in used},
                group_by="artist" if by_artist else group,
                multilabel=multilabel,
                fold=fields.get(fold) or None,
                **said,
            )
        )
    return songs
