"""Where the sound behind a folder's answers lies: audio.csv, for reports that can be heard.

One row a song that comes from a file; songs of a table of windows have none. A file that
lies beside the folder or below is named relative to it, so both can be moved together;
any other by its whole path.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from songbag.audio.source import Source
from songbag.settings import Excerpt
from songbag.storage.csv_files import Row, read_csv, write_csv

COLUMNS = ["id", "path", "start", "end", "excerpt_seconds", "excerpt_place"]
FILE = "audio.csv"


def write_recordings(folder: Path, sources: Mapping[str, Source]) -> None:
    """Write audio.csv from song ids and what is heard of each, unless no song has a file."""
    here = folder.resolve()
    rows = [_row(song, source, here) for song, source in sources.items() if source.path]
    if rows:
        write_csv(folder / FILE, rows, COLUMNS)


def read_recordings(folder: Path) -> dict[str, Source]:
    """Return the sources of a folder's songs by id, paths whole; empty without audio.csv."""
    if not (folder / FILE).exists():
        return {}
    return {row["id"]: _source(row, folder) for row in read_csv(folder / FILE)}


def _row(song: str, source: Source, here: Path) -> Row:
    path = Path(source.path).resolve()
    near = path.is_relative_to(here.parent)
    return {
        "id": song,
        "path": Path(os.path.relpath(path, here)).as_posix() if near else str(path),
        "start": source.start,
        "end": source.end,
        "excerpt_seconds": source.excerpt.seconds,
        "excerpt_place": source.excerpt.place,
    }


def _source(row: dict[str, str], folder: Path) -> Source:
    seconds = float(row["excerpt_seconds"]) if row["excerpt_seconds"] else None
    middle = row["excerpt_place"] == "middle"
    return Source(
        path=os.path.normpath(folder.resolve() / row["path"]),
        start=float(row["start"] or 0),
        end=float(row["end"]) if row["end"] else None,
        excerpt=Excerpt(seconds=seconds, place="middle" if middle else "first"),
    )
