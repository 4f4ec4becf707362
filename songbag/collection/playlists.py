"""Playlists: one a label, the most certain song first, with paths relative to the playlist."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from songbag.collection.answers import UNSURE, Answer
from songbag.storage.files import write_bytes


def write_playlists(
    answers: Iterable[Answer], folder: Path, names: Mapping[str, str]
) -> dict[str, int]:
    """Write a playlist for each label, empty ones too, and one of songs without a label, if any.

    ``names`` are the playlists' names by label. Returns the number of songs by name.
    """
    songs: dict[str, list[Answer]] = {name: [] for name in (*names.values(), UNSURE)}
    for answer in answers:
        for label in answer.labels or (UNSURE,):
            songs[names.get(label, UNSURE)].append(answer)
    if not songs[UNSURE] and not (folder / f"{UNSURE}.m3u8").exists():
        del songs[UNSURE]
    for name, of_label in songs.items():
        of_label.sort(key=lambda answer: -answer.confidence)
        lines = ["#EXTM3U", *(line for answer in of_label for line in _lines(answer, folder))]
        write_bytes(folder / f"{name}.m3u8", "".join(f"{line}\n" for line in lines).encode())
    return {name: len(of_label) for name, of_label in songs.items()}


def _lines(answer: Answer, folder: Path) -> tuple[str, str]:
    """Return a title and a path as `songbag.data.song_table` and players read them."""
    seconds = -1 if answer.seconds is None else round(answer.seconds)
    title = " ".join(Path(answer.path).stem.split())
    # Of real folders: ".." behind a symbolic link would lead elsewhere.
    real = os.path.join(os.path.realpath(os.path.dirname(answer.path) or "."),
                        os.path.basename(answer.path))  # fmt: skip
    try:
        path = os.path.relpath(real, os.path.realpath(folder))
    except ValueError:  # another drive, whose letter players take for the scheme of a URL
        path = ""
    if path != path.rstrip() or path.splitlines() != [path]:
        path = Path(real).as_uri()  # what a line cannot hold
    elif re.match(r"#|\s|[A-Za-z][A-Za-z0-9+.-]*:", path):
        path = f"./{path}"
    return f"#EXTINF:{seconds},{title}", path
