"""How every file is written: whole or not at all.

Results go to a temporary name, are flushed to the disk and renamed. Journals are only
appended to; every line carries a checksum, and a torn last line is dropped on reading.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the name ``path`` when the block ends well."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` whole or not at all."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def append_line(file: IO[bytes], value: Any) -> None:
    """Append one journal line to a file opened with ``"ab"`` and flush it."""
    data = msgspec.json.encode(value)
    file.write(_checksum(data) + b" " + data + b"\n")
    file.flush()


def read_journal(path: str | Path) -> list[Any]:
    """Return the values of a journal, leaving out lines whose checksum does not hold."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    pairs = (line.partition(b" ") for line in lines)
    return [
        msgspec.json.decode(data) for mark, _, data in pairs if data and _checksum(data) == mark
    ]


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).hexdigest().encode()


def content_hash(path: str | Path) -> str:
    """Return 32 hexadecimal digits of a file's bytes (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
