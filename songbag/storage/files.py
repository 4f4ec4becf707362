"""Write files whole or not at all, journals whose damaged lines are left out, and CSV of results.

A file is written under a temporary name, flushed to the disk and renamed. A journal is only
appended to; every line begins with a checksum.
"""

import codecs
import csv
import errno
import hashlib
import io
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from songbag.storage.remote import AnyPath, RemotePath

Row = dict[str, Any]

_TEMPORARY = ".tmp"
_DAY_SECONDS = 86_400
# Where files cannot have two names; Windows says EINVAL of such a disk, FUSE may say ENOSYS.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL,
             errno.ENOSYS)  # fmt: skip


def default_folder() -> Path:
    """Return ``$SONGBAG_CACHE``, or the user's cache folder."""
    if folder := os.environ.get("SONGBAG_CACHE"):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_cache_dir("songbag"))


@contextmanager
def atomic_write(
    path: str | Path,
    durable: bool = True,
    like: os.stat_result | None = None,
    replace: bool = True,
) -> Iterator[IO[bytes]]:
    """Open a temporary file that is renamed to ``path`` when the block ends without an error.

    Folders above it are created. It can be read as well as written. Without ``durable`` it does
    not wait until the disk has the bytes: the file may be incomplete after a power failure, which
    suits files that are checked when read and can be computed again. ``like`` gives the mode of
    another file. Without ``replace`` a file that is at ``path`` is an error.

    Raises
    ------
    OSError
        With ``path`` as its filename; a file that was at ``path`` is unchanged.
    """
    target = Path(path)
    name = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = temporary_prefix(target.name)
        remove_stale_temporaries(target.parent, prefix)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=_TEMPORARY, dir=target.parent)
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        mask = os.umask(0)  # it can only be read by setting it
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask if like is None else stat.S_IMODE(like.st_mode))
        if replace:
            os.replace(name, target)
        else:
            rename_new(name, target)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and _TEMPORARY in str(error.filename or _TEMPORARY):
            error.filename, error.filename2 = os.fspath(target), None
        raise


def temporary_prefix(name: str) -> str:
    """Return how the names of a file's temporaries begin; names have at most 255 bytes."""
    return f".{os.fsencode(name)[:100].decode(errors='ignore')}."


def rename_new(source: str | Path, target: Path) -> None:
    """Rename a file to a name that is free, or raise `FileExistsError`.

    A second name is given before the first is taken away: a process that is killed between
    leaves both. Where files cannot have two names, it is looked whether the name is free.
    """
    try:
        hard_link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(source, target)
    else:
        try:
            os.unlink(source)
        except OSError:  # a folder that may not be changed
            os.unlink(target)
            raise


def hard_link(source: str | Path, target: Path) -> None:
    """Give a file a second name that is free; an `OSError` says why it cannot have one."""
    if not hasattr(os, "link"):  # Android
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(source))
    os.link(source, target, follow_symlinks=False)


def relative_path(path: str | Path, folder: Path) -> str:
    """Return a path as seen from a folder, with "/"; the path itself on another drive of Windows.

    Examples
    --------
    >>> relative_path("music/a.mp3", Path("music/tables"))
    '../a.mp3'
    """
    with suppress(ValueError):
        path = os.path.relpath(path, folder)
    return Path(path).as_posix()


def flush_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can say so."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_stale_temporaries(folder: Path, prefix: str = ".") -> None:
    """Remove temporary files of killed processes that are older than a day."""
    before = time.time() - _DAY_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:  # the folder may not be listable
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_TEMPORARY):
                with suppress(OSError):  # another process may have removed it
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)


def write_bytes(path: str | AnyPath, data: bytes, durable: bool = True) -> None:
    """Write ``data`` to a file or an object, whole or not at all (see `atomic_write`)."""
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    with atomic_write(path, durable) as file:
        file.write(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def content_hash(path: str | Path) -> str:
    """Return 32 hexadecimal digits of the BLAKE3 hash of a file's bytes.

    BLAKE3 (O'Connor et al., 2020) is collision-resistant and faster than SHA-256.
    """
    from blake3 import blake3

    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, lambda: cast(Any, blake3())).hexdigest()[:32]


# --- journals ---------------------------------------------------------------------------


def open_journal(path: str | Path) -> io.FileIO:
    """Open a journal for appending, after ending a last line that was cut short.

    It is unbuffered, so that closing does not try again to write what did not fit on the disk.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+b", buffering=0)  # noqa: SIM115
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def append_line(file: io.FileIO, value: Any) -> None:
    """Append one line to a journal; an `OSError` has the journal as its filename."""
    rest = memoryview(add_checksum(value) + b"\n")
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        error.filename = str(file.name)
        raise


def read_journal(path: str | Path) -> list[Any]:
    """Return the values in a journal, without damaged lines; empty where there is no file."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(data) for line in lines if (data := strip_checksum(line))]


def add_checksum(value: Any) -> bytes:
    """Return a value as JSON after its checksum and a space."""
    data = msgspec.json.encode(value)
    return _checksum(data) + b" " + data


def strip_checksum(line: bytes) -> bytes:
    """Return the JSON in a line of `add_checksum`, nothing where the checksum is wrong."""
    checksum, _, data = line.partition(b" ")
    return data if _checksum(data) == checksum else b""


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).hexdigest().encode()


# --- CSV --------------------------------------------------------------------------------


def csv_text(rows: Iterable[Row], columns: Sequence[str], header: bool = True) -> str:
    r"""Return rows as CSV text: UTF-8, comma, ``\n``, quotes where needed.

    Numbers have at most six decimals, None is an empty cell, and keys that are not in
    ``columns`` are left out.

    Examples
    --------
    >>> csv_text([{"id": "a, b", "p": 1 / 3, "label": None}], ["id", "label", "p"])
    'id,label,p\n"a, b",,0.333333\n'
    """
    lines = [",".join(map(_cell, columns))] if header else []
    lines += [",".join(_cell(row.get(column)) for column in columns) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{round(value, 6) + 0.0:g}" if abs(value) >= 1e6 else repr(round(value, 6) + 0.0)
    cell = str(value)
    # The csv module leaves a carriage return without quotes, and readers end the line there.
    if any(mark in cell for mark in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def write_csv(
    path: str | Path, rows: Iterable[Row], columns: Sequence[str], bom: bool = False
) -> None:
    """Write rows, as they come, to a CSV file, whole or not at all.

    With ``bom`` it begins with the byte order mark by which a spreadsheet knows UTF-8.
    """
    with atomic_write(path) as file:
        file.write(codecs.BOM_UTF8 if bom else b"")
        file.write(csv_text([], columns).encode())
        for row in rows:
            file.write(csv_text([row], columns, header=False).encode())


def iter_csv(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file that Songbag wrote, one at a time, every cell as text.

    Tables that users wrote are read by `songbag.data.table_files`.
    """
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Return all rows of `iter_csv`."""
    return list(iter_csv(path))
