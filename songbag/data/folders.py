"""A folder of songs, and what its subfolders say about them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from songbag.audio.audio_file import EXTENSIONS
from songbag.console import counted
from songbag.data.columns import SIDES
from songbag.data.song import Song
from songbag.errors import SettingsError, SongTableError
from songbag.storage.remote import AnyPath, files_below

LABEL_FILES = (".txt", ".tsv")  # of labels in time, see `songbag.data.annotations`
LEVELS = ("label", "group", "split", "fold", "*")
_FOLD = re.compile(r"fold[ _-]?\w+", re.IGNORECASE)
_SHOWN = 10  # labels that the tree counts


def read_folder(
    folder: AnyPath, layout: str | None = None, labels_elsewhere: bool = False
) -> tuple[list[Song], list[str], str]:
    """Return all audio files below a folder, remarks on what was left out, and `layout_tree`.

    Parameters
    ----------
    layout : str, optional
        What the levels of subfolders are: `LEVELS` with slashes, such as ``"label/group"``. By
        default names of sides or folds come first where all first folders have such names, then
        the label, then the group (an artist, an album). Numbers are folds where the folders in
        them have the same names. Sides and folds in each label are such, too.
    labels_elsewhere : bool
        Labels are not folders: only sides and folds are looked for.

    Raises
    ------
    SongTableError
        There is no audio below it.
    """
    files, others = [], Counter[str]()
    for file, relative in files_below(folder):
        if any(part.startswith(".") for part in relative.parts):
            continue
        if file.suffix.lower() in EXTENSIONS:
            files.append((file, relative))
        elif file.suffix.lower() not in LABEL_FILES:  # which lie beside recordings
            others[file.suffix.lower() or "no ending"] += 1
    if not files:
        raise SongTableError(
            f"{folder}: no audio files below it. Looked for {' '.join(sorted(EXTENSIONS))}."
        )
    folders = [relative.parts[:-1] for _, relative in files]
    levels = _levels(folders, layout, labels_elsewhere)
    songs = []
    for file, relative in files:
        known = dict(zip(levels, relative.parts[:-1], strict=False))
        side = known.get("split", "").lower()
        if side and side not in SIDES:
            raise SongTableError(f"{file}: '{side}' is no side of a split.")
        songs.append(
            Song(
                id=relative.as_posix(),
                path=str(file),
                label=known.get("label"),
                artist=known.get("group"),
                split=SIDES.get(side),
                fold=known.get("fold"),
            )
        )
    remarks = []
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        remarks.append(f"{folder}: {others.total()} files have no audio ending, left out ({kinds})")
    return songs, remarks, layout_tree(songs, levels)


def _levels(
    folders: Sequence[tuple[str, ...]], layout: str | None, labels_elsewhere: bool
) -> list[str]:
    """Return what each level of subfolders is."""
    if layout is not None:
        levels = layout.strip("/").split("/")
        wrong = [level for level in levels if level not in LEVELS]
        if wrong or "label" not in levels:
            raise SettingsError(
                f"layout '{layout}': write {', '.join(LEVELS)} with slashes, label among them, for "
                "example split/label/group."
            )
        return levels
    inside = [parts for parts in folders if parts]
    first = _kind_of_names(parts[0] for parts in inside)
    if labels_elsewhere:
        return [first, "*"] if first and len(inside) == len(folders) else ["*"]
    if inside and all(len(parts) > 1 for parts in inside):
        if first or _are_numbered_folds(inside):
            return [first or "fold", "label", "group"]
        if second := _kind_of_names(parts[1] for parts in inside):
            return ["label", second, "group"]
    return ["label", "group"]


def _kind_of_names(names: Iterable[str]) -> str:
    """Return whether folders are called as sides of a split, or as folds: "split", "fold", ""."""
    different = {name.lower() for name in names}
    if different and different <= set(SIDES):
        return "split"
    folds = len(different) > 1 and all(_FOLD.fullmatch(name) for name in different)
    return "fold" if folds else ""


def _are_numbered_folds(folders: Sequence[tuple[str, ...]]) -> bool:
    """Return whether first folders are numbers, and each second one lies in several of them."""
    inside: dict[str, set[str]] = {}
    for first, second, *_ in folders:
        inside.setdefault(second, set()).add(first)
    numbers = {parts[0] for parts in folders}
    return all(n.isdecimal() for n in numbers) and all(len(held) > 1 for held in inside.values())


def layout_tree(songs: Sequence[Song], levels: Sequence[str]) -> str:
    """Return what folders were taken for, with counts; "" where none is a label.

    >>> rock, pop = Song("rock/a.wav", "", "rock"), Song("pop/x/b.wav", "", "pop", "x")
    >>> print(layout_tree([rock, rock, pop], ["label", "group"]))
    folders are taken as label/group; --layout says otherwise
      rock  2 songs
      pop   1 song, 1 group
    """
    by_label: dict[str, list[Song]] = {}
    for song in songs:
        by_label.setdefault(song.label or "(no label)", []).append(song)
    if not any(song.label for song in songs):
        return ""
    facts = {"split": "split", "fold": "fold", "group": "artist"}
    used = [
        level
        for level in levels
        if level == "label" or any(getattr(song, facts.get(level, "id")) for song in songs)
    ]
    lines = [f"folders are taken as {'/'.join(used)}; --layout says otherwise"]
    width = max(map(len, by_label))
    largest = sorted(by_label.items(), key=lambda item: -len(item[1]))
    for label, members in largest[:_SHOWN]:
        counts = [counted(len(members), "song")]
        for level in used:
            values = {getattr(song, facts[level]) for song in members} if level in facts else set()
            counts += [counted(len(values - {None}), level)] if values - {None} else []
        lines.append(f"  {label:<{width}}  {', '.join(counts)}")
    if len(largest) > _SHOWN:
        rest = sum(len(members) for _, members in largest[_SHOWN:])
        lines.append(f"  and {len(largest) - _SHOWN} more labels with {counted(rest, 'song')}")
    return "\n".join(lines)
