"""What lies in an object store: named by a URL, read and written through fsspec.

fsspec is imported when the first URL is met, never before. A `RemotePath` has those
methods of a `pathlib.Path` that Songbag needs of the folders it writes to. Everything that
goes wrong is an `OSError` with the URL, whatever library it comes from.
"""

import fnmatch
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from songbag.errors import SettingsError

if TYPE_CHECKING:
    import fsspec

STORES = ("s3", "gs", "gcs", "abfs", "abfss", "az", "oss", "hdfs")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_SEVERAL = 8  # files of one folder from which listing it is cheaper than asking for each


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder behind a URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, more: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{more}")

    def as_posix(self) -> str:
        """Return the URL."""
        return self.url

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        """The ending."""
        return PurePosixPath(self.url).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder it lies in."""
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is something."""
        with _plainly(self.url):
            return bool(_store(self.url).exists(self.url))

    def is_dir(self) -> bool:
        """Whether it is the beginning of other names."""
        with _plainly(self.url):
            return bool(_store(self.url).isdir(self.url))

    def glob(self, pattern: str) -> "list[RemotePath]":
        """Files of this folder by a pattern for their names, without those below it."""
        return [self / name for name in self.names(1) if fnmatch.fnmatch(name, pattern)]

    def names(self, depth: int | None = None) -> list[str]:
        """Files to a depth, all by default, by their names below this folder, sorted."""
        with _plainly(self.url):
            store = _store(self.url)
            store.invalidate_cache(self.url)
            root = store._strip_protocol(self.url).rstrip("/")
            found = store.find(root, maxdepth=depth)
        return sorted(str(path).removeprefix(root).lstrip("/") for path in found)

    def read_bytes(self) -> bytes:
        """Return all that is in it."""
        with _plainly(self.url):
            return bytes(_store(self.url).cat_file(self.url))

    def write_bytes(self, data: bytes) -> None:
        """Write it whole: object stores know no half-written objects."""
        with _plainly(self.url):
            _store(self.url).pipe_file(self.url, data)

    def unlink(self) -> None:
        """Remove it."""
        with _plainly(self.url):
            _store(self.url).rm_file(self.url)


Place: TypeAlias = Path | RemotePath


def place(text: str | Path) -> Place:
    """Return what a user's word names: a URL or a path of this machine.

    Raises
    ------
    SettingsError
        The URL is of no object store.
    """
    if not is_url(text):
        return Path(text)
    refuse_foreign(str(text))
    return RemotePath(str(text))


def is_url(text: str | Path) -> bool:
    """Tell whether a word is a URL. A `Path` never is: it has lost the second slash."""
    return isinstance(text, str) and _URL.match(text) is not None


def whole(path: str) -> str:
    """Return the name of a file from everywhere."""
    return path if is_url(path) else os.path.abspath(path)


def refuse_foreign(url: str) -> None:
    """Refuse URLs of anything but an object store, and URLs in URLs.

    Raises
    ------
    SettingsError
    """
    found = _URL.match(url)
    if found is None or found[1] not in STORES or "::" in url or "/../" in f"{url}/":
        known = ", ".join(f"{name}://" for name in STORES)
        raise SettingsError(f"{url!r} is not in an object store. Known: {known}.")


def files_below(folder: Place) -> list[tuple[Place, PurePath]]:
    """Return all files below a folder, sorted, each with its name below it."""
    if isinstance(folder, RemotePath):
        return [(folder / name, PurePosixPath(name)) for name in folder.names()]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(file, file.relative_to(folder)) for file in files]


def local_side(folder: Place, base: Path) -> Path:
    """Return where this machine remembers things about a folder: in it, if it is here."""
    if isinstance(folder, Path):
        return folder
    return base / "remote" / hashlib.blake2b(folder.url.encode(), digest_size=8).hexdigest()


# --- single files -----------------------------------------------------------------------


def stamp(url: str) -> tuple[int, int]:
    """Return (size, a number that changes with the file), (-1, -1) when it cannot be asked."""
    try:
        with _plainly(url):
            return _stamp(_store(url).info(url))
    except OSError:
        return -1, -1


def look_ahead(paths: Iterable[str]) -> None:
    """List the folders of many URLs once, so that `stamp` need not ask for each."""
    counts: dict[str, int] = {}
    for url in filter(is_url, paths):
        folder = url.rpartition("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    for folder, count in counts.items():
        if count >= _SEVERAL:
            try:
                with _plainly(folder):
                    _store(folder).ls(folder, detail=True, refresh=True)
            except OSError:
                continue  # each is asked for, and says why not


def _stamp(info: dict[str, Any]) -> tuple[int, int]:
    # Stores name a time, a version or both, each under its own name.
    names = ("LastModified", "ETag", "mtime", "updated", "generation", "last_modified")
    marks = repr([str(info.get(name)) for name in names])
    digest = hashlib.blake2b(marks.encode(), digest_size=7).digest()
    return int(info["size"]), int.from_bytes(digest)


@contextmanager
def local_copy(url: str, most: float = float("inf")) -> Iterator[Path]:
    """Fetch a file, yield its temporary copy, and remove that.

    Raises
    ------
    FileNotFoundError, PermissionError, OSError
        As for a file; ``OverflowError`` when it has more than ``most`` bytes.
    """
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        ending = re.sub(r"[^a-zA-Z0-9.]", "", PurePosixPath(url).suffix)[:8]
        copy = Path(folder) / f"copy{ending}"
        with _plainly(url):
            store = _store(url)
            if most < float("inf") and (size := store.info(url)["size"]) > most:
                raise OverflowError(f"{size / 1e9:.1f} GB")
            store.get_file(url, str(copy))
        yield copy


@contextmanager
def here(file: Place) -> Iterator[Path]:
    """Yield a file of this machine with the same contents."""
    if isinstance(file, Path):
        yield file
        return
    with local_copy(file.url) as copy:
        yield copy


# --- fsspec -----------------------------------------------------------------------------


@contextmanager
def _plainly(url: str) -> Iterator[None]:
    """Turn what libraries of stores raise into an `OSError` with the URL."""
    try:
        yield
    except OSError as error:
        if not error.filename:
            error.filename = url
        raise
    except (OverflowError, SettingsError):
        raise
    except Exception as error:  # each store's library has its own family
        raise OSError(f"{url}: {error!r:.300}") from None


@cache
def _filesystem(protocol: str) -> "fsspec.AbstractFileSystem":
    try:
        import fsspec

        return fsspec.filesystem(protocol)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"{protocol}:// cannot be opened: {error}. pip install 'songbag[cluster]', and the "
            "package of this store if it is not S3."
        ) from None


def _store(url: str) -> "fsspec.AbstractFileSystem":
    refuse_foreign(url)
    return _filesystem(url.partition(":")[0])
