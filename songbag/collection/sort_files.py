"""Sort files into a folder for each label: copies, links, or moved, never over another file.

First every step is planned, so that a dry run shows what happens; then each is written to the
journal and done.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

from songbag.collection.answers import UNSURE, Answer, folded
from songbag.collection.journal import Entry, Journal
from songbag.storage.files import atomic_write, content_hash, flush_folder, hard_link, rename_new

Action = Literal["copy", "move", "link"]


@dataclass(frozen=True)
class Step:
    """One file and where it goes; ``there`` if the same content is at that place already."""

    source: str
    target: Path
    there: bool

    @property
    def renamed(self) -> bool:
        """Whether the target has another name, because of another file."""
        return os.path.basename(self.source) != self.target.name


@dataclass
class Sorted:
    """What became of the steps."""

    done: list[Step] = field(default_factory=list)
    there: list[Step] = field(default_factory=list)
    symbolic: int = 0  # links that are symbolic
    problems: dict[str, str] = field(default_factory=dict)  # why, by file


def plan_steps(answers: Iterable[Answer], folder: Path, names: Mapping[str, str]) -> list[Step]:
    """Return where every file goes: a folder a label, `UNSURE` for songs without one.

    A file that is listed twice goes once. ``names`` are the folders' names.
    """
    planned: dict[str, str] = {}  # by `folded` path
    files: set[str] = set()
    steps = []
    for answer in answers:
        file = os.path.realpath(answer.path)
        if file in files:
            continue
        files.add(file)
        source = os.path.abspath(answer.path)
        for label in answer.labels or (UNSURE,):
            step = _step(source, folder / names.get(label, UNSURE), planned)
            planned.setdefault(folded(str(step.target)), source)
            steps.append(step)
    return steps


def _step(source: str, folder: Path, planned: Mapping[str, str]) -> Step:
    """Return a free name in a folder, or that of the same content."""
    stem, ending = os.path.splitext(os.path.basename(source))
    for number in count(1):
        more = f" ({number})" if number > 1 else ""
        while len(os.fsencode(f"{stem}{more}{ending}")) > 255:
            stem = stem[:-1]
        target = folder / f"{stem}{more}{ending}"
        there = str(target) if os.path.lexists(target) else None
        other = planned.get(folded(str(target))) or there
        if other is None:
            return Step(source, target, there=False)
        if _same_content(source, other):
            return Step(source, target, there=True)
    raise AssertionError("there is always another number")


def _same_content(one: str, other: str) -> bool:
    try:
        if os.path.samefile(one, other):
            return True
        same_size = os.path.isfile(other) and os.path.getsize(one) == os.path.getsize(other)
        return same_size and content_hash(one) == content_hash(other)
    except OSError:  # a broken link, or not readable
        return False


def moved_files(journal: Journal) -> set[str]:
    """Return the places that files were moved from, as the journal says, and are not at now."""
    folder = journal.path.parent
    return {
        entry.path
        for entry in journal.entries
        if entry.do == "move"
        and not os.path.lexists(entry.path)
        and os.path.lexists(folder / entry.target)
    }


def take_steps(steps: Iterable[Step], action: Action, journal: Journal) -> Sorted:
    """Copy, link or move files as planned; what fails is a problem, and the others go on."""
    result, folder = Sorted(), journal.path.parent
    begun = {(entry.path, entry.target) for entry in journal.entries if entry.do == "move"}
    for step in steps:
        target = os.path.relpath(step.target, folder)
        try:
            if not step.there:
                if not step.target.parent.exists():
                    journal.append(Entry(do="folder", target=step.target.parent.name))
                    step.target.parent.mkdir(exist_ok=True)
                result.symbolic += _act(step, action, journal, target)
                result.done.append(step)
            elif action == "move" and (step.source, target) in begun:
                # The move was stopped after its target was whole: its source is left to remove.
                if os.path.realpath(step.source) != os.path.realpath(step.target):
                    flush_folder(step.target.parent)
                    os.unlink(step.source)
                result.done.append(step)
            else:
                result.there.append(step)
        except OSError as error:
            if error.filename == str(journal.path):  # without it nothing may be changed
                raise
            result.problems[step.source] = f"{step.source}: {error.strerror or error}"
    return result


def _act(step: Step, action: Action, journal: Journal, target: str) -> bool:
    """Do a step; return whether a link became a symbolic one."""
    source = step.source
    if action == "move" and os.path.islink(source):
        raise OSError(
            errno.ELOOP, "a symbolic link stays where it is; give the file it names, or use --link"
        )
    content = content_hash(source) if action == "copy" else ""
    journal.append(Entry(do=action, path=source, target=target, content=content))
    if action == "copy":
        copy_new(source, step.target, content)
    elif action == "move":
        move_new(source, step.target)
    else:
        return _link(source, step.target)
    return False


def _link(source: str, target: Path) -> bool:
    """Make a hard link, and a symbolic one where that is not possible; return which."""
    try:
        hard_link(os.path.realpath(source), target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without hard links
        os.symlink(source, target)
        return True
    return False


def move_new(source: str, target: Path) -> None:
    """Move a file to a free name; to another file system as a checked copy."""
    try:
        rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_new(source, target, content_hash(source))
        flush_folder(target.parent)
        os.unlink(source)


def copy_new(source: str, target: Path, content: str) -> None:
    """Copy a file to a free name, with its mode and time, and compare the copy's hash."""
    from blake3 import blake3

    status = os.stat(source)
    with open(source, "rb") as file, atomic_write(target, like=status, replace=False) as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        digest = hashlib.file_digest(cast(Any, copy), lambda: cast(Any, blake3()))
        if digest.hexdigest()[:32] != content:
            raise OSError(errno.EIO, "it changed while it was copied; try again", source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
