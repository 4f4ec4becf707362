"""One file out of a multipart body, on the disk only while it is worked on.

While it arrives it lies in an unnamed temporary file, which the system takes back whatever
happens. Its size is limited as it comes in (``max_body_size`` of the route).
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from songbag.serving.options import Terms

_NAME_LETTERS = 200  # of a song's id


_PREFIX = "songbag-serve-"


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Make a folder for files at work; remove it at the end, and what dead servers left."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        lock = _locked(Path(name))
        for other in Path(name).parent.glob(f"{_PREFIX}*"):
            found = None if other == Path(name) else _locked(other)
            if found is not None:  # nobody holds it: its server was killed
                shutil.rmtree(other, ignore_errors=True)
                os.close(found)
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; None where another one has it."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None  # of another user, or gone
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@dataclass(frozen=True)
class Upload:
    """A file that has arrived: what the asker calls it, and where it lies for now."""

    id: str
    path: Path


@asynccontextmanager
async def received(request: Request, folder: Path, terms: Terms) -> AsyncIterator[Upload]:
    """Receive the field ``file`` of a request into a folder; remove it at the end.

    Raises
    ------
    HTTPException
        408 when the client falls silent or trickles, 413 when the body is too large, 400 when it is
        no form, 422 when there is no file in it.
    ClientDisconnect
        The client has gone.
    """
    patient = Request(request.scope, _patient(request.receive, terms))
    async with patient.form(max_files=1, max_fields=1, max_part_size=1024) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(422, "the form has no field 'file' with a file in it")
        handle = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115
        path = Path(handle.name)
        try:
            await asyncio.to_thread(_copy, file.file, handle)
            yield Upload(_song_id(form, file), path)
        finally:
            path.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: "tempfile._TemporaryFileWrapper[bytes]") -> None:
    with target:
        shutil.copyfileobj(source, target, 1 << 20)


def _song_id(form: FormData, file: UploadFile) -> str:
    given = form.get("id")
    name = given if isinstance(given, str) else (file.filename or "").replace("\\", "/")
    name = name if isinstance(given, str) else name.rpartition("/")[2]
    kept = "".join(letter for letter in name if letter.isprintable()).strip()
    return kept[:_NAME_LETTERS] or "song"


def _patient(
    receive: Callable[[], Awaitable[Message]], terms: Terms
) -> Callable[[], Awaitable[Message]]:
    until = time.monotonic() + terms.upload_seconds

    async def next_message() -> Message:
        seconds = min(terms.idle_seconds, until - time.monotonic())
        try:
            return await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            raise HTTPException(
                408,
                f"an upload must not pause for {terms.idle_seconds:g} s, nor take "
                f"{terms.upload_seconds:g} s",
            ) from None

    return next_message
