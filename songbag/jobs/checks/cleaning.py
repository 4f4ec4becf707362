"""A table without what is known to be wrong; audio files are never touched."""

import os
from pathlib import Path

from songbag.answers.tables import Row, write_csv
from songbag.errors import SettingsError
from songbag.jobs.checks.survey import Survey
from songbag.songs.rows import table_rows
from songbag.songs.table import TABLES, Song, SongTable

_COLUMNS = ["id", "path", "label", "artist", "split", "start", "end"]


def write_cleaned(table: SongTable, survey: Survey, output: Path) -> list[str]:
    """Write the songs worth keeping, and return a line for each that is not.

    Every column of the table and the order of its rows stay. Only where the new table lies
    in another folder its paths are rewritten, and ids that came from them are written down.

    Raises
    ------
    SettingsError
        ``output`` is the table itself, or not named .csv.
    """
    if output.suffix.lower() != ".csv":
        raise SettingsError(f"--fix {output}: the cleaned table is a .csv file; name it so.")
    if output.resolve() == Path(table.origin).resolve():
        raise SettingsError(f"--fix {output}: that is the table itself; choose another name.")
    rows, columns = _rows(table, output)
    kept = [row for song, row in zip(table.songs, rows) if song.id not in survey.dropped]
    write_csv(output, kept, columns)
    lines = [f"dropped: {name}: {reason}" for name, reason in survey.dropped.items()]
    lines.append(f"{output}: {len(kept)} of {len(table.songs)} songs")
    if any(_seen_from(output.parent, song).startswith("..") for song in table.songs):
        lines.append("its songs lie outside its folder: train on it with --allow-outside")
    return lines


def _rows(table: SongTable, output: Path) -> tuple[list[Row], list[str]]:
    origin = Path(table.origin)
    if origin.suffix.lower() not in TABLES or not origin.is_file():
        rows = [_made_row(song, output.parent) for song in table.songs]
        return rows, _filled_columns(rows)
    rows = [dict(row) for _, row in table_rows(origin)]
    columns = [name for name in rows[0] if name]
    if origin.parent.resolve() == output.parent.resolve():
        return rows, columns
    for song, row in zip(table.songs, rows, strict=True):
        name = next(column for column in columns if column.strip() == "path")
        row[name] = _seen_from(output.parent, song)
        row["id"] = song.id
    return rows, columns if "id" in columns else [*columns, "id"]


def _made_row(song: Song, folder: Path) -> Row:
    known = {name: getattr(song, name) for name in _COLUMNS}
    known |= {"path": _seen_from(folder, song), "start": song.start or None}
    return known | song.extra


def _filled_columns(rows: list[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) not in (None, "") for row in rows)]


def _seen_from(folder: Path, song: Song) -> str:
    return Path(os.path.relpath(song.path, folder)).as_posix()
