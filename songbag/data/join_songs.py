"""Songs of several inputs as one list: a song that stands in two tables is one song."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from songbag.data.song import Song
from songbag.errors import SongTableError
from songbag.storage.remote import is_url


def join_songs(tables: Sequence[tuple[str, Sequence[Song]]]) -> tuple[list[Song], list[str]]:
    """Return the songs of inputs (origin, songs), and remarks.

    Ids of files in folders are their paths. Rows of two tables about one part of one file must
    agree; where they have one id too, they are one song, with what either says of it.

    Raises
    ------
    SongTableError
        Two tables contradict each other on a song, or have one id for two songs.
    """
    joined: dict[str, Song] = {}
    rows: dict[tuple[str, float, float | None], _Row] = {}  # of tables, by what they are of
    again = 0
    for origin, songs in tables:
        for song in songs:
            if song.line is None:  # a file named twice is one song; what a table says is meant
                name = song.path if is_url(song.path) else Path(song.path).as_posix()
                if name not in joined or joined[name].line is None:
                    joined[name] = replace(song, id=name)
                continue
            row, part = _Row(origin, song), (os.path.realpath(song.path), song.start, song.end)
            earlier, other = rows.setdefault(part, row), joined.get(song.id, song)
            if earlier.origin != origin:
                again += 1
                merged = _merged(earlier, row)
                rows[part] = earlier._replace(song=merged)
                song = merged if merged.id == song.id else song
            elif other != song and (other.line is not None or other.path != song.path):
                raise SongTableError(f"{row.place}: id '{song.id}' is taken.")
            joined[song.id] = song
    return list(joined.values()), [f"{again} songs stand in two tables"] if again else []


class _Row(NamedTuple):
    """A song of a table."""

    origin: str
    song: Song

    @property
    def place(self) -> str:
        return f"{self.origin}, line {self.song.line}"


def _merged(one: _Row, other: _Row) -> Song:
    """Return what two rows say of one song, or refuse them where they contradict each other."""
    said = {}
    for name in ("label", "artist", "split", "fold"):
        first, second = getattr(one.song, name), getattr(other.song, name)
        if first and second and first != second:
            raise SongTableError(
                f"{other.place}: {name} of '{other.song.id}' is '{second}', and '{first}' in "
                f"{one.place}. Correct one of them."
            )
        said[name] = first or second
    extra = {**other.song.extra, **one.song.extra}
    if one.song.chosen_by_model or other.song.chosen_by_model:
        extra["chosen"] = "model"
    return replace(one.song, extra=extra, **said)
