"""The routes: the page, and the HTTP API with its OpenAPI description.

An answer's numbers are made by the code behind ``songbag predict`` and leave as the bytes
it made; nothing here computes or rounds.
"""

import mimetypes
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from songbag import __version__
from songbag.inference.model_file import ModelFile
from songbag.serving import security, worker_process
from songbag.serving.options import Terms
from songbag.serving.schemas import card_of, described
from songbag.serving.uploads import Upload, received, upload_folder
from songbag.serving.workers import Crew, DeadError, FullError, SlowError

_STATIC = Path(str(resources.files("songbag.serving") / "static"))
_WORDS = {400: "bad_request", 404: "not_found", 405: "bad_method", 408: "too_slow_upload"}
_WORDS |= {422: "bad_request"}
mimetypes.add_type("text/javascript", ".js")  # a registry may say otherwise


class Removal(BaseModel):
    """Which windows of a kept song to leave out."""

    kept: str = Field(description="`kept` of the song's answer, as it was.")
    removed: list[int] = Field(max_length=1_000_000, description="Numbers of windows.")


class Key(BaseModel):
    """A one-time key from the address that the server printed."""

    key: str


Flag = Annotated[bool, Query()]


def make_app(
    name: str, model: ModelFile, terms: Terms, keys: security.Keys, started: Callable[[], None]
) -> security.Gate:
    """Return the ASGI application that answers with one model.

    Parameters
    ----------
    name : str
        What the model is called on the page.
    started : callable
        Called once, when every process is ready.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        crew = app.state.crew = Crew(model, terms)
        with upload_folder() as folder:
            app.state.folder = folder
            try:
                await crew.start()
                started()
                yield
            finally:
                await run_in_threadpool(crew.close)

    app = FastAPI(
        title="Songbag",
        version=__version__,
        description=f"Whole songs to labels, by {name}.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=terms.max_body_bytes,
    )
    app.add_exception_handler(HTTPException, _http_error(terms))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(FullError, _full)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _fault)
    _add_page(app, keys)
    _add_facts(app, name, model, terms)
    _add_answers(app, model, terms)
    # Around everything, or FastAPI's own limit would speak first, and in plain text.
    return security.Gate(described(app, model.card), terms)


# --- errors, all of one form ------------------------------------------------------------


def _http_error(terms: Terms) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 413:
            return security.too_large(terms)
        word = _WORDS.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        return security.error(error.status_code, word, str(error.detail), headers)

    return answer


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return security.error(422, "bad_request", said)


async def _full(_: Request, error: Exception) -> Response:
    assert isinstance(error, FullError)
    again = {"retry-after": str(error.seconds)}
    return security.error(
        503, "busy", f"Too many songs at once; again in {error.seconds} s.", again
    )


async def _fault(_: Request, error: Exception) -> Response:
    return security.error(500, "internal", "The server failed; its log says why.")


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


# --- routes -----------------------------------------------------------------------------


def _add_page(app: FastAPI, keys: security.Keys) -> None:
    page = (_STATIC / "index.html").read_text(encoding="utf-8")
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        text = page.replace("NONCE", request.scope["nonce"])
        return Response(text, media_type="text/html")

    @app.post("/session", include_in_schema=False)
    async def session(key: Key) -> dict[str, str]:
        token = keys.swap(key.key)
        if token is None:
            raise HTTPException(403, "this key was used before; restart the server for a new one")
        return {"token": token}


def _add_facts(app: FastAPI, name: str, model: ModelFile, terms: Terms) -> None:
    began = time.monotonic()
    card = card_of(name, model, terms)

    @app.get("/health", summary="Whether the server is up, and how busy it is")
    async def health() -> dict[str, Any]:
        crew: Crew = app.state.crew
        return {
            "status": "ok",
            "model": model.hash,
            "at_work": crew.at_work,
            "waiting": crew.taken - crew.at_work,
            "places": terms.workers + terms.waiting,
            "uptime_seconds": round(time.monotonic() - began, 3),
        }

    @app.get("/model", summary="What the model is: labels, settings, figures, limits")
    async def model_card() -> Response:
        return Response(card, media_type="application/json")


def _add_answers(app: FastAPI, model: ModelFile, terms: Terms) -> None:
    labels = model.card.labels

    @app.post("/predict", summary="Answer one song")
    async def predict(
        request: Request,
        windows: Flag = True,
        peaks: Flag = False,
        csv: Flag = False,
        kept: Flag = False,
    ) -> Response:
        wanted = worker_process.Wanted(windows=windows, peaks=peaks, csv=csv, kept=kept)
        crew: Crew = app.state.crew
        with crew.place():
            async with received(request, app.state.folder, terms) as upload:
                return _sent(await _listened(crew, upload, wanted))

    async def _listened(
        crew: Crew, upload: Upload, wanted: worker_process.Wanted
    ) -> worker_process.Reply:
        task = worker_process.Listening(
            id=upload.id, path=str(upload.path), limits=terms.limits, wanted=wanted
        )
        try:
            return await crew.do(task)
        except SlowError:
            said = f"{upload.id}: it took longer than {terms.max_seconds:g} s and was stopped"
            return worker_process.song_refusal(upload.id, "too_slow", said, labels, wanted.csv)
        except DeadError:
            said = f"{upload.id}: the process that read it died; the file is the likely cause"
            return worker_process.song_refusal(upload.id, "worker_died", said, labels, wanted.csv)

    @app.post("/without", summary="Answer a song without some windows")
    async def without(removal: Removal) -> Response:
        crew: Crew = app.state.crew
        task = worker_process.Pooling(kept=removal.kept, removed=tuple(removal.removed))
        with crew.place():
            try:
                return _sent(await crew.do(task))
            except (SlowError, DeadError):
                return security.error(422, "too_slow", "That took too long and was stopped.")


def _sent(reply: worker_process.Reply) -> Response:
    return Response(reply.body, reply.status, media_type="application/json")
