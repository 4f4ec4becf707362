"""The server of the labelling page: songs of a table, their sound, and decisions on them.

Files are reached by the number of their row, never by a path.
"""

import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path as InPath, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response

from songbag.data.song import Song
from songbag.errors import SongbagError
from songbag.parallel.pool import Worker
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.replies import HTTPError, Reply
from songbag.serving.run import new_app, page, run, server_of
from songbag.serving.security import OneTimeKey, SecurityMiddleware
from songbag.serving.worker_process import FileTask, decode_sound, draw_wave
from songbag.tasks.label import Decision, LabelTable


def serve(
    table: LabelTable, options: ServerOptions, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve the page on which a table is labelled, until Ctrl-C."""
    require_safe(options)

    def create(key: OneTimeKey, on_ready: Callable[[], None]) -> SecurityMiddleware:
        return create_app(table, options, key, on_ready)

    run(table.path.name, create, options, browser, say)


@dataclass(frozen=True)
class _Server:
    """What the routes share."""

    table: LabelTable
    options: ServerOptions
    worker: Worker  # decodes: a file that kills it is a song that cannot be drawn
    busy: threading.Lock

    def song(self, number: int) -> Song:
        if number >= len(self.table.songs):
            raise HTTPError(404, "not_found", f"{self.table.path.name} has no song {number}.")
        return self.table.songs[number]

    def read(self, number: int, work: Callable[[FileTask], Reply]) -> Response:
        """Return what a worker process makes of the file of a song."""
        task = FileTask(path=self.song(number).path, limits=self.options.limits)
        with self.busy:
            try:
                return self.worker.call(work, task, self.options.max_seconds).response()
            except (TimeoutError, BrokenExecutor):
                message = f"{self.song(number).id}: it cannot be decoded, or takes too long."
                raise HTTPError(422, "unreadable", message) from None


Server = Annotated[_Server, Depends(server_of)]
Number = Annotated[int, InPath(ge=0)]
router = APIRouter()


class Decided(BaseModel):
    """A decision: "labelled" with labels, "none" of them, "skipped", or "" to take one back."""

    decision: str
    labels: list[str] = Field(default=[], max_length=1000)
    note: str = Field(default="", max_length=10_000)


def create_app(
    table: LabelTable, options: ServerOptions, key: OneTimeKey, on_ready: Callable[[], None]
) -> SecurityMiddleware:
    """Return the ASGI application on which a table is labelled (see `songbag.serving.run.run`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = Worker()
        app.state.server = _Server(table, options, worker, threading.Lock())
        on_ready()
        try:
            yield
        finally:
            worker.close()

    app = new_app(f"Songs of {table.path.name}, to be labelled.", lifespan, options, key)
    app.include_router(router)
    return SecurityMiddleware(app, options)


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page."""
    return page(request, "label.html")


@router.get("/songs", summary="The songs in their order, and what was decided")
def songs(server: Server) -> dict[str, Any]:
    """A song is known by its number, from 0."""
    table = server.table
    rows = [
        {"id": song.id, "start": song.start, "end": song.end, **decided(table.decision(number))}
        for number, song in enumerate(table.songs)
    ]
    about = {"name": table.path.name, "labels": table.labels, "multilabel": table.multilabel}
    return {**about, "songs": rows}


def decided(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain values."""
    return {"decision": decision.decision, "labels": decision.labels, "note": decision.note}


@router.get("/songs/{number}/audio", summary="The file of a song")
def audio(number: Number, server: Server, decoded: bool = False) -> Response:
    """As it is, which a browser may not be able to play, or `decoded` to WAV."""
    song = server.song(number)
    if decoded:
        return server.read(number, decode_sound)
    if not Path(song.path).is_file():
        raise HTTPError(404, "missing", f"{song.id}: there is no such file.")
    return FileResponse(song.path)


@router.get("/songs/{number}/wave", summary="The waveform of a song")
def wave(number: Number, server: Server) -> Response:
    """`peaks` are the largest magnitudes of equal spans; 1 is full scale."""
    return server.read(number, draw_wave)


@router.post("/songs/{number}", summary="Decide on a song")
def decide(number: Number, decision: Decided, server: Server) -> dict[str, Any]:
    """The answer comes when the decision is on the disk."""
    server.song(number)
    fields = {**decision.model_dump(), "labels": tuple(decision.labels)}
    try:
        server.table.decide(number, Decision(**fields))
    except SongbagError as error:
        raise HTTPError(409, "refused", str(error)) from None
    return decided(server.table.decision(number))
