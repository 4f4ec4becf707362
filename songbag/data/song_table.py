"""Read lists of songs: folders, table files, DataFrames, and lists of these.

A table has the columns ``path`` and (for training) ``label``, or ``labels`` for songs with
several labels. It may have ``id``, ``artist``, ``split``, ``fold``, ``start`` and ``end``; other
names for them are known (`songbag.data.columns`). All other columns are copied into the results.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from songbag.audio.extract import stated_seconds
from songbag.data.annotations import SpanOptions, with_spans
from songbag.data.columns import OPTIONS, SIDES, find_columns
from songbag.data.file_labels import labelled_by_name, labelled_by_tags
from songbag.data.find_file import find_file
from songbag.data.folders import read_folder
from songbag.data.join_songs import join_songs
from songbag.data.song import Song, join_labels, part_name, split_labels
from songbag.data.table_files import TABLES, read_rows
from songbag.errors import AudioError, SettingsError, SongTableError, suggestion
from songbag.settings import Limits
from songbag.storage.remote import (
    AnyPath,
    is_url,
    local_file,
    parse_path,
    require_store_url,
)

if TYPE_CHECKING:
    import pandas

METADATA = ("metadata.csv", "metadata.jsonl")  # beside the files, as `datasets` reads it
PLAYLISTS = (".m3u", ".m3u8", ".pls")
_SHOWN = 8  # problems listed in one error
_CHOSEN = (*OPTIONS, "layout", "label_pattern", "label_field", "group_field")


@dataclass(frozen=True)
class SongTable:
    """Songs with unique ids."""

    songs: Sequence[Song]
    origin: str  # the path, for messages
    remarks: list[str] = field(default_factory=list)  # such as files that are left out
    layout: str = ""  # what folders were taken for (`songbag.data.folders.layout_tree`)


def read_songs(
    origin: "str | AnyPath | pandas.DataFrame | Sequence[str | AnyPath]",
    allow_outside: bool = False,
    remote: bool = False,
    columns: Mapping[str, str] | None = None,
    spans: SpanOptions | None = None,
) -> SongTable:
    """Read songs from a folder, a table file, a DataFrame, or a list of any paths.

    Parameters
    ----------
    origin
        A folder (labels are the names of its subfolders), a .csv, .tsv or .parquet file
        or a DataFrame with a ``path`` column, one audio file, or a list of these; each
        may lie in an object store, named by its URL.
    allow_outside : bool
        Let a table name files outside its own folder.
    remote : bool
        Let a table name URLs of object stores.
    columns : mapping, optional
        Names of columns by what they are (path, label, id, fold), where they are not found by
        their usual names (see `songbag.data.columns.find_columns`); also ``layout`` of folders,
        ``label_pattern`` of file names, ``label_field`` and ``group_field`` of tags.
    spans : SpanOptions, optional
        Take labelled spans of the recordings instead of the whole, where there are label files.

    Raises
    ------
    SongTableError
        All problems of the table, with their lines.
    """
    chosen = columns or {}
    for name in chosen:
        if name not in _CHOSEN:
            raise SettingsError(f"columns: unknown '{name}'.{suggestion(name, _CHOSEN)}")
    if isinstance(origin, str | AnyPath):
        table = _read_path(origin, allow_outside, remote, chosen)
    elif hasattr(origin, "columns"):
        rows = read_rows(cast("pandas.DataFrame", origin))
        rules = _PathRules(Path("."), outside=True, remote=remote)
        table = _songs_of_rows(rows, "the DataFrame", rules, chosen)
    else:
        tables = [_read_path(path, allow_outside, remote, chosen) for path in origin]
        songs, remarks = join_songs([(each.origin, each.songs) for each in tables])
        remarks = [*(text for each in tables for text in each.remarks), *remarks]
        table = SongTable(songs, ", ".join(each.origin for each in tables), remarks)
    table = _labelled_by_files(table, chosen)
    if spans is not None:
        place = Path(origin) if isinstance(origin, str | Path) else None
        if place is not None and not is_url(str(origin)) and not place.exists():
            raise SongTableError(f"{origin}: there is no such file or folder.")
        folder = place if place is not None and place.is_dir() else None
        songs, remarks = with_spans(table.songs, spans, folder, _seconds_of)
        said = [table.layout] if table.layout and len(songs) == len(table.songs) else []
        table = replace(table, songs=songs, remarks=[*said, *table.remarks, *remarks])
    return _with_remarks(table)


def _labelled_by_files(table: SongTable, chosen: Mapping[str, str]) -> SongTable:
    """Return the songs with labels from the names or tags of their files, where that is wanted."""
    songs, remarks, fields = table.songs, list(table.remarks), ("label_field", "group_field")
    if pattern := chosen.get("label_pattern"):
        songs, said = labelled_by_name(songs, pattern)
        remarks += said
    label, group = (chosen.get(name) for name in fields)
    if label or group:
        songs, said = labelled_by_tags(songs, label, group)
        remarks += said
    layout = "" if pattern or label else table.layout
    return replace(table, songs=songs, remarks=remarks, layout=layout)


def _seconds_of(song: Song) -> float:
    """Return the length of a recording, infinite where it is not known."""
    try:
        return math.inf if is_url(song.path) else stated_seconds(song.path, Limits.of_hours(24.0))
    except AudioError:
        return math.inf  # it will be reported when it is read


def _read_path(
    origin: str | AnyPath, allow_outside: bool, remote: bool, chosen: Mapping[str, str]
) -> SongTable:
    path = parse_path(origin) if isinstance(origin, str) else origin
    if path.is_dir():
        for name in METADATA:
            if isinstance(path, Path) and (path / name).is_file():
                table = _read_path(path / name, allow_outside, remote, chosen)
                return replace(table, remarks=[f"songs are those of {name}", *table.remarks])
        elsewhere = bool(chosen.get("label_pattern") or chosen.get("label_field"))
        songs, remarks, layout = read_folder(path, chosen.get("layout"), elsewhere)
        return SongTable(songs, str(path), remarks, layout)
    if path.suffix.lower() in TABLES:
        if not path.exists():
            raise SongTableError(f"{path}: there is no such table.")
        rules = _PathRules(path.parent, allow_outside, remote)
        with local_file(path) as file:
            return _songs_of_rows(read_rows(file, str(path)), str(path), rules, chosen)
    if isinstance(path, Path) and path.suffix.lower() in PLAYLISTS and path.is_file():
        return _read_playlist(path)
    return SongTable([Song(id=path.as_posix(), path=str(path))], str(path))


def _read_playlist(path: Path) -> SongTable:
    """Return the files that an .m3u, .m3u8 or .pls playlist names, in its order, each once."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # what old players write
    if path.suffix.lower() == ".pls":
        lines = re.findall(r"^File\d+=(.*)$", text, re.MULTILINE | re.IGNORECASE)
    else:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    rules = _PathRules(path.parent, outside=True, remote=False)
    songs = [Song(id=Path(name).as_posix(), path=rules.resolve(name)) for name in names]
    if not songs:
        raise SongTableError(f"{path}: the playlist names no files.")
    remarks = [f"{count} files were found {how}" for how, count in rules.spelled.items()]
    return SongTable(songs, str(path), remarks)


