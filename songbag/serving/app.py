"""The server: the page, and the HTTP API with its OpenAPI description.

Answers are made by the code behind ``songbag predict`` and sent as its bytes; nothing here
computes or rounds a number.
"""

import mimetypes
import socket
import time
import webbrowser
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from songbag import __version__
from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import Model, load_model
from songbag.inference.predictor import Predictor
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.replies import HTTPError, describe_api, model_description
from songbag.serving.security import OneTimeKey, SecurityMiddleware, too_large
from songbag.serving.uploads import receive_upload, upload_folder
from songbag.serving.worker_process import PredictTask, WithoutTask, failed_song
from songbag.serving.workers import PredictionPool

_STATIC = Path(str(resources.files("songbag.serving") / "static"))
_STOP_SECONDS = 5  # for songs at work when Ctrl-C comes
# Reasons of the errors that Starlette raises itself.
_REASONS = {400: "bad_request", 404: "not_found", 405: "bad_method"}
mimetypes.add_type("text/javascript", ".js")  # the Windows registry may have another type


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
    listener = _listen(options)
    key = OneTimeKey(options.token)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{listener.getsockname()[1]}/"
    if options.token is not None:
        address += f"#key={key.text}"

    def on_ready() -> None:
        say(f"{path.name} is at {address}")
        say("Ctrl-C stops it.")
        if browser:
            webbrowser.open(address)

    config = uvicorn.Config(
        create_app(path.name, model, options, key, on_ready),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn shuts down at Ctrl-C and then raises it again.
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the server could not start; its messages above say why.")
    say("Stopped.")


def _listen(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"{options.host} port {options.port} is not available ({error.strerror or error}). "
            "Another server may use it; --port 0 takes a free port."
        ) from None


@dataclass(frozen=True)
class _Server:
    """What the routes share."""

    model: Model
    options: ServerOptions
    key: OneTimeKey
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


class Key(BaseModel):
    """A one-time key from the address that the server printed."""

    key: str


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
            app.state.server = _Server(model, options, key, pool, folder, description, started)
            try:
                await pool.start()
                on_ready()
                yield
            finally:
                await run_in_threadpool(pool.close)

    async def answer_error(_: Request, error: Exception) -> Response:
        return as_http_error(error, options).reply.response()

    app = FastAPI(
        title="Songbag",
        version=__version__,
        description=f"Whole songs to labels, by {name}.",
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=options.max_body_bytes,
    )
    for kind in (HTTPError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer_error)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.include_router(router)
    describe_api(app, model.card.labels)
    # Outermost, so that it checks the length before FastAPI's own limit does.
    return SecurityMiddleware(app, options)


def as_http_error(error: Exception, options: ServerOptions) -> HTTPError:
    """Return what the client gets for an exception in a route or in the framework."""
    match error:
        case HTTPError():
            return error
        case HTTPException(status_code=413):
            return too_large(options)
        case HTTPException(status_code=status, detail=detail, headers=headers):
            reason = _REASONS.get(status, "refused")
            return HTTPError(status, reason, str(detail), dict(headers or {}))
        case RequestValidationError():
            faults = (f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
            return HTTPError(422, "bad_request", "; ".join(faults))
        case ClientDisconnect():  # the answer is not read
            return HTTPError(499, "disconnected", "The client closed the connection.")
        case _:
            return HTTPError(500, "internal", "The server failed; its log has the details.")


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page, with the nonce of this answer's content policy."""
    page = (_STATIC / "index.html").read_text(encoding="utf-8")
    return Response(page.replace("NONCE", request.scope["nonce"]), media_type="text/html")


@router.post("/session", include_in_schema=False)
async def session(key: Key, server: Server) -> dict[str, str]:
    """Exchange a one-time key for the token."""
    token = server.key.exchange(key.key)
    if token is None:
        message = "This key was used before, or is wrong. Restart the server to get a new one."
        raise HTTPError(403, "refused", message)
    return {"token": token}


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
