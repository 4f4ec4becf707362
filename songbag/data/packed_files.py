"""The files of a packed collection: shards of frames, songs.parquet and collection.json.

::

    <folder>/frames-00000-<key>.safetensors   shards: the frames of many songs
    <folder>/songs.parquet                    the manifest: a row a song, failed songs too
    <folder>/collection.json                  settings, and the checksum of every file

collection.json is written last: a folder without it is not finished, and a file that it does
not name is refused.

A shard is a safetensors file with one tensor, ``frames`` (rows, bands) float32: songs behind
one another. Its header lists the checksum of every song, so the checksum of the header stands
for the whole file: opening reads the header alone, and a song is checked when it is read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongbagError, SongTableError
from songbag.settings import Excerpt, Record, Sound
from songbag.storage.files import atomic_write, content_hash, write_bytes

ABOUT, MANIFEST, SHARD = "collection.json", "songs.parquet", "frames-{:05d}-{}.safetensors"
FORMAT = 1
FACTS = (
    *("id", "label", "artist", "split", "path", "start", "end", "status", "reason", "message"),
    *("shard", "first", "frames", "samples", "level_db", "warnings", "content", "checksum"),
)
_GROUP_ROWS = 16_384  # songs in a row group
_OWN = "own_"  # before a user's column that is called as one of FACTS


class Entry(Record, frozen=True):
    """One shard: its file, the frames in it, and the checksum of its header."""

    file: str
    rows: int
    checksum: str


class Collection(Record, frozen=True):
    """The settings of the frames of a folder, and the files that belong to it."""

    format: int
    songbag: str  # version that wrote it
    recipe: str  # its name; only a help for messages
    sound: Sound
    excerpt: Excerpt
    multilabel: bool
    songs: int  # rows of the manifest, failed songs too
    manifest: str  # hash of songs.parquet
    shards: tuple[Entry, ...]
    checksum: str = ""  # of all the others

    def sealed(self) -> "Collection":
        """Return it with its checksum."""
        data = msgspec.json.encode(msgspec.structs.replace(self, checksum=""))
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return msgspec.structs.replace(self, checksum=digest)


def is_packed(path: str | Path) -> bool:
    """Tell whether a path is a packed collection, finished or not."""
    folder = Path(path)
    return (folder / ABOUT).is_file() or any(folder.glob("frames-?????-*.safetensors"))


def read_collection(folder: Path) -> Collection:
    """Read collection.json and compare songs.parquet with it."""
    file = folder / ABOUT
    if not file.is_file():
        raise SongTableError(f"{folder}: not packed to the end. Repeat the songbag pack command.")
    try:
        value = msgspec.json.decode(file.read_bytes())
        if value["format"] > FORMAT:
            raise SongTableError(f"{file}: packed by Songbag {value['songbag']}, a newer one.")
        about = msgspec.convert(value, Collection)
        intact = about.sealed() == about
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise SongTableError(f"{file}: damaged. Repeat the songbag pack command.")
    if not (folder / MANIFEST).is_file() or content_hash(folder / MANIFEST) != about.manifest:
        raise SongTableError(
            f"{folder / MANIFEST}: not the file that {ABOUT} names: damaged, changed, or packing "
            "was stopped. Repeat the songbag pack command."
        )
    return about


def write_collection(folder: Path, about: Collection) -> None:
    """Write collection.json: from now on the folder is what it says."""
    data = msgspec.json.encode(about.sealed())
    write_bytes(folder / ABOUT, msgspec.json.format(data, indent=1) + b"\n")


def write_manifest(folder: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    """Write songs.parquet from `FACTS` and a user's columns, and return its hash."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("start", "end", "level_db"), pyarrow.float64()),
        **dict.fromkeys(("shard", "frames"), pyarrow.int32()),
        **dict.fromkeys(("first", "samples"), pyarrow.int64()),
        "warnings": pyarrow.list_(pyarrow.string()),
        "checksum": pyarrow.binary(16),
    }  # all others are text
    arrays = {
        name: pyarrow.array(columns[name], kinds.get(name, pyarrow.string()))
        for name in (*FACTS, *(name for name in columns if name not in FACTS))
    }
    with atomic_write(folder / MANIFEST) as file:
        parquet.write_table(
            pyarrow.table(arrays), file, compression="zstd", row_group_size=_GROUP_ROWS
        )
    return content_hash(folder / MANIFEST)


