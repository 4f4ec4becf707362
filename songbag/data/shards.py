"""Shards: the frames of many songs in one immutable file that is mapped, not read.

A shard is a safetensors file with one tensor, ``frames`` (rows, bands) float32: songs
behind one another. Its header lists the checksum of every song, so the checksum of the
header stands for the whole file: opening reads the header alone, whatever the size, and
a song is checked when it is read.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongbagError
from songbag.storage.files import atomic_write

Frames = NDArray[np.float32]
_LENGTH = struct.Struct("<Q")
_MOST_HEADER_BYTES = 100_000_000  # as much as safetensors reads
_CHECKSUM_BYTES = 16


class DamagedShardError(SongbagError):
    """A shard is missing, cut short, or not what was written."""


@dataclass(frozen=True)
class Shard:
    """What the header of a shard says.

    Attributes
    ----------
    path : Path
    rows, bands : int
        Frames of all songs together, and values per frame.
    checksums : tuple of bytes
        One a song, in their order (see `frames_checksum`).
    checksum : str
        Of the header, 32 hexadecimal digits: it vouches for all songs.
    offset : int
        First byte of the frames.
    """

    path: Path
    rows: int
    bands: int
    checksums: tuple[bytes, ...]
    checksum: str
    offset: int

    def map(self) -> Frames:
        """Return all frames (rows, bands) as a view of the file; nothing is read yet."""
        if self.rows == 0:
            return np.zeros((0, self.bands), dtype=np.float32)
        with open(self.path, "rb") as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        values = np.frombuffer(view, np.float32, self.rows * self.bands, self.offset)
        return values.reshape(self.rows, self.bands)


def frames_checksum(frames: Frames) -> bytes:
    """Return 16 bytes (BLAKE2b) that change with any bit of frames (frames, bands)."""
    return hashlib.blake2b(np.ascontiguousarray(frames).data, digest_size=_CHECKSUM_BYTES).digest()


def write_shard(path: Path, counts: Sequence[int], bands: int, songs: Iterable[Frames]) -> Shard:
    """Write songs behind one another, whole or not at all; one song is in memory at a time.

    Parameters
    ----------
    counts : sequence of int
        Frames of each song.
    songs : iterable of ndarray, shape (frames, bands)
    """
    checksums: list[bytes] = []
    nothing = [bytes(_CHECKSUM_BYTES)] * len(counts)
    with atomic_write(path) as file:
        file.write(_header(counts, bands, nothing))  # as long as the true one, written last
        for count, frames in zip(counts, songs, strict=True):
            if frames.shape != (count, bands):
                raise ValueError(f"a song of shape {frames.shape}; planned was {count, bands}")
            data = np.ascontiguousarray(frames, dtype="<f4")
            checksums.append(frames_checksum(data))
            file.write(data.data)
        file.seek(0)
        file.write(_header(counts, bands, checksums))
    return read_shard(path)


def _header(counts: Sequence[int], bands: int, checksums: Sequence[bytes]) -> bytes:
    rows = sum(counts)
    about = {
        "__metadata__": {"checksums": b"".join(checksums).hex()},
        "frames": {"dtype": "F32", "shape": [rows, bands], "data_offsets": [0, 4 * rows * bands]},
    }
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # frames begin at a multiple of eight
    return _LENGTH.pack(len(text)) + text


class _About(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__")
    frames: "_Tensor"


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


def read_shard(path: Path) -> Shard:
    """Return what a shard's header says, after a look at the file's size.

    Raises
    ------
    DamagedShardError
        It is missing, no shard, or cut short.
    """
    try:
        with open(path, "rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            if length > _MOST_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            text = file.read(length)
            size = os.fstat(file.fileno()).st_size
        about = msgspec.json.decode(text, type=_About)
        listed = bytes.fromhex(about.metadata["checksums"])
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise DamagedShardError(f"{path}: no shard of frames ({error})") from None
    (rows, bands), offset = about.frames.shape, _LENGTH.size + length
    expected = offset + 4 * rows * bands
    if about.frames.dtype != "F32" or min(rows, bands) < 0 or size != expected:
        raise DamagedShardError(f"{path}: it has {size} bytes, its header says {expected}")
    places = range(0, len(listed), _CHECKSUM_BYTES)
    checksums = tuple(listed[place : place + _CHECKSUM_BYTES] for place in places)
    checksum = hashlib.blake2b(text, digest_size=_CHECKSUM_BYTES).hexdigest()
    return Shard(path, rows, bands, checksums, checksum, offset)
