"""Receives the songs of a request, each of which has a name on disk only while it is worked on.

While they arrive they are unnamed temporary files, which the system removes even if the
server is killed. The app limits the size of a request as it comes in (``max_body_size``).
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive

from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError

MAX_FILES = 32  # of one request
_MAX_ID_LETTERS = 200
_PREFIX = "songbag-serve-"


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Make a temporary folder and remove it at the end; remove those of killed servers too."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lock = _lock_folder(folder)
        for other in folder.parent.glob(f"{_PREFIX}*"):
            other_lock = None if other == folder else _lock_folder(other)
            if other_lock is not None:  # its server no longer runs
                shutil.rmtree(other, ignore_errors=True)
                os.close(other_lock)
        try:
            yield folder
        finally:
            if lock is not None:
                os.close(lock)


def _lock_folder(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; None if another process has it."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None  # of another user, or removed meanwhile
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@dataclass(frozen=True)
class Upload:
    """One song of a request."""

    id: str
    file: BinaryIO  # unnamed

    @asynccontextmanager
    async def on_disk(self, folder: Path) -> AsyncIterator[Path]:
        """Give the file a name in a folder, and remove it at the end."""
        target = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115
        path = Path(target.name)
        try:
            with target:
                await asyncio.to_thread(shutil.copyfileobj, self.file, target, 1 << 20)
            yield path
        finally:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def receive_uploads(
    request: Request, id: str | None, options: ServerOptions
) -> AsyncIterator[list[Upload]]:
    """Receive the songs of a request: the fields ``file`` of a form, or else the body itself.

    Besides an `HTTPError` for a slow client or a missing file, Starlette raises an
    HTTPException for a body that is too large or not the form it says it is, and
    ClientDisconnect.
    """
    timed = Request(request.scope, _with_deadlines(request.receive, options))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        with tempfile.TemporaryFile() as file:
            async for block in timed.stream():
                await asyncio.to_thread(file.write, block)
            if not file.tell():
                message = "The request has no body. Send a song, or a form with a field 'file'."
                raise HTTPError(422, "bad_request", message)
            file.seek(0)
            yield [Upload(song_id(id, ""), file)]
        return
    limits = {"max_files": MAX_FILES, "max_fields": MAX_FILES, "max_part_size": 1024}
    async with timed.form(**limits) as form:
        files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        ids = [part for part in form.getlist("id") if isinstance(part, str)]
        if not files:
            message = "The form has no field 'file' with a file in it."
            raise HTTPError(422, "bad_request", message)
        if ids and len(ids) != len(files):
            message = f"The form has {len(files)} files and {len(ids)} ids; give all ids, or none."
            raise HTTPError(422, "bad_request", message)
        yield [
            Upload(song_id(ids[k] if ids else None, file.filename or ""), file.file)
            for k, file in enumerate(files)
        ]


def song_id(form_id: str | None, filename: str) -> str:
    """Return a song's id: that of the form, or else the file's name without its folders.

    Letters that cannot be printed are left out.
    """
    name = filename.replace("\\", "/").rpartition("/")[2] if form_id is None else form_id
    printable = "".join(letter for letter in name if letter.isprintable()).strip()
    return printable[:_MAX_ID_LETTERS] or "song"


def _with_deadlines(receive: Receive, options: ServerOptions) -> Receive:
    """Return ``receive`` with a limit on each pause and on the whole upload."""
    deadline = time.monotonic() + options.upload_seconds

    async def receive_in_time() -> Message:
        seconds = min(options.idle_seconds, deadline - time.monotonic())
        try:
            return await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            message = (
                f"An upload must not pause for {options.idle_seconds:g} s, nor take longer than "
                f"{options.upload_seconds:g} s."
            )
            raise HTTPError(408, "too_slow_upload", message) from None

    return receive_in_time
