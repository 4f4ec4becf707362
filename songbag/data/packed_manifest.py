"""What a packed collection says of itself: songs.parquet, a row a song, and collection.json.

::

    <folder>/frames-00000-<key>.safetensors   shards (see `songbag.data.shards`)
    <folder>/songs.parquet                    who: a row a song, failed songs too
    <folder>/collection.json                  how it was heard, and the checksum of every file

collection.json is written last: a folder without it is not finished, and what lies beside
it is what it names, or is refused.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from songbag.errors import SongTableError
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
    """How the songs of a folder were heard, and which files belong to it.

    Attributes
    ----------
    format : int
    songbag : str
        Version that wrote it.
    recipe : str
        Name of the recipe it was packed for; only a help for messages.
    sound, excerpt
        What a recipe must have to learn from these frames.
    multilabel : bool
    songs : int
        Rows of the manifest, failed songs too.
    manifest : str
        Hash of songs.parquet.
    shards : tuple of Entry
    checksum : str
        Of all the others.
    """

    format: int
    songbag: str
    recipe: str
    sound: Sound
    excerpt: Excerpt
    multilabel: bool
    songs: int
    manifest: str
    shards: tuple[Entry, ...]
    checksum: str = ""

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
    """Read collection.json and hold songs.parquet against it.

    Raises
    ------
    SongTableError
        Not finished, damaged, or of a newer Songbag.
    """
    file = folder / ABOUT
    if not file.is_file():
        raise SongTableError(f"{folder}: not packed to the end. Repeat the songbag pack command.")
    try:
        value = msgspec.json.decode(file.read_bytes())
        if value["format"] > FORMAT:
            raise SongTableError(f"{file}: packed by Songbag {value['songbag']}, a newer one.")
        found = msgspec.convert(value, Collection)
        intact = found.sealed() == found
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise SongTableError(f"{file}: damaged. Repeat the songbag pack command.")
    if not (folder / MANIFEST).is_file() or content_hash(folder / MANIFEST) != found.manifest:
        raise SongTableError(
            f"{folder / MANIFEST}: not the file that {ABOUT} names: damaged, changed, or packing "
            "was stopped. Repeat the songbag pack command."
        )
    return found


def write_collection(folder: Path, about: Collection) -> None:
    """Write collection.json: from now on the folder is what it says."""
    data = msgspec.json.encode(about.sealed())
    write_bytes(folder / ABOUT, msgspec.json.format(data, indent=1) + b"\n")


def write_manifest(folder: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    """Write songs.parquet from `FACTS` and a user's columns, and return its hash."""
    import pyarrow
    from pyarrow import parquet

    kinds = _kinds(pyarrow)
    arrays = {
        name: pyarrow.array(columns[name], kinds.get(name, pyarrow.string()))
        for name in (*FACTS, *(name for name in columns if name not in FACTS))
    }
    with atomic_write(folder / MANIFEST) as file:
        parquet.write_table(
            pyarrow.table(arrays), file, compression="zstd", row_group_size=_GROUP_ROWS
        )
    return content_hash(folder / MANIFEST)


def _kinds(pyarrow: Any) -> dict[str, Any]:
    """Arrow types of the columns that are not text."""
    return {
        "start": pyarrow.float64(),
        "end": pyarrow.float64(),
        "shard": pyarrow.int32(),
        "first": pyarrow.int64(),
        "frames": pyarrow.int32(),
        "samples": pyarrow.int64(),
        "level_db": pyarrow.float64(),
        "warnings": pyarrow.list_(pyarrow.string()),
        "checksum": pyarrow.binary(16),
    }


def own_name(column: str) -> str:
    """Return what a user's column is called in songs.parquet."""
    return f"{_OWN}{column}" if column in FACTS or column.startswith(_OWN) else column


def users_name(name: str) -> str:
    """Return what a column of songs.parquet is called by the user."""
    return name.removeprefix(_OWN)


def require_arrow() -> None:
    """Refuse to go on without pyarrow, saying how to install it."""
    from importlib.util import find_spec

    # Its own allocators keep 15 MB of what they gave back; whoever wants one sets it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

    if find_spec("pyarrow") is None:
        raise SongTableError(
            "packed collections need pyarrow. Install it with: pip install 'songbag[parquet]'"
        )
