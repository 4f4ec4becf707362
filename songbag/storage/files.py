"""How every file is written: whole or not at all.

Results go to a temporary name, are flushed to the disk and renamed. Journals are only
appended to; every line carries a checksum, and a torn last line is dropped on reading.
"""

import hashlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from songbag.storage.remote import Place, RemotePath

_TEMPORARY = ".tmp"
_DAY_SECONDS = 86_400


@contextmanager
def replacing(path: str | Path, lasting: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the name ``path`` when the block ends well.

    Not ``lasting``: it does not wait for the disk, so when power is lost a file of that
    name may be incomplete. For what is checked when read and can be made again.

    Raises
    ------
    OSError
        What the system said, with ``path`` as its filename. ``path`` is then what it was.
    """
    target = Path(path)
    name = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.name[:100]}."
        sweep(target.parent, prefix)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=_TEMPORARY, dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and _TEMPORARY in str(error.filename or _TEMPORARY):
            error.filename, error.filename2 = os.fspath(target), None
        raise


def sweep(folder: Path, prefix: str = ".") -> None:
    """Remove temporary files that processes left a day ago or earlier when they were killed."""
    before = time.time() - _DAY_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:  # it may not let itself be listed
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_TEMPORARY):
                with suppress(OSError):  # another process was quicker
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)


def write_bytes(path: str | Place, data: bytes, lasting: bool = True) -> None:
    """Write ``data`` whole or not at all; ``lasting`` as in `replacing`."""
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    with replacing(path, lasting) as file:
        file.write(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def append_line(file: io.FileIO, value: Any) -> None:
    """Append one journal line to a file of `open_journal`; an error names the file."""
    left = memoryview(checked(value) + b"\n")
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        error.filename = str(file.name)
        raise


def open_journal(path: str | Path) -> io.FileIO:
    """Open a journal for appending, behind a last line that may be torn.

    Unbuffered: what could not be written is not tried again when the file is closed.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+b", buffering=0)  # noqa: SIM115
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def read_journal(path: str | Path) -> list[Any]:
    """Return the values of a journal, leaving out lines whose checksum does not hold."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(data) for line in lines if (data := unchecked(line))]


def checked(value: Any) -> bytes:
    """Return a value as JSON behind its checksum."""
    data = msgspec.json.encode(value)
    return _checksum(data) + b" " + data


def unchecked(line: bytes) -> bytes:
    """Return the JSON of `checked`, nothing where the checksum does not hold."""
    mark, _, data = line.partition(b" ")
    return data if _checksum(data) == mark else b""


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).hexdigest().encode()


def content_hash(path: str | Path) -> str:
    """Return 32 hexadecimal digits of a file's bytes.

    BLAKE3 (O'Connor et al., 2020): nobody makes two files of one hash, and SHA-256 is slower.
    """
    from blake3 import blake3

    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, lambda: cast(Any, blake3())).hexdigest()[:32]
