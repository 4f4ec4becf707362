"""The journal of a collection: a line on the disk before each change, by which it is undone."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec

from songbag.errors import SettingsError
from songbag.settings import Record
from songbag.storage.files import (
    add_checksum,
    append_line,
    open_journal,
    read_journal,
    strip_checksum,
    write_bytes,
)

JOURNAL = "songbag.journal"
_LONGEST_LINE = 1 << 20


class Entry(Record, frozen=True):
    """One change: a file that goes to ``target``, a folder that is made, or a field of tags.

    ``path`` is absolute, ``target`` relative to the journal's folder, so that folder may move.
    """

    do: Literal["folder", "move", "copy", "link", "tag"]
    path: str = ""
    target: str = ""
    content: str = ""  # hash of a file that is copied
    field: str = ""
    old: tuple[str, ...] = ()  # values of the field, as they are stored
    new: tuple[str, ...] = ()


@dataclass(frozen=True)
class Journal:
    """An open journal, with the entries that were there."""

    path: Path
    entries: list[Entry]
    file: FileIO

    def append(self, entry: Entry) -> None:
        """Add a line, and wait until the disk has it."""
        append_line(self.file, entry)
        os.fsync(self.file.fileno())

    def replace(self, entries: list[Entry]) -> None:
        """Write the journal anew with other entries; without entries it is removed."""
        if entries:
            write_bytes(self.path, b"".join(add_checksum(entry) + b"\n" for entry in entries))
        else:
            self.path.unlink()


@contextmanager
def open_collection(path: Path) -> Iterator[Journal]:
    """Open a journal for one process.

    Raises
    ------
    SettingsError
        Another process has it open, or it is another file, or of another version.
    """
    _refuse_other_files(path)
    with closing(open_journal(path)) as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SettingsError(f"{path}: another songbag is at work there; wait.") from None
        try:
            entries = msgspec.convert(read_journal(path), list[Entry])
        except msgspec.ValidationError as error:
            raise SettingsError(f"{path}: not a journal of this version ({error}).") from None
        try:
            yield Journal(path, entries, file)
        finally:
            if not os.fstat(file.fileno()).st_size:  # nothing was changed
                path.unlink(missing_ok=True)


def _refuse_other_files(path: Path) -> None:
    """Refuse a file that does not begin as a journal: it would be appended to, and removed."""
    try:
        with open(path, "rb") as file:
            line = file.readline(_LONGEST_LINE)
    except FileNotFoundError:
        return
    if line and not strip_checksum(line.rstrip(b"\n")):
        raise SettingsError(f"{path}: the file is not a journal of songbag; it is left as it is.")
