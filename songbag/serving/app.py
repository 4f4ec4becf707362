"""The server: the page, and the HTTP API with its OpenAPI description.

Answers are made by the code behind ``songbag predict`` and sent as its bytes; nothing here
computes or rounds a number.
"""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from songbag.errors import ModelFileError
from songbag.inference.model_file import Model, load_model
from songbag.inference.predictor import Predictor
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.replies import HTTPError, describe_api, model_description
from songbag.serving.run import new_app, page, run
from songbag.serving.security import OneTimeKey, SecurityMiddleware
from songbag.serving.uploads import receive_upload, upload_folder
from songbag.serving.worker_process import PredictTask, WithoutTask, failed_song
from songbag.serving.workers import PredictionPool


def serve(path: Path, options: ServerOptions, browser: bool, say: Callable[[str], None]) -> None:
    """Serve a model of audio until Ctrl-C, and open its page in a browser if asked to.

    ``say`` takes messages for the person who started the server.
    """
    require_safe(options)
    model = load_model(path)
    if model.card.source != "audio":
        raise ModelFileError(
            f"{path}: it was trained on a table of window features, so it cannot predict songs. "
            "Train a model on audio, or use songbag predict with --song."
        )
    Predictor(model)  # raises for a model that cannot run, before the workers start

    def create(key: OneTimeKey, on_ready: Callable[[], None]) -> SecurityMiddleware:
        return create_app(path.name, model, options, key, on_ready)

    run(path.name, create, options, browser, say)


@dataclass(frozen=True)
class _Server:
    """What the routes share."""

    model: Model
    options: ServerOptions
    pool: PredictionPool
    folder: Path
    description: bytes
    started: float


def _server_of(request: Request) -> _Server:
    server: _Server = request.app.state.server
    return server


Server = Annotated[_Server, Depends(_server_of)]
Flag = Annotated[bool, Query()]
router = APIRouter()


class Removal(BaseModel):
    """Which windows of a song to leave out."""

    kept: str = Field(description="`kept` of the song's answer, unchanged.")
    removed: list[int] = Field(max_length=1_000_000, description="Numbers of windows.")


def create_app(
    name: str,
    model: Model,
    options: ServerOptions,
    key: OneTimeKey,
    on_ready: Callable[[], None],
) -> SecurityMiddleware:
    """Return the ASGI application that serves one model, called ``name`` on the page.

    ``on_ready`` is called once, when every worker process is ready.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool, description = PredictionPool(model, options), model_description(name, model, options)
        with upload_folder() as folder:
            started = time.monotonic()
            app.state.server = _Server(model, options, pool, folder, description, started)
            try:
                await pool.start()
                on_ready()
                yield
            finally:
                await run_in_threadpool(pool.close)

    app = new_app(f"Whole songs to labels, by {name}.", lifespan, options, key)
    app.include_router(router)
    describe_api(app, model.card.labels)
    # Outermost, so that it checks the length before FastAPI's own limit does.
    return SecurityMiddleware(app, options)


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page."""
    return page(request, "index.html")


@router.get("/health", summary="Whether the server is up, and how busy it is")
async def health(server: Server) -> dict[str, Any]:
    """`waiting` counts songs that are uploading or wait; with `places` taken, more get 503."""
    pool, options = server.pool, server.options
    return {
        "status": "ok",
        "model": server.model.hash,
        "at_work": pool.at_work,
        "waiting": pool.reserved - pool.at_work,
        "places": options.workers + options.waiting,
        "uptime_seconds": round(time.monotonic() - server.started, 3),
    }


@router.get("/model", summary="What the model is: labels, settings, figures, limits")
async def model_card(server: Server) -> Response:
    """`columns` are those of a song's row and of a window's row in the answers."""
    return Response(server.description, media_type="application/json")


@router.post("/predict", summary="Predict one song")
async def predict(
    request: Request,
    server: Server,
    windows: Flag = True,
    peaks: Flag = False,
    csv: Flag = False,
    kept: Flag = False,
    tags: Flag = False,
) -> Response:
    """The song's row is that of `songbag predict --json`; parameters add or leave out the rest."""
    pool, options, labels = server.pool, server.options, server.model.card.labels
    with pool.reserve():
        async with receive_upload(request, server.folder, options) as (song_id, path):
            task = PredictTask(
                id=song_id,
                path=str(path),
                limits=options.limits,
                windows=windows,
                peaks=peaks,
                csv=csv,
                cached=kept,
                tags=tags,
            )
            try:
                reply = await pool.run(task)
            except TimeoutError:
                seconds = options.max_seconds
                message = f"{song_id}: it took longer than {seconds:g} s and was stopped"
                raise failed_song(song_id, "too_slow", message, labels, csv) from None
            except BrokenExecutor:
                message = f"{song_id}: the process that read it died; the file is the likely cause"
                raise failed_song(song_id, "worker_died", message, labels, csv) from None
            return reply.response()


@router.post("/without", summary="Pool a song again without some of its windows")
async def without(removal: Removal, server: Server) -> Response:
    """Takes `kept` of an answer to `/predict?kept=true`; the song is not uploaded again."""
    task = WithoutTask(cached=removal.kept, removed=tuple(removal.removed))
    with server.pool.reserve():
        try:
            reply = await server.pool.run(task)
        except (TimeoutError, BrokenExecutor):
            raise HTTPError(422, "too_slow", "That took too long and was stopped.") from None
        return reply.response()
