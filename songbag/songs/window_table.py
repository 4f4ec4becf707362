"""A table of window features becomes bags: the way in for features made elsewhere.

The founding table has a row a window: ``name, label, feature``, the name telling song and
window (``song_i_frame1``). The song's id is a column, or what a pattern finds in one.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from songbag.bags import Bag
from songbag.errors import SongTableError, suggestion
from songbag.songs.song_bags import SongBags
from songbag.songs.table import SIDES, Song

if TYPE_CHECKING:
    import pandas

Values = NDArray[np.float32]

_ROWS = 8192  # rows of a wide table turned at once


def bags_from_arrays(
    features: Any,
    labels: Sequence[Any] | None,
    songs: Sequence[Any],
    shape: Sequence[int] | None = None,
    origin: str = "the arrays",
    windows: Sequence[Any] | None = None,
    order: Any = None,
    **columns: Sequence[Any],
) -> SongBags:
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
    **columns
        More about the songs (``artist``, ``split``, ...), repeated for each window.

    Raises
    ------
    SongTableError
        Lengths differ, a value is not finite, a song has two labels; the row is named.
    """
    values = _finite(_shaped(np.asarray(features), shape, origin), origin)
    told = {"songs": songs, **({} if labels is None else {"labels": labels}), **columns}
    for name, column in told.items():
        if len(column) != len(values):
            raise SongTableError(
                f"{origin}: {len(values)} windows but {len(column)} {name}; give one a window."
            )
    codes, ids = _coded(songs)
    rows, first, counts = _by_song(codes, len(ids), order)
    known = _per_song(told, codes, first)
    if labels is not None:
        _refuse_two_labels(labels, codes, first, ids, origin)
    if rows is not None:
        values = values[rows]
    ends = np.cumsum(counts)
    names = None if windows is None else np.asarray(windows, dtype=object)
    if names is not None and rows is not None:
        names = names[rows]
    found = SongBags([], [], origin)
    for number, end in enumerate(ends):
        part = slice(int(end - counts[number]), int(end))
        about = {name: column[number] for name, column in known.items()}
        song = _song(str(ids[number]), about, origin)
        found.songs.append(song)
        window_names = () if names is None else tuple(map(str, names[part]))
        bag = Bag(song.id, values[part], None, song.label, song.group, windows=window_names)
        found.bags.append(bag)
    return found


