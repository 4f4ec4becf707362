"""Undo what a journal lists, the last change first; what the user changed since stays.

Every entry is undone by what is on the disk, so an undo that was stopped is started again.
"""

import os
from contextlib import suppress
from pathlib import Path

from songbag.audio.cache import carry_receipts, file_stamp
from songbag.audio.tags import read_field, write_field
from songbag.collection.journal import JOURNAL, Entry, open_collection
from songbag.collection.sort_files import move_new
from songbag.errors import SettingsError, TagError
from songbag.storage.files import content_hash, default_folder, temporary_prefix


def undo(place: Path) -> tuple[int, list[str]]:
    """Undo all changes of a journal, or of the journal in a folder.

    Returns
    -------
    restored : int
        Changes that were undone.
    problems : list of str
        Those that were not, and why; they stay in the journal. Without any it is removed.

    Raises
    ------
    SettingsError
        There is no such journal.
    """
    path = place / JOURNAL if place.is_dir() else place
    if not path.is_file():
        raise SettingsError(
            f"{path}: there is no journal. Give the folder of songbag sort --into, or the journal "
            "that songbag predict --write-field named."
        )
    restored, left, problems = 0, list[Entry](), list[str]()
    with open_collection(path) as journal:
        folder = path.parent
        for entry in reversed(journal.entries):
            try:
                restored += _undo(entry, folder / entry.target)
            except (OSError, TagError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                name = "" if isinstance(error, TagError) else f"{entry.target or entry.path}: "
                problems.append(name + reason)
                left.append(entry)
        folders = [entry for entry in journal.entries if entry.do == "folder"]
        for entry in folders:
            with suppress(OSError):  # files of the user are in it
                if entry.target:
                    (folder / entry.target).rmdir()
        journal.replace([*folders, *reversed(left)] if left else [])
    if not left and any(not entry.target for entry in folders):  # the journal's own folder
        with suppress(OSError):  # files of the user are in it
            folder.rmdir()
    return restored, problems


def _undo(entry: Entry, target: Path) -> bool:
    """Undo one change; return whether there was anything to undo."""
    if entry.do == "folder":
        return False
    if entry.do == "tag":
        return _undo_tag(entry)
    with suppress(OSError):  # what a killed process left of a copy
        for file in target.parent.iterdir():
            if file.name.startswith(temporary_prefix(target.name)) and file.suffix == ".tmp":
                file.unlink()
    if entry.do == "move":
        return _undo_move(entry.path, target)
    if not os.path.lexists(target):
        return False
    if entry.do == "link" and target.is_symlink():
        if os.readlink(target) != entry.path:
            raise OSError("it is another link now; it stays")
    elif entry.do == "link":
        if not os.path.exists(entry.path) or not os.path.samefile(entry.path, target):
            raise OSError(f"{entry.path} is not the same file any more; the link stays")
    elif content_hash(target) != entry.content:
        raise OSError("it was changed since; it stays")
    elif not os.path.isfile(entry.path) or content_hash(entry.path) != entry.content:
        raise OSError(f"its original {entry.path} is gone or changed; the copy stays")
    target.unlink()
    return True


def _undo_move(source: str, target: Path) -> bool:
    if not os.path.lexists(target):
        if os.path.lexists(source):
            return False
        raise OSError(f"it is neither here nor at {source}")
    if not os.path.lexists(source):
        os.makedirs(os.path.dirname(source), exist_ok=True)
        move_new(str(target), Path(source))
    elif os.path.samefile(source, target) or content_hash(source) == content_hash(target):
        target.unlink()  # the move was stopped between
    else:
        raise OSError(f"another file is at {source}; it stays")
    return True


def _undo_tag(entry: Entry) -> bool:
    values = read_field(entry.path, entry.field, raw=True)
    if values == entry.old:
        return False
    if values != entry.new:
        raise TagError(f"{entry.path}: {entry.field} was changed since; it stays {list(values)}")
    before = file_stamp(entry.path)
    write_field(entry.path, entry.field, entry.old, raw=True)
    carry_receipts(default_folder(), entry.path, before)
    return True
