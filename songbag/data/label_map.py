"""Rename and merge labels, as a small table says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from songbag.data.song import Song, join_labels
from songbag.data.table_files import read_rows
from songbag.errors import SongTableError, suggestion


def relabelled(songs: Sequence[Song], table: Path) -> list[Song]:
    """Return songs with the labels that a table gives theirs.

    The table has two columns, a label and the one that it becomes; labels that it does not name
    stay.

    Raises
    ------
    SongTableError
        It has not two columns, names a label twice or one that no song has, or a cell is empty.
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
        if old in becomes:
            raise SongTableError(f"{table}, line {line}: label '{old}' stands there twice.")
        if old not in known:
            raise SongTableError(
                f"{table}, line {line}: no song has the label '{old}'.{suggestion(old, known)}"
            )
        becomes[old] = new
    return [
        replace(song, label=join_labels({becomes.get(label, label) for label in song.labels}))
        if song.label
        else song
        for song in songs
    ]
