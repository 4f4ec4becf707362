"""Read and write one field of the tags of an audio file, through mutagen.

ID3 (mp3, and the ID3 part of wav and aiff), Vorbis comments (flac, ogg, opus) and MP4 atoms.
Writing changes that field alone: a copy is changed, compared with the original, and put in its
place.
"""

import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from songbag.errors import AudioError, SettingsError, TagError, suggestion
from songbag.storage.files import atomic_write

_ITUNES = "----:com.apple.iTunes:"  # before the names of fields that MP4 does not know
_ID3V1 = 128  # bytes of the old tag at the end of a file
_OWN = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@dataclass(frozen=True)
class FieldNames:
    """What a field is called in each kind of tags."""

    id3: str
    vorbis: str
    mp4: str


FIELDS = {
    "genre": FieldNames("TCON", "GENRE", "\xa9gen"),
    "artist": FieldNames("TPE1", "ARTIST", "\xa9ART"),
    "album": FieldNames("TALB", "ALBUM", "\xa9alb"),
    "grouping": FieldNames("TIT1", "GROUPING", "\xa9grp"),
    "comment": FieldNames("COMM", "COMMENT", "\xa9cmt"),
}


def read_field(path: str | Path, field: str, raw: bool = False) -> tuple[str, ...]:
    """Return the values of a field, none where a file has no such tag.

    Parameters
    ----------
    field : str
        genre, artist, album, grouping, comment, or a field of its own in capitals with an
        underscore, such as SONGBAG_GENRE.
    raw : bool
        Leave the numbers of ID3's list of genres as they are, instead of their names.

    Raises
    ------
    TagError
        The file is missing or damaged, or its tags are of a kind that is not read.
    SettingsError
        The field is not known, or mutagen is not installed.
    """
    names = require_field(field)
    try:
        with open(path, "rb") as file:
            tags = _open_tags(path, file).tags
            return () if tags is None else _values(tags, names, raw)
    except OSError as error:
        raise TagError(f"{path}: {error.strerror or error}") from None


def write_field(path: str | Path, field: str, values: Sequence[str], raw: bool = False) -> None:
    """Set a field of a file's tags; without values it is removed.

    The file is replaced as a whole by a copy whose audio packets and other tags were seen to be
    equal. Its mode and owner stay, its time becomes that of the change. A symbolic link stays,
    and the file that it names is changed. ``raw`` is as in `read_field`.

    Raises
    ------
    TagError
        The file is damaged, read-only, has several names (hard links, of which a replacement
        would cut off one), or cannot hold these values. It is as it was.
    SettingsError
        The field is not known, or mutagen is not installed.
    """
    names, target = require_field(field), os.path.realpath(path)
    try:
        before = os.stat(target)
        _refuse_unwritable(path, before)
        with open(target, "rb") as source, atomic_write(target, like=before) as copy:
            shutil.copyfileobj(source, copy)
            if hasattr(os, "chown"):
                os.chown(copy.fileno(), before.st_uid, before.st_gid)
            _change(path, copy, names, values)
            _require_equal(path, (source, copy), names, tuple(values), raw)
            now = os.stat(target)
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise TagError(f"{path}: another program changed it at the same time; try again")
    except OSError as error:
        raise TagError(f"{path}: {error.strerror or error}") from None


def require_field(field: str) -> FieldNames:
    """Return what a field is called in each kind of tags, or refuse it (see `read_field`)."""
    try:
        import mutagen  # noqa: F401
    except ImportError:
        raise SettingsError(
            "tags are read and written through mutagen, which is not installed: "
            "pip install 'songbag[tags]'."
        ) from None
    if (known := FIELDS.get(field.lower())) is not None:
        return known
    if not _OWN.fullmatch(field):
        raise SettingsError(
            f"no field of tags is called '{field}'.{suggestion(field.lower(), FIELDS)} A field of "
            "your own has capitals and an underscore, such as SONGBAG_GENRE."
        )
    return FieldNames(f"TXXX:{field}", field, f"{_ITUNES}{field}")


def _open_tags(path: str | Path, file: IO[bytes]) -> Any:
    """Return a file of mutagen, whose ``tags`` are None where there are none."""
    import mutagen
    from mutagen import aiff, flac, mp3, mp4, ogg, wave

    id3 = (mp3.MP3, wave.WAVE, aiff.AIFF)
    try:
        file.seek(0)
        kind = type(mutagen.File(file))
        if not issubclass(kind, (*id3, flac.FLAC, ogg.OggFileType, mp4.MP4)):
            raise TagError(
                f"{path}: tags of this kind of file are not read or written; mp3, wav, aiff, flac, "
                "ogg, opus and m4a have tags"
            )
        file.seek(0)
        if kind not in id3:
            return kind(file)
        # Frames of ID3v2.3 stay what they are; an ID3v1 tag counts only where it is the only one.
        opened = kind(file, translate=False, load_v1=False)
        if opened.tags is None:
            file.seek(0)
            opened = kind(file, translate=False)
        elif opened.tags.version[1] == 2:  # of 1998; nothing writes it any more
            opened.tags.update_to_v23()
        return opened
    except TagError:
        raise
    except Exception as error:  # a damaged file may raise anything in a parser of strangers' bytes
        raise TagError(f"{path}: its tags cannot be read ({error})") from None


