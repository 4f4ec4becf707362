"""Download the archives of a data set: checked, gone on with, unpacked whole or not at all.

pooch gives a file its final name only when its checksum is right; it does not go on with a
download that was cut off, so `Resumed` does that for it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbag.console import Console
from songbag.errors import DownloadError, SettingsError
from songbag.known.data_set import Archive, DataSet

_BLOCK = 1 << 16  # bytes written at once; of a block that is cut off nothing is kept
_SECONDS = 10.0  # between two lines of progress
_TIMEOUT = 60.0  # seconds without an answer
_ROOM = 2.2  # an archive and what it holds, in sizes of the archive


def get(data: DataSet, folder: Path, console: Console) -> Path:
    """Download and unpack the archives of a data set; return the folder that holds it.

    A folder that is unpacked already is left as it is; an archive is downloaded on from where it
    stopped.

    Raises
    ------
    SettingsError
        The data set is not downloaded (its ``manual`` says how to get it), or pooch is missing.
    DownloadError
        There is no room, the network failed, or the file is not the one that was published.
    """
    if not data.files:
        raise SettingsError(f"{data.title} is not downloaded. {data.manual}")
    folder.mkdir(parents=True, exist_ok=True)
    for archive in data.files:
        if (folder / archive.folder).exists():
            console.say(f"{folder / archive.folder}: it is there already")
            continue
        free, needed = shutil.disk_usage(folder).free, int(_ROOM * archive.megabytes * 1e6)
        if free < needed:
            raise DownloadError(
                f"{folder}: {free / 1e9:.1f} GB are free, and {archive.name} needs about "
                f"{needed / 1e9:.1f} GB with what is in it. Name a folder on a larger disk."
            )
        path = download(archive, folder, console.say)
        console.say(f"unpacking {path}")
        unpack(path, folder, archive.folder)
    # Several archives lie side by side; one alone is the data set.
    return folder if len(data.files) > 1 else folder / data.files[0].folder


def download(archive: Archive, folder: Path, say: Callable[[str], None]) -> Path:
    """Download an archive to ``folder`` unless it is there; return its path."""
    try:
        import pooch
        import requests
    except ImportError as error:
        raise SettingsError(
            f"songbag data get needs the package {error.name}: pip install 'songbag[data]'."
        ) from None
    pooch.get_logger().setLevel("ERROR")  # what is to be said is said here
    part = folder / f"{archive.name}.part"
    try:
        downloaded: str = pooch.retrieve(
            archive.url, archive.hash, archive.name, folder, downloader=Resumed(part, say)
        )
    except requests.RequestException as error:
        size = part.stat().st_size / 1e6 if part.exists() else 0.0
        raise DownloadError(
            f"{archive.url}: the download stopped after {size:.0f} MB ({error}). The same command "
            "goes on from there."
        ) from None
    except ValueError:
        raise DownloadError(
            f"{archive.url}: what came is not what was published ({archive.hash}); it was "
            "removed. Download again; if it happens twice, the file has changed there. A folder "
            "that you unpack yourself is checked by songbag data table."
        ) from None
    return Path(downloaded)


@dataclass(frozen=True)
class Resumed:
    """A downloader for pooch that goes on with ``part``, the file of a download cut off."""

    part: Path
    say: Callable[[str], None]

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download ``url`` and move it to ``output_file`` when it is whole."""
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        wanted = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=wanted, stream=True, timeout=_TIMEOUT) as reply:
            if reply.status_code == 416:  # nothing is behind what is here: it was whole
                os.replace(self.part, output_file)
                return
            reply.raise_for_status()
            if reply.status_code != 206:  # a server that sends all of it again
                have = 0
            total = have + int(reply.headers.get("Content-Length", 0))
            self.say(f"{url}: {total / 1e6:.0f} MB" + (f", {have / 1e6:.0f} here" if have else ""))
            said = time.monotonic()
            with open(self.part, "ab" if have else "wb") as file:
                for block in reply.iter_content(_BLOCK):
                    have += file.write(block)
                    if time.monotonic() - said > _SECONDS:
                        self.say(f"{have / 1e6:.0f} of {total / 1e6:.0f} MB")
                        said = time.monotonic()
        os.replace(self.part, output_file)


def unpack(archive: Path, folder: Path, inside: str) -> None:
    """Unpack the folder that an archive holds; it has its name only when all of it is there."""
    place = Path(tempfile.mkdtemp(prefix=f".{inside}-", dir=folder))
    try:
        if archive.suffix == ".zip":
            shutil.unpack_archive(archive, place)
        else:  # what tar can name outside of the folder is refused; zip cannot
            shutil.unpack_archive(archive, place, filter="data")
        if not (place / inside).is_dir():
            raise DownloadError(f"{archive}: there is no folder {inside} in it.")
        os.rename(place / inside, folder / inside)
    except (OSError, EOFError, shutil.ReadError) as error:
        raise DownloadError(f"{archive}: it cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
