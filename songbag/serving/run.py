"""What every server of Songbag is: its address, its security, its errors, and how it runs."""

import mimetypes
import signal
import socket
import webbrowser
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from songbag import __version__
from songbag.errors import SettingsError
from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError
from songbag.serving.security import OneTimeKey, too_large

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_STATIC = Path(str(resources.files("songbag.serving") / "static"))
_STOP_SECONDS = 5  # for songs at work when Ctrl-C comes
# Reasons of the errors that Starlette raises itself.
_REASONS = {400: "bad_request", 404: "not_found", 405: "bad_method"}
mimetypes.add_type("text/javascript", ".js")  # the Windows registry may have another type


def run(
    name: str,
    create: Callable[[OneTimeKey, Callable[[], None]], ASGIApp],
    options: ServerOptions,
    browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve an application until Ctrl-C or SIGTERM, and open its page in a browser if asked to.

    ``create`` takes the key that the page exchanges for the token, and a function to call once
    when all is ready; ``say`` takes messages for the person who started the server.
    """
    listener = _listen(options)
    key = OneTimeKey(options.token)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{listener.getsockname()[1]}/"
    if options.token is not None:
        address += f"#key={key.text}"

    def on_ready() -> None:
        say(f"{name} is at {address}")
        say("Ctrl-C stops it.")
        if browser:
            webbrowser.open(address)

    config = uvicorn.Config(
        create(key, on_ready),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config, options)
    # uvicorn shuts down at a signal and then raises it again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a KeyboardInterrupt
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the server could not start; its messages above say why.")
    say("Stopped.")


class _Server(uvicorn.Server):
    """Stops soon for a person, and for a system (SIGTERM) when all that has come is answered."""

    def __init__(self, config: uvicorn.Config, options: ServerOptions) -> None:
        super().__init__(config)
        self._options = options

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the listening socket; requests that have come are answered first."""
        if sig == signal.SIGTERM:
            self.config.timeout_graceful_shutdown = round(self._options.stop_seconds)
        super().handle_exit(sig, frame)


def _listen(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"{options.host} port {options.port} is not available ({error.strerror or error}). "
            "Another server may use it; --port 0 takes a free port."
        ) from None


class Key(BaseModel):
    """A one-time key from the address that the server printed."""

    key: str


router = APIRouter()


@router.post("/session", include_in_schema=False)
async def session(key: Key, request: Request) -> dict[str, str]:
    """Exchange a one-time key for the token."""
    known: OneTimeKey = request.app.state.key
    token = known.exchange(key.key)
    if token is None:
        message = "This key was used before, or is wrong. Restart the server to get a new one."
        raise HTTPError(403, "refused", message)
    return {"token": token}


def server_of(request: Request) -> Any:
    """Return what the routes of an application share: what its ``lifespan`` stored."""
    return request.app.state.server


def new_app(
    description: str, lifespan: Lifespan, options: ServerOptions, key: OneTimeKey
) -> FastAPI:
    """Return an application that answers errors in one form and has the files of the pages."""

    async def answer_error(_: Request, error: Exception) -> Response:
        return as_http_error(error, options).reply.response()

    app = FastAPI(
        title="Songbag",
        version=__version__,
        description=description,
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=options.max_body_bytes,
    )
    for kind in (HTTPError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer_error)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.state.key = key
    app.include_router(router)
    return app


def page(request: Request, name: str) -> Response:
    """Return a page, with the nonce of this answer's content policy."""
    text = (_STATIC / name).read_text(encoding="utf-8")
    return Response(text.replace("NONCE", request.scope["nonce"]), media_type="text/html")


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