@dataclass(frozen=True)
class _PathRules:
    """Which files a table may name."""

    root: AnyPath  # the table's folder, to which its paths are relative
    outside: bool  # whether files outside the folder are allowed
    remote: bool  # whether URLs of object stores are allowed
    spelled: Counter[str] = field(default_factory=Counter)  # files by how else they are spelled

    def resolve(self, path: str) -> str:
        """Return the file or URL that a path in the table names."""
        if not path.strip():
            raise SongTableError("the path is empty")
        local_url = path.startswith("file://") and self.outside
        if "\0" in path or ("://" in path and not (self.remote or local_url)):
            raise SongTableError(f"{path!r} is not a path of a file; URLs are not read (--remote)")
        if "://" in path and not local_url:
            require_store_url(path.strip())
            return path.strip()
        if not isinstance(self.root, Path):
            path = path.strip()
            if path.startswith("/") or ".." in path.split("/"):
                raise SongTableError(
                    f"{path!r} lies outside the table's folder; give its URL, --remote"
                )
            return str(self.root / path)
        file, how = find_file(self.root, path)
        if how:
            self.spelled[how] += 1
        try:
            # Not Path.resolve: links in a circle are an error to some versions of Python only.
            real = Path(os.path.realpath(file))
            inside = self.outside or real.is_relative_to(os.path.realpath(self.root))
        except (OSError, ValueError) as error:  # names that Windows does not take
            raise SongTableError(f"'{str(file)[:200]}' cannot be looked up: {error}") from None
        if not inside:
            raise SongTableError(
                f"'{file}' lies outside the table's folder; allow that with --allow-outside"
            )
        return str(file)