def _values(tags: Any, names: FieldNames, raw: bool) -> tuple[str, ...]:
    from mutagen import id3, mp4

    if isinstance(tags, id3.ID3):
        frame = _frame(tags, names)
        texts = [] if frame is None else frame.text
        if frame is not None and frame.FrameID == "TCON" and not raw:
            texts = frame.genres
        return tuple(map(str, texts))
    if isinstance(tags, mp4.MP4Tags):
        values = tags.get(names.mp4, [])
        return tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in values)
    return tuple(tags.get(names.vorbis, []))


def _frame(tags: Any, names: FieldNames) -> Any:
    """Return the ID3 frame of a field, None without one; a comment is one without description."""
    frames = [one for one in tags.getall(names.id3) if names.id3 != "COMM" or not one.desc]
    return min(frames, key=lambda one: one.HashKey, default=None)


def _change(path: str | Path, file: IO[bytes], names: FieldNames, values: Sequence[str]) -> None:
    """Set a field in an open file."""
    from mutagen import MutagenError, id3, mp4

    opened = _open_tags(path, file)
    if opened.tags is None:
        opened.add_tags()
    tags, saving = opened.tags, dict[str, Any]()
    if isinstance(tags, id3.ID3):
        # Several values are kept apart by zeros in 2.3 too: "/" would change those of other fields.
        saving = {"v2_version": 3 if tags.version[1] in (2, 3) else 4, "v23_sep": None}
        _change_id3(tags, names, values, saving["v2_version"])
    elif isinstance(tags, mp4.MP4Tags):
        own = names.mp4.startswith(_ITUNES)
        tags[names.mp4] = [
            mp4.MP4FreeForm(v.encode(), mp4.AtomDataType.UTF8) if own else v for v in values
        ]
        if not values:
            del tags[names.mp4]
    else:
        tags[names.vorbis] = list(values)
    try:
        file.seek(-_ID3V1, os.SEEK_END)
        old = file.read()
        file.seek(0)
        opened.save(file, **saving)
        if isinstance(tags, id3.ID3) and old.startswith(b"TAG"):  # which saving makes anew
            file.seek(-_ID3V1, os.SEEK_END)
            file.write(old)
        file.flush()
    except (MutagenError, OSError, ValueError) as error:
        raise TagError(f"{path}: its tags cannot be written ({error})") from None


def _change_id3(tags: Any, names: FieldNames, values: Sequence[str], version: int) -> None:
    from mutagen import id3

    frame = _frame(tags, names)
    if not values:
        if frame is not None:
            del tags[frame.HashKey]
        return
    plain = all(value.isascii() for value in values)
    unicode = id3.Encoding.UTF8 if version == 4 else id3.Encoding.UTF16
    encoding = id3.Encoding.LATIN1 if plain else unicode
    kind, _, description = names.id3.partition(":")
    about = {"desc": description} if kind in ("TXXX", "COMM") else {}
    if kind == "COMM":
        about["lang"] = "eng" if frame is None else frame.lang
    tags.add(getattr(id3, kind)(encoding=encoding, text=list(values), **about))


def _require_equal(
    path: str | Path,
    files: tuple[IO[bytes], IO[bytes]],
    names: FieldNames,
    values: tuple[str, ...],
    raw: bool,
) -> None:
    """Refuse a changed copy that is not the original but for the field."""
    from songbag.audio.decode import packets_hash

    try:
        first, second = (packets_hash(path, file) for file in files)
    except AudioError as error:
        raise TagError(str(error)) from None
    if first != second:
        raise TagError(f"{path}: writing the tag would change its sound; it is left as it is")
    before, after = (_open_tags(path, file).tags for file in files)
    if _others(before, names) != _others(after, names):
        raise TagError(f"{path}: writing the tag would change others; it is left as it is")
    now = () if after is None else _values(after, names, raw)
    if now != values:
        raise TagError(
            f"{path}: the field would read as {list(now)} instead of {list(values)}; take a field "
            "of your own, such as SONGBAG_GENRE"
        )


def _others(tags: Any, names: FieldNames) -> Any:
    """Return all tags but one field, to be compared."""
    from mutagen import id3, mp4

    if tags is None:
        return []
    if isinstance(tags, id3.ID3):
        field = _frame(tags, names)
        # How text is encoded may change: ID3v2.3 has no UTF-8.
        return [
            (frame.HashKey, repr({k: v for k, v in vars(frame).items() if k != "encoding"}))
            for frame in sorted(tags.values(), key=lambda one: one.HashKey)
            if field is None or frame.HashKey != field.HashKey
        ]
    if isinstance(tags, mp4.MP4Tags):
        return {key: value for key, value in tags.items() if key != names.mp4}
    return [(key, value) for key, value in tags if key.upper() != names.vorbis]


def _refuse_unwritable(path: str | Path, status: os.stat_result) -> None:
    """Refuse a file that is read-only, or that has other names."""
    if not status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise TagError(f"{path}: the file is read-only; allow writing it, and try again")
    if not os.access(path, os.W_OK):
        raise TagError(f"{path}: you may not write this file")
    if status.st_nlink > 1:
        raise TagError(
            f"{path}: the file has {status.st_nlink} names (hard links), and only this one would "
            "get the tag; write the tags before files are linked, or tag a copy"
        )
