"""A folder of songs, and what its subfolders say about them."""

import re
from collections import Counter
from collections.abc import Sequence

from songbag.audio.audio_file import EXTENSIONS
from songbag.data.columns import SIDES
from songbag.data.song import Song
from songbag.errors import SettingsError, SongTableError
from songbag.storage.remote import AnyPath, files_below

LEVELS = ("label", "group", "split", "fold", "*")
_FOLD = re.compile(r"fold[ _-]?\w+", re.IGNORECASE)
_SHOWN = 6  # labels that a remark counts


def read_folder(folder: AnyPath, layout: str | None = None) -> tuple[list[Song], list[str]]:
    """Return all audio files below a folder, and remarks on what was left out and understood.

    Parameters
    ----------
    layout : str, optional
        What the levels of subfolders are: `LEVELS` with slashes, such as ``"label/group"``. By
        default names of sides or folds come first where all first folders have such names, then
        the label, then the group (an artist, an album).

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
        else:
            others[file.suffix.lower() or "no ending"] += 1
    if not files:
        raise SongTableError(
            f"{folder}: no audio files below it. Looked for {' '.join(sorted(EXTENSIONS))}."
        )
    levels = _levels([relative.parts[:-1] for _, relative in files], layout)
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
    remarks = _layout_remark(songs, levels)
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        remarks.append(f"{folder}: {others.total()} files have no audio ending, left out ({kinds})")
    return songs, remarks


def _levels(folders: Sequence[tuple[str, ...]], layout: str | None) -> list[str]:
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
    first = {parts[0].lower() for parts in inside}
    if inside and all(len(parts) > 1 for parts in inside):
        if first <= set(SIDES):
            return ["split", "label", "group"]
        if len(first) > 1 and all(_FOLD.fullmatch(name) for name in first):
            return ["fold", "label", "group"]
    return ["label", "group"]


def _layout_remark(songs: Sequence[Song], levels: Sequence[str]) -> list[str]:
    """Return what the folders were taken for, where they say more than a label."""
    said = {
        "split": {song.split for song in songs},
        "fold": {song.fold for song in songs},
        "group": {song.artist for song in songs},
    }
    used = [level for level in levels if level == "label" or said.get(level, set()) - {None}]
    if used == ["label"]:
        return []
    counts = Counter(song.label or "no label" for song in songs)
    shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(_SHOWN))
    more = ", ..." if len(counts) > _SHOWN else ""
    parts = [f"{len(values - {None})} {level}s" for level, values in said.items() if level in used]
    return [
        f"folders are taken as {'/'.join(used)}: {shown}{more}; {', '.join(parts)}. Otherwise: "
        "--layout"
    ]