def bags_from_table(
    table: "pandas.DataFrame | str | Path",
    song: str,
    label: str | None = None,
    feature: str | Sequence[str] = "feature",
    song_pattern: str | None = None,
    order: str | None = None,
    shape: Sequence[int] | None = None,
) -> SongBags:
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

    Raises
    ------
    SongTableError
        A column is missing, a name does not match, a value is not finite, shapes differ
        or a song has two labels; the row is named.
    """
    origin = "the DataFrame" if hasattr(table, "columns") else str(table)
    columns = _columns(table)
    for name in filter(None, (song, label, order)):
        _require(columns, name, origin)
    features = _feature_names(columns, feature, origin)
    ids, windows, numbers = _names(columns[song], song_pattern, origin)
    if order is not None:
        numbers = np.asarray(columns[order])
    told = {
        name: values
        for name, values in columns.items()
        if name not in {song, label, order, *features} and np.ndim(values) == 1
    }
    values = _matrix(columns, features, origin)
    labels = None if label is None else columns[label]
    return bags_from_arrays(values, labels, ids, shape, origin, windows, numbers, **_safe(told))


def column(table: "pandas.DataFrame | str | Path", name: str) -> Any:
    """Return one column of a table of windows."""
    columns = _columns(table)
    _require(columns, name, str(table))
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


# --- columns ----------------------------------------------------------------------------


def _columns(table: Any) -> dict[str, Any]:
    """Return a table as a dict of columns, in its own order."""
    if not hasattr(table, "columns"):
        path = Path(table)
        if not path.is_file():
            raise SongTableError(f"{path}: there is no such table.")
        if path.suffix.lower() == ".npz":
            return _npz(path)
        table = _read(path)
    return {str(name): table[name] for name in table.columns}


def _read(path: Path) -> "pandas.DataFrame":
    import pandas

    if path.suffix.lower() == ".parquet":
        return pandas.read_parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        try:
            return pandas.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
        except (UnicodeDecodeError, pandas.errors.ParserError, pandas.errors.EmptyDataError) as e:
            raise SongTableError(f"{path}: cannot be read as UTF-8 CSV: {e}") from None
    raise SongTableError(
        f"{path}: a table of windows is a .csv, .tsv, .parquet or .npz file, not '{path.suffix}'."
    )


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError) as error:
        raise SongTableError(f"{path}: not an .npz file of plain arrays: {error}") from None


def _require(columns: dict[str, Any], name: str, origin: str) -> None:
    if name not in columns:
        raise SongTableError(f"{origin}: there is no column '{name}'.{suggestion(name, columns)}")


def _feature_names(columns: dict[str, Any], feature: str | Sequence[str], origin: str) -> list[str]:
    wanted = [feature] if isinstance(feature, str) else list(feature)
    names: list[str] = []
    for one in wanted:
        if one in columns:
            names.append(one)
            continue
        matching = [name for name in columns if fnmatchcase(name, one)]
        if not matching:
            _require(columns, one, origin)
        names += matching
    return names


def _names(
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


def _matrix(columns: dict[str, Any], names: list[str], origin: str) -> Values:
    """Return the features (rows, ...) of one column of arrays or many of numbers."""
    if len(names) == 1:
        only = columns[names[0]]
        if np.ndim(only) > 1:
            return np.asarray(only, dtype=np.float32)
        if len(only) and np.ndim(np.asarray(only, dtype=object)[0]) > 0:
            return _stacked(np.asarray(only, dtype=object), names[0], origin)
    values = np.empty((len(columns[names[0]]), len(names)), dtype=np.float32)
    numbers = [_numbers(columns[name], name, origin) for name in names]
    for start in range(0, len(values), _ROWS):  # rows that stay in the processor's cache
        for index, column in enumerate(numbers):
            values[start : start + _ROWS, index] = column[start : start + _ROWS]
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


def _shaped(values: NDArray[Any], shape: Sequence[int] | None, origin: str) -> Values:
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


def _finite(values: Values, origin: str) -> Values:
    flat = values.reshape(len(values), -1)
    sums = flat.sum(axis=1, dtype=np.float64)  # one pass; only a bad row costs a second
    if not np.isfinite(sums).all():
        row = int(np.flatnonzero(~np.isfinite(flat).all(axis=1))[0])
        column = int(np.flatnonzero(~np.isfinite(flat[row]))[0])
        raise SongTableError(
            f"{origin}, row {row + 1}: value {column} of the window is {flat[row, column]}. "
            "Drop the row or repair it."
        )
    return values


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
    told: dict[str, Any], codes: NDArray[np.int64], first: NDArray[np.int64]
) -> dict[str, list[str]]:
    """Keep the columns that say one thing about each song; return their values by song."""
    known: dict[str, list[str]] = {}
    for name, column in told.items():
        if name == "songs":
            continue
        inner, values = _coded(column)
        if (inner == inner[first][codes]).all() or name == "labels":
            distinct = ["" if value != value else str(value) for value in values]
            known[name] = [distinct[code] if code >= 0 else "" for code in inner[first]]
    return known


def _refuse_two_labels(
    labels: Any,
    codes: NDArray[np.int64],
    first: NDArray[np.int64],
    ids: NDArray[np.object_],
    origin: str,
) -> None:
    inner, distinct = _coded(labels)
    wrong = np.flatnonzero(inner != inner[first][codes])
    if len(wrong):
        row = int(wrong[0])
        here = distinct[inner[row]] if inner[row] >= 0 else ""
        before = int(first[codes[row]])
        raise SongTableError(
            f"{origin}, row {row + 1}: song '{ids[codes[row]]}' is labelled '{here}' here and "
            f"'{distinct[inner[before]]}' in row {before + 1}. A song has one label."
        )


def _song(song_id: str, texts: dict[str, str], origin: str) -> Song:
    split = texts.pop("split", "").lower()
    if split and split not in SIDES:
        raise SongTableError(
            f"{origin}: song '{song_id}' has the split '{split}'; it must be train, validation "
            "or test."
        )
    label = texts.pop("labels", "")
    artist = texts.pop("artist", "")
    return Song(
        id=song_id,
        path="",
        label=label or None,
        artist=artist or None,
        split=SIDES[split] if split else None,
        extra=texts,
    )


def _safe(told: dict[str, Any]) -> dict[str, Any]:
    """Rename columns that would collide with the arguments of `bags_from_arrays`."""
    taken = {"features", "labels", "songs", "shape", "origin", "windows", "order"}
    return {f"{name}_" if name in taken else name: column for name, column in told.items()}
