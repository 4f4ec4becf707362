"""The addresses of the server and what they answer."""

import time
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from songbag.inference.model_file import Model
from songbag.serving.hosted_models import HostedModels
from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError, Reply, model_description
from songbag.serving.request_metrics import Metrics
from songbag.serving.run import page, server_of
from songbag.serving.uploads import Upload, receive_uploads
from songbag.serving.worker_process import PredictTask, WithoutTask, failed_song
from songbag.serving.workers import PredictionPool


@dataclass(frozen=True)
class ServerState:
    """What the routes share."""

    hosted: HostedModels
    options: ServerOptions
    metrics: Metrics
    folder: Path  # of songs at work
    started: float


Server = Annotated[ServerState, Depends(server_of)]
router = APIRouter()


class Parts(BaseModel):
    """What an answer has besides the song's row."""

    windows: bool = Field(True, description="A row for each window.")
    peaks: bool = Field(False, description="`recording`: seconds, and peaks for drawing.")
    csv: bool = Field(False, description="The rows as CSV, too.")
    kept: bool = Field(False, description="`kept`, for `/without`.")
    tags: bool = Field(False, description="The five most probable tags of the model's encoder.")


class Removal(BaseModel):
    """Which windows of a song to leave out."""

    kept: str = Field(description="`kept` of the song's answer, unchanged.")
    removed: list[int] = Field(max_length=1_000_000, description="Numbers of windows.")


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page."""
    return page(request, "index.html")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """A page that shows `/openapi.json`."""
    return page(request, "docs.html")


@router.post("/predict", summary="Predict one song, or several")
@router.post("/models/{name}/predict", include_in_schema=False)
async def predict(
    request: Request,
    server: Server,
    parts: Annotated[Parts, Query()],
    id: Annotated[str | None, Query(description="Of a song that is the body itself.")] = None,
) -> Response:
    """Send a song as the body, or a form with one `file` or several (up to 32).

    The row of a song is that of `songbag predict --json`. For several files the answer is
    `answers`, in their order: each what the file would have got alone, or an error.
    """
    # The pool and the models of one generation: they stay until this request has ended.
    current = server.hosted.current
    model = current.models[current.name(request.path_params.get("name"))]
    with current.pool.reserve():
        async with receive_uploads(request, id, server.options) as uploads:
            if len(uploads) == 1:
                reply = await _answer(server, current.pool, model, uploads[0], parts)
                return reply.response()
            bodies = []
            for upload in uploads:
                try:
                    reply = await _answer(server, current.pool, model, upload, parts)
                except HTTPError as error:
                    reply = error.reply
                bodies.append(msgspec.Raw(reply.body))
            body = msgspec.json.encode({"answers": bodies})
            return Response(body, media_type="application/json")


async def _answer(
    server: ServerState, pool: PredictionPool, model: Model, upload: Upload, parts: Parts
) -> Reply:
    """Return the reply for one song."""
    async with upload.on_disk(server.folder) as path:
        task = PredictTask(
            model=model.hash,
            id=upload.id,
            path=str(path),
            limits=server.options.limits,
            windows=parts.windows,
            peaks=parts.peaks,
            csv=parts.csv,
            cached=parts.kept,
            tags=parts.tags,
        )
        try:
            return await pool.run(task)
        except TimeoutError:
            seconds = server.options.max_seconds
            reason = "too_slow"
            message = f"{upload.id}: it took longer than {seconds:g} s and was stopped"
        except BrokenExecutor:
            reason = "worker_died"
            message = f"{upload.id}: the process that read it died; the file is the likely cause"
        raise failed_song(upload.id, reason, message, model.card.labels, parts.csv)


@router.post("/without", summary="Pool a song again without some of its windows")
@router.post("/models/{name}/without", include_in_schema=False)
async def without(request: Request, removal: Removal, server: Server) -> Response:
    """Takes `kept` of an answer to `/predict?kept=true`; the song is not uploaded again."""
    current = server.hosted.current
    model = current.models[current.name(request.path_params.get("name"))]
    task = WithoutTask(model=model.hash, cached=removal.kept, removed=tuple(removal.removed))
    with current.pool.reserve():
        try:
            reply = await current.pool.run(task)
        except (TimeoutError, BrokenExecutor):
            raise HTTPError(422, "too_slow", "That took too long and was stopped.") from None
        return reply.response()


@router.get("/model", summary="What the model is: labels, settings, figures, limits")
@router.get("/models/{name}", include_in_schema=False)
async def model_card(request: Request, server: Server) -> Response:
    """`columns` are those of a song's row and of a window's row in the answers."""
    current = server.hosted.current
    name = current.name(request.path_params.get("name"))
    description = model_description(f"{name}.songbag", current.models[name], server.options)
    return Response(description, media_type="application/json")


@router.get("/models", summary="The names of the models")
async def models(server: Server) -> dict[str, list[str]]:
    """The first one is that of the addresses without a name."""
    return {"models": list(server.hosted.current.models)}


@router.get("/health", summary="How busy the server is, and with which models")
async def health(server: Server) -> dict[str, Any]:
    """`waiting` counts songs that are uploading or wait; with `places` taken, more get 503."""
    current, options = server.hosted.current, server.options
    pool = current.pool
    return {
        "status": "ok",
        "model": current.models[current.name(None)].hash,
        "models": {name: model.hash for name, model in current.models.items()},
        "at_work": pool.at_work,
        "waiting": pool.reserved - pool.at_work,
        "places": options.workers + options.waiting,
        "uptime_seconds": round(time.monotonic() - server.started, 3),
    }


@router.get("/healthz", summary="Whether the server runs; needs no token")
async def healthz() -> dict[str, str]:
    """For what restarts a server that hangs."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether songs can be answered; needs no token")
async def readyz(server: Server) -> dict[str, str]:
    """503 `not_ready` where the processes that hold the models do not answer."""
    if not await server.hosted.current.pool.answers():
        raise HTTPError(503, "not_ready", "The process that was asked did not answer.")
    return {"status": "ready"}


@router.get("/metrics", summary="Requests, seconds and the queue, for Prometheus")
async def metrics(server: Server) -> Response:
    """Text of Prometheus' format 0.0.4."""
    pool, options = server.hosted.current.pool, server.options
    gauges = [
        ("songs_at_work", "Songs that a process is busy with.", pool.at_work),
        ("songs_waiting", "Songs that are uploading or wait.", pool.reserved - pool.at_work),
        (
            "places",
            "Songs that may work and wait; more get 503.",
            options.workers + options.waiting,
        ),
        ("workers", "Processes that predict.", options.workers),
        ("models", "Models that are served.", len(server.hosted.current.models)),
    ]
    text = server.metrics.text(gauges)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
