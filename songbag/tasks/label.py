"""Label the songs of a table, one decision at a time, each on the disk before the next."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from songbag.data.chosen_songs import DECISIONS
from songbag.data.columns import find_columns
from songbag.data.song import Song, join_labels, split_labels
from songbag.data.song_table import read_songs
from songbag.data.table_files import read_rows
from songbag.errors import SettingsError, SongTableError
from songbag.settings import Record
from songbag.storage.files import Row, flush_folder, write_csv
from songbag.storage.remote import is_url

Stamp = tuple[int, int, int]


class Decision(Record, frozen=True):
    """What was decided on a song: "labelled", "none" of the labels, "skipped", or ""."""

    decision: str
    labels: tuple[str, ...] = ()
    note: str = ""


@dataclass
class LabelTable:
    """A CSV file of songs that is labelled. All its columns, and the order of its rows, stay.

    The columns label (or labels), decision and note are added where the table has none.
    """

    path: Path
    songs: Sequence[Song]
    labels: tuple[str, ...]
    multilabel: bool
    _rows: list[Row]
    _columns: list[str]
    _label_column: str
    _stamp: Stamp
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path, labels: Sequence[str], multilabel: bool) -> "LabelTable":
        """Read a table; without ``labels`` they are those that stand in it, or that are predicted.

        Raises
        ------
        SettingsError
            It is no CSV file; there are fewer than two labels, or one that cannot be written.
        SongTableError
            It cannot be read, or has one label a song where several are wanted.
        """
        if path.suffix.lower() != ".csv":
            raise SettingsError(f"{path}: songbag label writes into a .csv file; give one.")
        stamp = _stamp_of(path)
        songs = read_songs(path, allow_outside=True).songs
        if any(is_url(song.path) for song in songs):
            raise SongTableError(f"{path}: songs to be labelled are files of this machine.")
        rows: list[Row] = [dict(row) for _, row in read_rows(path)]
        columns = [name for name in rows[0] if name]
        roles = find_columns(columns, {}, str(path))[0]
        several = multilabel or "labels" in roles
        if multilabel and "label" in roles:
            if any(song.label for song in songs):
                raise SongTableError(
                    f"{path}: its column {roles['label']} has one label a song. With --multilabel "
                    "the column is called labels; rename it."
                )
            columns.remove(roles.pop("label"))
        column = roles.get("labels" if several else "label", "labels" if several else "label")
        columns += [name for name in (column, "decision", "note") if name not in columns]
        known = {label for song in songs for label in split_labels(song.label or "")}
        known |= {label for row in rows for label in split_labels(row.get("predicted") or "")}
        names = tuple(dict.fromkeys(labels)) or tuple(sorted(known))
        _require_labels(path, names, {label for song in songs for label in song.labels})
        return cls(path, songs, names, several, rows, columns, column, stamp)

    def decision(self, number: int) -> Decision:
        """Return what stands in the table for a song."""
        row = self._rows[number]
        cell = (row.get(self._label_column) or "").strip()
        labels = split_labels(cell) if self.multilabel else tuple(filter(None, [cell]))
        decision = "labelled" if labels else (row.get("decision") or "").strip()
        return Decision(decision=decision, labels=labels, note=row.get("note") or "")

    def decide(self, number: int, decided: Decision) -> None:
        """Write a decision; it is on the disk when this returns.

        Raises
        ------
        SettingsError
            It fits neither the labels nor itself.
        SongTableError
            The file was changed by another program, or cannot be written. It is as it was.
        """
        self._require_fitting(decided)
        with self._lock:
            if _stamp_of(self.path) != self._stamp:
                raise SongTableError(
                    f"{self.path.name} was changed by another program. Start songbag label again: "
                    "all that was decided before stands in it."
                )
            row, before = self._rows[number], dict(self._rows[number])
            row |= {self._label_column: join_labels(decided.labels)}
            row |= {"decision": decided.decision, "note": decided.note}
            try:
                write_csv(self.path, self._rows, self._columns)
            except OSError as error:
                self._rows[number] = before
                raise SongTableError(f"{self.path}: {error.strerror or error}") from None
            flush_folder(self.path.parent)
            self._stamp = _stamp_of(self.path)

    def _require_fitting(self, decided: Decision) -> None:
        unknown = set(decided.labels) - set(self.labels)
        if unknown:
            raise SettingsError(f"'{min(unknown)}' is none of {', '.join(self.labels)}.")
        if decided.decision not in ("", *DECISIONS):
            raise SettingsError(f"'{decided.decision}' is no decision.")
        most = 0 if decided.decision != "labelled" else len(self.labels) if self.multilabel else 1
        if not min(1, most) <= len(decided.labels) <= most:
            raise SettingsError(
                f"{len(decided.labels)} labels do not fit the decision '{decided.decision}'."
            )


def _require_labels(path: Path, labels: Sequence[str], stated: set[str]) -> None:
    if len(labels) < 2:
        raise SettingsError(f"{path}: which labels are there? Say --labels rock,jazz,classical.")
    for label in labels:
        if not label.strip() or label != label.strip() or any(mark in label for mark in ";|"):
            raise SettingsError(f"'{label}' is no label: it is empty, or has spaces, ; or | in it.")
    missing = sorted(stated - set(labels))
    if missing:
        raise SettingsError(f"{path} has the labels {', '.join(missing)}: add them to --labels.")


def _stamp_of(path: Path) -> Stamp:
    try:
        about = os.stat(path)
    except OSError as error:
        raise SongTableError(f"{path}: {error.strerror or error}.") from None
    return about.st_ino, about.st_mtime_ns, about.st_size
