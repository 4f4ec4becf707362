"""Rename and merge labels, as a small table says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from songbag.data.song import Song, join_labels
from songbag.data.table_files import read_rows
from songbag.errors import SongTableError, suggestion

_SHOWN = 8  # labels in a remark


def relabelled(songs: Sequence[Song], table: Path) -> tuple[list[Song], list[str]]:
    """Return songs with the labels that a table gives theirs, and remarks on that.

    The table has two columns, a label and the one that it becomes; labels that it does not name
    stay.

    Raises
    ------
    SongTableError
        It has not two columns, a cell is empty, a label becomes two others, or no song has any
        of its labels.
    """
    becomes: dict[str, str] = {}
    known = {label for song in songs for label in song.labels}
    for line, row in read_rows(table):
        cells = [(cell or "").strip() for cell in row.values()]
        if len(cells) != 2 or not all(cells):
            raise SongTableError(
                f"{table}, line {line}: {len(cells)} cells, {sum(map(bool, cells))} of them "
                "filled; needed are two, a label and the one it becomes."
            )
        old, new = cells
        if becomes.setdefault(old, new) != new:
            raise SongTableError(
                f"{table}, line {line}: label '{old}' becomes '{new}', and '{becomes[old]}' in a "
                "line before. Keep one of them."
            )
    unused, stay = sorted(becomes.keys() - known), sorted(known - becomes.keys())
    if not becomes.keys() & known:
        which = f", such as '{unused[0]}'" if unused else ": it has no rows"
        raise SongTableError(
            f"{table}: no song has any of its labels{which}. Labels of the songs are "
            f"{_named(sorted(known))}."
        )
    remarks = []
    if stay:
        remarks.append(f"labels that {table.name} does not name stay: {_named(stay)}")
    if unused:
        hint = suggestion(unused[0], known)
        remarks.append(f"labels of {table.name} that no song has: {_named(unused)}.{hint}")
    songs = [
        replace(song, label=join_labels({becomes.get(label, label) for label in song.labels}))
        if song.label
        else song
        for song in songs
    ]
    return songs, remarks


def _named(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:_SHOWN])}{', ...' if len(labels) > _SHOWN else ''}"
