"""Files in object stores, named by URLs and accessed through fsspec.

fsspec is imported when the first URL is used. Errors of a store's library are raised as
`OSError` with the URL as filename. Why not ``universal_pathlib``: docs/decisions/0019.
"""

import fnmatch
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from songbag.errors import SettingsError

if TYPE_CHECKING:
    import fsspec

PROTOCOLS = ("s3", "gs", "gcs", "abfs", "abfss", "az", "oss", "hdfs")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_LISTED_FROM = 8  # files of one folder from which a listing is cheaper than a request for each


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder in an object store, with the methods of `pathlib.Path` that Songbag needs.

    Examples
    --------
    >>> path = RemotePath("s3://bucket/answers") / "part-1.parquet"
    >>> str(path), path.stem, str(path.parent)
    ('s3://bucket/answers/part-1.parquet', 'part-1', 's3://bucket/answers')
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    def as_posix(self) -> str:
        return self.url

    @property
    def stem(self) -> str:
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    def exists(self) -> bool:
        with _store(self.url) as store:
            return bool(store.exists(self.url))

    def is_dir(self) -> bool:
        """Tell whether names of objects begin with this one and a slash."""
        with _store(self.url) as store:
            return bool(store.isdir(self.url))

    def glob(self, pattern: str) -> "list[RemotePath]":
        """Return files directly in this folder whose names match a pattern."""
        return [self / name for name in self.names(1) if fnmatch.fnmatch(name, pattern)]

    def names(self, depth: int | None = None) -> list[str]:
        """Return the names of all files below this folder, relative to it, sorted.

        The store is asked anew: fsspec caches listings and would miss files of other writers.
        """
        with _store(self.url) as store:
            store.invalidate_cache(self.url)
            root = store._strip_protocol(self.url).rstrip("/")
            paths = store.find(root, maxdepth=depth)
        return sorted(str(path).removeprefix(root).lstrip("/") for path in paths)

    def read_bytes(self) -> bytes:
        with _store(self.url) as store:
            return bytes(store.cat_file(self.url))

    def write_bytes(self, data: bytes) -> None:
        """Write the contents in one request, so that no incomplete object can be seen."""
        with _store(self.url) as store:
            store.pipe_file(self.url, data)

    def unlink(self) -> None:
        with _store(self.url) as store:
            store.rm_file(self.url)


AnyPath: TypeAlias = Path | RemotePath


def parse_path(text: str | Path) -> AnyPath:
    """Return the path that a user named: of this machine, or a URL of an object store."""
    if not is_url(text):
        return Path(text)
    require_store_url(str(text))
    return RemotePath(str(text))


def is_url(text: str | Path) -> bool:
    """Tell whether a text is a URL. A `Path` never is: it has one slash after the colon."""
    return isinstance(text, str) and _URL.match(text) is not None


def absolute(path: str) -> str:
    """Return a name of the file that does not depend on the working directory."""
    return path if is_url(path) else os.path.abspath(path)


def require_store_url(url: str) -> None:
    """Refuse URLs of anything but an object store, chained URLs, and URLs with ``..``."""
    protocol = _URL.match(url)
    if protocol is None or protocol[1] not in PROTOCOLS or "::" in url or "/../" in f"{url}/":
        known = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise SettingsError(f"{url!r} is not in an object store. Known: {known}.")


def files_below(folder: AnyPath) -> list[tuple[AnyPath, PurePath]]:
    """Return all files below a folder, sorted, each with its path relative to the folder."""
    if isinstance(folder, RemotePath):
        return [(folder / name, PurePosixPath(name)) for name in folder.names()]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(file, file.relative_to(folder)) for file in files]


def local_folder(folder: AnyPath, base: Path) -> Path:
    """Return where this machine stores what belongs to a folder: in it, or below ``base``."""
    if isinstance(folder, Path):
        return folder
    return base / "remote" / hashlib.blake2b(folder.url.encode(), digest_size=8).hexdigest()


# --- single files -----------------------------------------------------------------------


def url_stamp(url: str) -> tuple[int, int]:
    """Return a file's size and a number that changes with it, (-1, -1) where the store fails."""
    try:
        with _store(url) as store:
            info = store.info(url)
            size = int(info["size"])
    except OSError:
        return -1, -1
    # Stores report a time, a version or both, each under its own name.
    names = ("LastModified", "ETag", "mtime", "updated", "generation", "last_modified")
    versions = repr([str(info.get(name)) for name in names])
    return size, int.from_bytes(hashlib.blake2b(versions.encode(), digest_size=7).digest())


def prefetch_stamps(paths: Iterable[str]) -> None:
    """List the folders of many URLs once, so that `url_stamp` needs no request for each."""
    counts = Counter(url.rpartition("/")[0] for url in paths if is_url(url))
    for folder, count in counts.items():
        if count >= _LISTED_FROM:
            # An error is ignored here: `url_stamp` meets it again.
            with suppress(OSError), _store(folder) as store:
                store.ls(folder, detail=True, refresh=True)


@contextmanager
def local_copy(url: str, max_bytes: float = float("inf")) -> Iterator[Path]:
    """Download a file and yield the path of a temporary copy, which is removed afterwards.

    Raises
    ------
    OSError
        As for a file.
    OverflowError
        The file has more than ``max_bytes``.
    """
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        suffix = re.sub(r"[^a-zA-Z0-9.]", "", PurePosixPath(url).suffix)[:8]
        copy = Path(folder) / f"copy{suffix}"
        if max_bytes < float("inf"):
            with _store(url) as store:
                size = store.info(url)["size"]
            if size > max_bytes:
                raise OverflowError(f"{size / 1e9:.1f} GB")
        with _store(url) as store:
            store.get_file(url, str(copy))
        yield copy


@contextmanager
def local_file(file: AnyPath) -> Iterator[Path]:
    """Yield a path of this machine with the contents of ``file``."""
    if isinstance(file, Path):
        yield file
        return
    with local_copy(file.url) as copy:
        yield copy


# --- fsspec -----------------------------------------------------------------------------


@contextmanager
def _store(url: str) -> "Iterator[fsspec.AbstractFileSystem]":
    """Yield the file system of a URL; its errors become an `OSError` with the URL."""
    require_store_url(url)
    store = _filesystem(url.partition(":")[0])
    try:
        yield store
    except OSError as error:
        if not error.filename:
            error.filename = url
        raise
    except Exception as error:  # each store's library has its own errors
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
