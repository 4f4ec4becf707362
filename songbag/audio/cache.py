"""Frames on disk, one immutable file a song, found by what was heard and how.

::

    <cache>/<sound fingerprint>/<2 digits>/<content hash>[-<part heard>].safetensors
    <cache>/index.sqlite      (path, part, sound) -> receipt

The key is the content of the audio file, so renamed and copied songs are not decoded
again. The index spares reading unchanged files; losing it costs only that reading.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.source import Source
from songbag.errors import SongbagError
from songbag.settings import Record, Sound
from songbag.storage.files import (
    add_checksum,
    remove_stale_temporaries,
    strip_checksum,
    write_bytes,
)
from songbag.storage.remote import (
    AnyPath,
    RemotePath,
    absolute,
    is_url,
    local_file,
    local_folder,
    prefetch_stamps,
    url_stamp,
)


class Receipt(Record, frozen=True):
    """What became of one song's extraction.

    Attributes
    ----------
    status : {"ok", "failed"}
    reason, message : str
        Empty when ok; else a short word and a sentence.
    warnings : tuple of str
    key : str
        Frames file relative to the cache folder, empty when failed.
    samples, bands : int
        Samples at the sound's rate, and values per frame.
    level_db : float
        Level of what was heard, dB of full scale.
    size, mtime_ns : int
        Of the file when it was opened, -1 when it could not be asked.
    """

    status: Literal["ok", "failed"]
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    key: str = ""
    samples: int = 0
    bands: int = 0
    level_db: float = -100.0
    size: int = -1
    mtime_ns: int = -1


class _Stored(Record, frozen=True):
    receipt: Receipt
    checksum: str


class DamagedFramesError(SongbagError):
    """A frames file is missing, cut short or changed since it was written."""


def default_folder() -> Path:
    """Return ``$SONGBAG_CACHE``, or the user's cache folder."""
    if chosen := os.environ.get("SONGBAG_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("songbag"))


def frames_key(content: str, source: Source, sound: Sound) -> str:
    """Return the frames file's name relative to the cache folder."""
    part = source.part()
    name = f"{content}-{part}" if part else content
    return f"{sound.fingerprint()}/{content[:2]}/{name}.safetensors"


def write_frames(file: AnyPath, frames: NDArray[np.float32], receipt: Receipt) -> None:
    """Write frames (frames, bands) with their receipt and a checksum, atomically."""
    from safetensors.numpy import save

    # One entry: safetensors writes several in an order that changes from run to run.
    stored = msgspec.json.encode(_Stored(receipt=receipt, checksum=_checksum(frames, receipt)))
    metadata = {"songbag": stored.decode()}
    data = save({"frames": np.ascontiguousarray(frames)}, metadata)
    if isinstance(file, Path):
        remove_stale_temporaries(file.parent)
    write_bytes(file, data, durable=False)


def read_frames(file: AnyPath | str) -> tuple[NDArray[np.float32], Receipt]:
    """Return frames (frames, bands) and their receipt.

    Raises
    ------
    DamagedFramesError
        The file is missing, or not what was written.
    """
    try:
        data = _bytes_of(file)
        begin = 8 + int.from_bytes(data[:8], "little")
        about = msgspec.json.decode(data[8:begin])
        stored = msgspec.json.decode(about["__metadata__"]["songbag"], type=_Stored)
        values = np.frombuffer(data, np.float32, offset=begin)
        frames = values.reshape(about["frames"]["shape"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedFramesError(f"{file}: {error}") from None
    if _checksum(frames, stored.receipt) != stored.checksum:
        raise DamagedFramesError(f"{file}: its contents changed since it was written")
    return frames, stored.receipt


def _bytes_of(file: AnyPath | str) -> bytes:
    if isinstance(file, RemotePath):
        with local_file(file) as local:
            return local.read_bytes()
    with open(file, "rb", buffering=0) as opened:
        return opened.readall()


def _checksum(frames: NDArray[np.float32], receipt: Receipt) -> str:
    # Against disks, as in zip files, not against people: a hash that holds against those
    # costs a fifth of a cached song's answer.
    crc32 = _crc32()
    found = crc32(np.ascontiguousarray(frames).data)
    return f"{crc32(msgspec.json.encode(receipt), found):08x}"


@cache
def _crc32() -> Callable[..., int]:
    """Return zlib-ng's where it is installed: the same numbers in a sixth of the time."""
    try:
        from zlib_ng.zlib_ng import crc32
    except ImportError:
        from zlib import crc32
    return crc32


# --- index ------------------------------------------------------------------------------


# What may be otherwise the next time, with other limits or on a calmer machine.
_PASSING = {"missing", "unreadable", "unreachable", "worker_died"}
_PASSING |= {"too_long", "too_slow", "too_much_memory"}
_ASKED = 500  # files asked for at once
_PATIENCE_SECONDS = 10.0  # waiting for other processes before going on without the index


class Index:
    """Remembers receipts of unchanged files. Safe for several processes at once.

    It only saves time: whatever is wrong with it, songs are then heard again.
    """

    def __init__(self, folder: AnyPath, sound: Sound) -> None:
        self.folder = folder
        self._sound = sound.fingerprint()
        self._file = local_folder(folder, default_folder()) / "index.sqlite"

    def lookup(self, sources: Iterable[Source]) -> list[Receipt | None]:
        """Return the receipt of each source that has not changed, else None."""
        sources = list(sources)
        prefetch_stamps(source.path for source in sources)
        if not self._file.exists():
            return [None for _ in sources]
        names = [(absolute(source.path), source.part()) for source in sources]
        try:
            with closing(self._connect()) as base:
                kept = self._kept(base, {path for path, _ in names})
        except (sqlite3.Error, OSError):
            return [None for _ in sources]
        return [self._fresh(one, kept.get(name)) for one, name in zip(sources, names, strict=True)]

    def _kept(
        self, base: sqlite3.Connection, paths: Iterable[str]
    ) -> dict[tuple[str, str], object]:
        """Return what is stored of files by path and part: a question for each takes longer."""
        left, found = iter(paths), {}
        while some := list(islice(left, _ASKED)):
            marks = ",".join("?" * len(some))
            question = f"select path, part, receipt from files where sound=? and path in ({marks})"
            for path, part, receipt in base.execute(question, (self._sound, *some)):
                found[path, part] = receipt
        return found

    def _fresh(self, source: Source, stored: object) -> Receipt | None:
        """Return a stored receipt where nothing has changed since."""
        if not isinstance(stored, bytes) or not (data := strip_checksum(stored)):
            return None
        receipt = msgspec.json.decode(data, type=Receipt)
        if (receipt.size, receipt.mtime_ns) != file_stamp(source.path):
            return None
        if receipt.status == "ok" and isinstance(self.folder, Path):  # elsewhere it is too dear
            return receipt if os.path.exists(os.path.join(self.folder, receipt.key)) else None
        return receipt

    def store(self, found: Iterable[tuple[Source, Receipt]]) -> None:
        """Store receipts, each with the stamp the file had before it was read."""
        rows = [
            (absolute(source.path), source.part(), self._sound, add_checksum(receipt))
            for source, receipt in found
            if receipt.size >= 0 and receipt.reason not in _PASSING
        ]
        try:
            self._store(rows)
        except sqlite3.OperationalError:
            return  # locked for long, or no room: another time
        except sqlite3.DatabaseError:
            self._forget()
            with suppress(sqlite3.Error, OSError):
                self._store(rows)
        except OSError:
            return

    def _store(self, rows: list[tuple[str, str, str, bytes]]) -> None:
        with closing(self._connect()) as base, base:
            base.executemany("insert or replace into files values (?, ?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(self._file, timeout=_PATIENCE_SECONDS)
        try:
            base.execute(
                "create table if not exists files (path text, part text, sound text, "
                "receipt blob, primary key (path, part, sound))"
            )
        except BaseException:
            base.close()
            raise
        return base

    def _forget(self) -> None:
        """Remove an index that is no database any more, and what belongs to it."""
        for ending in ("", "-journal", "-wal", "-shm"):
            Path(f"{self._file}{ending}").unlink(missing_ok=True)


def file_stamp(path: str) -> tuple[int, int]:
    """Return (size, mtime_ns) of a file, (-1, -1) when it cannot be asked."""
    if is_url(path):
        return url_stamp(path)
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns
