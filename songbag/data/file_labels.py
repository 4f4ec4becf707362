"""Labels and groups that lie in the files themselves: in their names, or in their tags."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from songbag.audio.tags import read_field
from songbag.console import counted
from songbag.data.song import Song
from songbag.errors import SettingsError, SongTableError, TagError
from songbag.storage.remote import is_url

_SHOWN = 3  # names in a remark


def labelled_by_name(songs: Sequence[Song], pattern: str) -> tuple[list[Song], list[str]]:
    r"""Return songs labelled by what a regular expression finds in the names of their files.

    The label is the group ``label`` of the expression, else its first group; a group ``group``
    is what no split divides (an artist). Names without a match get no label, and a remark.

    Raises
    ------
    SettingsError
        It is no regular expression, it has no group, or no name matches.

    Examples
    --------
    >>> songs, _ = labelled_by_name([Song("1", "x/rock.00012.wav")], r"(\w+)\.")
    >>> songs[0].label
    'rock'
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingsError(
            f"--label-pattern {pattern}: not a regular expression ({error})."
        ) from None
    if not expression.groups:
        raise SettingsError(
            f"--label-pattern {pattern}: put what is the label into brackets, such as '(\\w+)\\.'."
        )
    named, result, unmatched = expression.groupindex, list[Song](), list[str]()
    for song in songs:
        name = PurePath(song.path.replace("\\", "/")).name
        match = expression.search(name)
        if match is None:
            unmatched.append(name)
            result.append(replace(song, label=None))
            continue
        label = match[named.get("label", 1)]
        artist = match["group"] if "group" in named else song.artist
        result.append(replace(song, label=label or None, artist=artist or None))
    if len(unmatched) == len(songs):
        raise SettingsError(
            f"--label-pattern {pattern}: no name of a file matches, such as '{unmatched[0]}'."
        )
    return result, _missing_remarks(unmatched, f"without a match of {pattern}")


def labelled_by_tags(
    songs: Sequence[Song], label_field: str | None, group_field: str | None
) -> tuple[list[Song], list[str]]:
    """Return songs labelled and grouped by fields of the tags of their files.

    Several values of a field are one cell, joined by ``;``. Files without the field get no label,
    and a remark.

    Raises
    ------
    SettingsError
        A field is not known, or mutagen is not installed.
    SongTableError
        No file has the field.
    """
    result, remarks, unreadable = list(songs), list[str](), dict[str, None]()
    for field, name in ((label_field, "label"), (group_field, "artist")):
        if field is None:
            continue
        values = [_tag(song, field, unreadable) for song in result]
        without = [song.id for song, value in zip(songs, values, strict=True) if value is None]
        if len(without) == len(songs):
            raise SongTableError(
                f"no file has the field '{field}' in its tags, such as '{without[0]}'."
            )
        pairs = zip(result, values, strict=True)
        result = [
            replace(song, label=value) if name == "label" else replace(song, artist=value)
            for song, value in pairs
        ]
        counts = Counter(value for value in values if value)
        shown = ", ".join(f"{value} {count}" for value, count in counts.most_common(6))
        more = ", ..." if len(counts) > 6 else ""
        remarks.append(f"{name} from the tags' field {field}: {shown}{more}")
        remarks += _missing_remarks(without, f"without {field} in the tags")
    return result, [*remarks, *list(unreadable)[:_SHOWN]]


def _tag(song: Song, field: str, unreadable: dict[str, None]) -> str | None:
    """Return the values of a field as one cell; why tags cannot be read is gathered."""
    if is_url(song.path):
        raise SettingsError("tags are read from files of this machine, not from URLs.")
    try:
        return ";".join(read_field(song.path, field)) or None
    except TagError as error:
        unreadable[str(error)] = None
        return None


def _missing_remarks(names: Sequence[str], what: str) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > _SHOWN else ""
    return [f"{counted(len(names), 'file')} {what}: {', '.join(names[:_SHOWN])}{more}"]