def _songs_of_rows(
    rows: Iterable[tuple[int, dict[str, Any]]],
    origin: str,
    rules: _PathRules,
    chosen: Mapping[str, str],
) -> SongTable:
    songs: list[Song] = []
    problems: list[str] = []
    lines: dict[str, int] = {}
    roles: dict[str, str] = {}
    remarks: list[str] = []
    for line, row in rows:
        if not roles:
            roles, remarks = find_columns([name for name in row if name], chosen, origin)
        cells = {name: (cell or "").strip() for name, cell in row.items() if name}
        try:
            path = row[roles["path"]] or ""  # as it is: a name may begin with a space
            song = _make_song(line, cells | {roles["path"]: path}, rules, roles)
        except (SongTableError, SettingsError) as error:
            problems.append(f"line {line}: {error}")
            continue
        if "id" in roles and song.id == (row[roles["id"]] or "").strip():
            song = replace(song, id=str(row[roles["id"]]))  # with its spaces, as all ids
        if song.id in lines:
            problems.append(f"line {line}: id '{song.id}' already stands in line {lines[song.id]}")
        lines.setdefault(song.id, line)
        songs.append(song)
    raise_problems(origin, problems)
    if not songs:
        raise SongTableError(f"{origin}: the table holds no songs.")
    remarks += [f"{count} files were found {how}" for how, count in rules.spelled.items()]
    joined = [song.label for song in songs if song.label and re.search("[;|]", song.label)]
    if joined and not songs[0].multilabel:
        remarks.append(
            f"labels such as '{joined[0]}' are taken as one label each; for several labels a song "
            "call the column labels"
        )
    return SongTable(songs, origin, remarks)


def _make_song(
    line: int, cells: Mapping[str, str], rules: _PathRules, roles: Mapping[str, str]
) -> Song:
    known = {role: cells.get(column, "") for role, column in roles.items()}
    path = known["path"].strip()
    start = _seconds(known.get("start", ""), "start") or 0.0
    end = _seconds(known.get("end", ""), "end")
    if end is not None and end <= start:
        raise SongTableError(f"end {end:g} s does not lie after start {start:g} s")
    multilabel = "labels" in known and "label" not in known
    group = roles.get("group", "artist").strip()
    by_artist = group.lower() == "artist"
    # Which group and fold a song is of is copied into the results like any other column.
    used = {column for role, column in roles.items() if role != "fold"}
    used -= set() if by_artist else {roles["group"]}
    asked = {role: known[role] for role in ("chosen", "decision") if role in roles}
    fields = {
        "split": known.get("split", ""),
        "artist": known.get("group", "") if by_artist else "",
    }
    return Song(
        id=known.get("id")
        or (path if is_url(path) else Path(path).as_posix()) + part_name(start, end),
        path=rules.resolve(known["path"]),
        start=start,
        end=end,
        line=line,
        extra={name.strip(): cell for name, cell in cells.items() if name not in used} | asked,
        group_by="artist" if by_artist else group,
        multilabel=multilabel,
        fold=known.get("fold") or None,
        **user_fields(fields, known.get("labels" if multilabel else "label", ""), multilabel),
    )


