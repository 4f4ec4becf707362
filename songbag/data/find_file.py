"""The file that a table means: the exact name first, then what people's programs make of it."""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote


def find_file(root: Path, path: str) -> tuple[Path, str]:
    """Return the file that ``path`` names below ``root``, and in words how it is spelled there.

    The words are empty where the name is exact, and where no spelling of it is a file.
    """
    exact = root / path
    if os.path.isfile(exact):
        return exact, ""
    for how, spelled in _spellings(path):
        if spelled != path and "\0" not in spelled and os.path.isfile(root / spelled):
            return root / spelled, how
    folded = _by_case(root, path)
    if folded is not None:
        return folded, "in other letters (upper and lower case)"
    return root / path.strip(), ""


def _spellings(path: str) -> Iterator[tuple[str, str]]:
    trimmed = path.strip()
    yield "without the spaces around it", trimmed
    plain = unquote(trimmed.removeprefix("file://"))
    plain = re.sub(r"^/(?=[A-Za-z]:)", "", plain)  # file:///D:/a.mp3
    yield "without the marks of a URL (%20, file://)", plain
    slashes = trimmed.replace("\\", "/")
    yield "with / for \\", slashes
    if trimmed.startswith("~"):
        yield "below the home folder", os.path.expanduser(trimmed)
    for name in (trimmed, plain, slashes):
        for form in ("NFC", "NFD"):
            yield (
                "in another form of the same letters (NFC, NFD)",
                unicodedata.normalize(form, name),
            )


def _by_case(root: Path, path: str) -> Path | None:
    """Return the only file whose path differs from this one in case and form of letters alone."""
    folder = root
    parts = Path(path.strip().replace("\\", "/")).parts
    if not parts or Path(*parts).is_absolute() or ".." in parts:
        return None
    for part in parts:
        names = _names(str(folder), _changed(folder)).get(_folded(part), ())
        if len(names) != 1:
            return None
        folder = folder / names[0]
    return folder if os.path.isfile(folder) else None


def _changed(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@lru_cache(64)
def _names(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """Return the names in a folder, ``changed`` at that time, by what they are without case."""
    by_name: dict[str, tuple[str, ...]] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return by_name
    for name in names:
        by_name[_folded(name)] = (*by_name.get(_folded(name), ()), name)
    return by_name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