def own_name(column: str) -> str:
    """Return what a user's column is called in songs.parquet."""
    return f"{_OWN}{column}" if column in FACTS or column.startswith(_OWN) else column


def users_name(name: str) -> str:
    """Return what a column of songs.parquet is called by the user."""
    return name.removeprefix(_OWN)


# --- shards ---

Frames = NDArray[np.float32]
_MOST_HEADER_BYTES = 100_000_000  # as much as safetensors reads
_CHECKSUM_BYTES = 16


class DamagedShardError(SongbagError):
    """A shard is missing, cut short, or not what was written."""


@dataclass(frozen=True)
class Shard:
    """What the header of a shard says."""

    path: Path
    rows: int  # frames of all songs together
    bands: int
    checksums: tuple[bytes, ...]  # one a song, in their order, see `frames_checksum`
    checksum: str  # of the header, 32 hexadecimal digits: it vouches for all songs
    offset: int  # first byte of the frames

    def map(self) -> Frames:
        """Return all frames (rows, bands) as a view of the file; nothing is read yet."""
        if self.rows == 0:
            return np.zeros((0, self.bands), dtype=np.float32)
        shape = (self.rows, self.bands)
        return np.asarray(np.memmap(self.path, np.float32, "r", self.offset, shape))

    def is_intact(self, counts: Sequence[int]) -> bool:
        """Read all songs, of so many frames each, and compare them with their checksums."""
        songs = np.split(self.map(), np.cumsum(counts)[:-1])
        pairs = zip(songs, self.checksums, strict=True)
        return all(frames_checksum(song) == checksum for song, checksum in pairs)


def frames_checksum(frames: Frames) -> bytes:
    """Return the BLAKE2b digest (16 bytes) of frames (frames, bands)."""
    return hashlib.blake2b(np.ascontiguousarray(frames).data, digest_size=_CHECKSUM_BYTES).digest()


def write_shard(path: Path, counts: Sequence[int], bands: int, songs: Iterable[Frames]) -> Shard:
    """Write songs behind one another, whole or not at all; one song is in memory at a time.

    ``counts`` are the frames of each song: the header is written before the first song is asked
    for, and again, with the checksums, after the last.
    """
    checksums: list[bytes] = []
    with atomic_write(path) as file:
        file.write(_header(sum(counts), bands, bytes(_CHECKSUM_BYTES * len(counts))))
        for count, frames in zip(counts, songs, strict=True):
            if frames.shape != (count, bands):
                raise ValueError(f"a song of shape {frames.shape}; planned was {count, bands}")
            data = np.ascontiguousarray(frames, dtype="<f4")
            checksums.append(frames_checksum(data))
            file.write(data.data)
        file.seek(0)
        file.write(_header(sum(counts), bands, b"".join(checksums)))
    return read_shard(path)


def _header(rows: int, bands: int, checksums: bytes) -> bytes:
    about = {
        "__metadata__": {"checksums": checksums.hex()},
        "frames": {"dtype": "F32", "shape": [rows, bands], "data_offsets": [0, 4 * rows * bands]},
    }
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # frames begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


class _About(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__")
    frames: _Tensor


def read_shard(path: Path) -> Shard:
    """Return what a shard's header says, or refuse a file that is missing, none, or cut short."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            text = file.read(length)
            size = os.fstat(file.fileno()).st_size
        about = msgspec.json.decode(text, type=_About)
        listed = bytes.fromhex(about.metadata["checksums"])
    except (OSError, ValueError, KeyError) as error:
        raise DamagedShardError(f"{path}: no shard of frames ({error})") from None
    (rows, bands), offset = about.frames.shape, 8 + length
    expected = offset + 4 * rows * bands
    if about.frames.dtype != "F32" or min(rows, bands) < 0 or size != expected:
        raise DamagedShardError(f"{path}: it has {size} bytes, its header says {expected}")
    places = range(0, len(listed), _CHECKSUM_BYTES)
    checksums = tuple(listed[place : place + _CHECKSUM_BYTES] for place in places)
    checksum = hashlib.blake2b(text, digest_size=_CHECKSUM_BYTES).hexdigest()
    return Shard(path, rows, bands, checksums, checksum, offset)