def user_fields(cells: Mapping[str, str], label: str, multilabel: bool) -> dict[str, Any]:
    """Return the label, artist and split of a `Song` as a user's table states them."""
    split = cells.get("split", "")
    if split and split.lower() not in SIDES:
        raise SongTableError(f"split is '{split}'; it must be train, validation or test")
    return {
        "label": join_labels(split_labels(label)) if multilabel else label or None,
        "artist": cells.get("artist") or None,
        "split": SIDES.get(split.lower()),
    }


def _seconds(text: str, column: str) -> float | None:
    if not text:
        return None
    value = _number(text)
    if value is None or not 0 <= value < math.inf:
        raise SongTableError(f"{column} is '{text}'; it must be seconds, 0 or more")
    return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _with_remarks(table: SongTable) -> SongTable:
    """Replace bytes in names that are not UTF-8, and count cells that look like formulas."""
    songs, remarks, foreign = list(table.songs), list(table.remarks), 0
    for place, song in enumerate(songs):
        id_, path = _as_text(song.id), _as_text(song.path)
        if (id_, path) != (song.id, song.path):
            songs[place] = replace(song, id=id_, path=path)
            foreign += 1
    if foreign:
        remarks.append(f"{foreign} file names are not UTF-8: rename the files to have them read")
    cells = (cell for s in songs for cell in (s.id, s.label, s.artist, *s.extra.values()))
    formulas = (cell for cell in cells if cell and cell[0] in "=+-@\t\r" and _number(cell) is None)
    if count := sum(1 for _ in formulas):
        remarks.append(
            f"{count} cells begin with one of = + - @: a spreadsheet would compute them. They "
            "come out as they went in; import the results as text"
        )
    return replace(table, songs=songs, remarks=remarks)


def _as_text(name: str) -> str:
    """Return a name with the bytes that are not UTF-8 written in hexadecimal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def require_labels(songs: Sequence[Song], origin: str) -> None:
    """Refuse songs that cannot be trained on: without a label, or the only one of a label."""
    if not any(song.label or song.multilabel for song in songs):
        raise SongTableError(
            f"{origin}: no song has a label. Put songs into a folder for each label, or say where "
            "labels are: a table with a column of them (--label), names of files "
            "(--label-pattern), tags (--label-field), label files (--annotations)."
        )
    unknown = (song for song in songs if not song.label and not song.multilabel)
    problems = [f"{where(song)}song '{song.id}' has no label" for song in unknown]
    counts = Counter(label for song in songs for label in song.labels)
    for song in songs:
        problems += [
            f"{where(song)}label '{label}' has a single song, '{song.id}': it cannot "
            "be both learned and tested. Add songs, or leave the label out"
            for label in song.labels
            if counts[label] == 1
        ]
    if any(song.multilabel for song in songs):
        problems += [
            f"label '{label}' is on every song: nothing to tell apart"
            for label, count in counts.items()
            if count == len(songs)
        ]
    if len(counts) < 2 and not problems:
        only = f"every song is labelled '{next(iter(counts))}'" if counts else "no label"
        problems.append(
            f"{only}: nothing to tell apart. Give songs of two labels or more, in a folder each "
            "or with a column label"
        )
    raise_problems(origin, problems)


def require_files(songs: Sequence[Song], origin: str) -> None:
    """Refuse songs whose files do not exist; URLs are not looked up."""
    missing = [
        f"{where(song)}no file '{song.path}'"
        for song in songs
        if not is_url(song.path) and not os.path.isfile(song.path)
    ]
    raise_problems(origin, missing)


def where(song: Song) -> str:
    """Return how a problem of a song begins: with its line in the table."""
    return "" if song.line is None else f"line {song.line}: "


def raise_problems(origin: str, problems: Sequence[str]) -> None:
    """Raise one error with the first problems of a table, if there are any."""
    if not problems:
        return
    shown = "\n".join(f"  {problem}." for problem in problems[:_SHOWN])
    more = len(problems) - _SHOWN
    rest = f"\n  and {more} more." if more > 0 else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise SongTableError(f"{origin}: {count}\n{shown}{rest}")
