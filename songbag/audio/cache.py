"""Frames on disk: one immutable file a song, named after its content and the sound settings.

::

    <cache>/<sound fingerprint>/<2 digits>/<content hash>[-<part>].safetensors
    <cache>/index.sqlite      (path, part, sound) -> receipt

The name holds a hash of the audio file, so renamed and copied songs are not decoded again.
The index spares reading unchanged files to hash them; losing it costs only that reading.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from songbag.audio.audio_file import Source
from songbag.errors import SongbagError
from songbag.settings import Record, Sound
from songbag.storage.files import (
    add_checksum,
    default_folder,
    remove_stale_temporaries,
    strip_checksum,
    write_bytes,
)
from songbag.storage.remote import (
    AnyPath,
    absolute,
    is_url,
    local_folder,
    prefetch_stamps,
    url_stamp,
)

try:  # the same numbers in a sixth of the time
    from zlib_ng.zlib_ng import crc32
except ImportError:
    from zlib import crc32


class Receipt(Record, frozen=True):
    """The result of extracting one song."""

    status: Literal["ok", "failed"]
    reason: str = ""  # a short word when failed
    message: str = ""  # and a sentence
    warnings: tuple[str, ...] = ()
    key: str = ""  # frames file relative to the cache folder, empty when failed
    samples: int = 0  # at the sound's rate
    bands: int = 0  # values per frame
    level_db: float = -100.0  # of the samples, dB of full scale
    size: int = -1  # of the file when it was opened, -1 if unknown
    mtime_ns: int = -1


# Raised when songs are warned of something else: what was cached before is extracted again.
_CODE = 1


class _Stored(Record, frozen=True):
    receipt: Receipt
    checksum: str
    code: int = 0


_DTYPES: dict[str, DTypeLike] = {"F32": np.float32, "F16": np.float16}  # of safetensors


class DamagedFramesError(SongbagError):
    """A frames file is missing, cut short or changed since it was written."""


def frames_key(content: str, source: Source, sound: Sound) -> str:
    """Return the name of a frames file relative to the cache; ``content`` hashes the audio file."""
    part = source.part()
    name = f"{content}-{part}" if part else content
    return f"{sound.fingerprint()}/{content[:2]}/{name}.safetensors"


def content_of(key: str) -> str:
    """Return the hash of the audio file in the name of its frames file (see `frames_key`)."""
    return key.rpartition("/")[2].partition(".")[0].partition("-")[0]


def write_frames(
    file: AnyPath, frames: NDArray[np.float32], receipt: Receipt, dtype: DTypeLike = np.float32
) -> None:
    """Write frames (frames, bands) with their receipt and a checksum, atomically."""
    from safetensors.numpy import save

    # One entry: safetensors writes several in an order that changes from run to run.
    stored = msgspec.json.encode(
        _Stored(receipt=receipt, checksum=_checksum(frames, receipt), code=_CODE)
    )
    metadata = {"songbag": stored.decode()}
    data = save({"frames": np.ascontiguousarray(frames, dtype)}, metadata)
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
        data = (Path(file) if isinstance(file, str) else file).read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        about = msgspec.json.decode(data[8:begin])
        stored = msgspec.json.decode(about["__metadata__"]["songbag"], type=_Stored)
        dtype = _DTYPES[about["frames"]["dtype"]]
        values = np.frombuffer(data, dtype, offset=begin)
        frames = values.reshape(about["frames"]["shape"]).astype(np.float32, copy=False)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedFramesError(f"{file}: {error}") from None
    if stored.code != _CODE:
        raise DamagedFramesError(f"{file}: it is of another version of Songbag")
    if _checksum(frames, stored.receipt) != stored.checksum:
        raise DamagedFramesError(f"{file}: its contents changed since it was written")
    return frames, stored.receipt


def _checksum(frames: NDArray[np.float32], receipt: Receipt) -> str:
    # CRC-32 detects damaged files, not manipulation; a cryptographic hash would cost 20 % of a
    # cached prediction.
    value = crc32(np.ascontiguousarray(frames).data)
    return f"{crc32(msgspec.json.encode(receipt), value):08x}"


# --- index ------------------------------------------------------------------------------


# Reasons that may not hold the next time, with other limits or on a less busy machine.
_TEMPORARY_REASONS = {"missing", "unreadable", "unreachable", "worker_died"}
_TEMPORARY_REASONS |= {"too_long", "too_slow", "too_much_memory"}
_PATHS_PER_QUERY = 500  # a query for each path takes longer
_PATIENCE_SECONDS = 10.0  # waiting for other processes before going on without the index


class Index:
    """Receipts of unchanged files, in a database that several processes may use at once.

    It only saves time: when it is damaged, locked or lost, files are read again.
    """

    def __init__(self, folder: AnyPath, sound: Sound) -> None:
        self.folder = folder
        self._sound = f"{sound.fingerprint()}.{_CODE}"
        self.file = local_folder(folder, default_folder()) / "index.sqlite"

    def lookup(self, sources: Iterable[Source]) -> list[Receipt | None]:
        """Return the receipt of each source that has not changed, else None."""
        sources = list(sources)
        prefetch_stamps(source.path for source in sources)
        if not self.file.exists():
            return [None for _ in sources]
        names = [(absolute(source.path), source.part()) for source in sources]
        left, stored = iter({path for path, _ in names}), dict[tuple[str, str], object]()
        try:
            with self.open() as base:
                while batch := list(islice(left, _PATHS_PER_QUERY)):
                    marks = ",".join("?" * len(batch))
                    query = "select path, part, receipt from files where sound=?"
                    rows = base.execute(f"{query} and path in ({marks})", (self._sound, *batch))
                    stored |= {(path, part): receipt for path, part, receipt in rows}
        except (sqlite3.Error, OSError):
            return [None for _ in sources]
        pairs = zip(sources, names, strict=True)
        return [self._unchanged(source, stored.get(name)) for source, name in pairs]

    def _unchanged(self, source: Source, stored: object) -> Receipt | None:
        """Return a stored receipt if its file and its frames are as they were."""
        if not isinstance(stored, bytes) or not (data := strip_checksum(stored)):
            return None
        receipt = msgspec.json.decode(data, type=Receipt)
        if (receipt.size, receipt.mtime_ns) != file_stamp(source.path):
            return None
        if receipt.status == "ok" and isinstance(self.folder, Path):  # a remote one costs too much
            return receipt if os.path.exists(os.path.join(self.folder, receipt.key)) else None
        return receipt

    def store(self, receipts: Iterable[tuple[Source, Receipt]]) -> None:
        """Store receipts, each with the stamp that its file had before it was read."""
        rows = [
            (absolute(source.path), source.part(), self._sound, add_checksum(receipt))
            for source, receipt in receipts
            if receipt.size >= 0 and receipt.reason not in _TEMPORARY_REASONS
        ]
        try:
            self._insert(rows)
        except (sqlite3.OperationalError, OSError):
            return  # locked for long, or the disk is full
        except sqlite3.DatabaseError:  # it is no database any more
            for ending in ("", "-journal", "-wal", "-shm"):
                Path(f"{self.file}{ending}").unlink(missing_ok=True)
            with suppress(sqlite3.Error, OSError):
                self._insert(rows)

    def _insert(self, rows: list[tuple[str, str, str, bytes]]) -> None:
        with self.open() as base, base:
            base.executemany("insert or replace into files values (?, ?, ?, ?)", rows)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open the database for one transaction or query."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=_PATIENCE_SECONDS)) as base:
            base.execute(
                "create table if not exists files (path text, part text, sound text, "
                "receipt blob, primary key (path, part, sound))"
            )
            yield base


def carry_receipts(folder: AnyPath, path: str, before: tuple[int, int]) -> None:
    """Let what the index knows of a file stand after its tags changed, and its sound did not.

    ``before`` is the stamp that the file had. The name of its frames keeps the hash of the file
    as it was; where the index is lost, the file is decoded again.
    """
    index = Index(folder, Sound())
    size, mtime_ns = file_stamp(path)
    if not index.file.exists():
        return
    try:
        with index.open() as base, base:
            query = "select part, sound, receipt from files where path=?"
            for part, sound, stored in base.execute(query, (absolute(path),)).fetchall():
                if isinstance(stored, bytes) and (data := strip_checksum(stored)):
                    receipt = msgspec.json.decode(data, type=Receipt)
                    if (receipt.size, receipt.mtime_ns) == before:
                        now = msgspec.structs.replace(receipt, size=size, mtime_ns=mtime_ns)
                        row = (absolute(path), part, sound, add_checksum(now))
                        base.execute("insert or replace into files values (?, ?, ?, ?)", row)
    except (sqlite3.Error, OSError):
        return  # the file is decoded again


def file_stamp(path: str) -> tuple[int, int]:
    """Return (size in bytes, modification time in ns) of a file, (-1, -1) if unknown."""
    if is_url(path):
        return url_stamp(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns
