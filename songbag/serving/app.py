"""The server: a process that answers until it is stopped, made of the parts beside this file.

Answers are made by the code behind ``songbag predict`` and sent as its bytes; nothing here
computes or rounds a number.
"""

import asyncio
import mimetypes
import signal
import socket
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from songbag import __version__
from songbag.errors import SettingsError
from songbag.serving.hosted_models import Generation, HostedModels
from songbag.serving.openapi import describe_api
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.replies import HTTPError
from songbag.serving.request_metrics import Metrics, MetricsMiddleware
from songbag.serving.routes import STATIC, ServerState, router
from songbag.serving.security import OneTimeKey, SecurityMiddleware, too_large
from songbag.serving.uploads import upload_folder

_STOP_SECONDS = 5  # for songs at work when Ctrl-C comes
# Reasons of the errors that Starlette raises itself.
_REASONS = {400: "bad_request", 404: "not_found", 405: "bad_method"}
mimetypes.add_type("text/javascript", ".js")  # the Windows registry may have another type


def serve(
    paths: Sequence[Path], options: ServerOptions, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve models of audio until Ctrl-C or SIGTERM, and open the page in a browser if asked to.

    ``say`` takes messages for the person who started the server.
    """
    require_safe(options)
    hosted = HostedModels(paths, options, say)
    listener = _listen(options)
    key = OneTimeKey(options.token)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{listener.getsockname()[1]}/"
    if options.token is not None:
        address += f"#key={key.text}"

    def on_ready() -> None:
        names = ", ".join(path.name for path in paths)
        say(f"{names} {'is' if len(paths) == 1 else 'are'} at {address}")
        say("Ctrl-C stops it.")
        if browser:
            webbrowser.open(address)

    config = uvicorn.Config(
        create_app(hosted, options, key, on_ready),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config, options)
    # uvicorn shuts down at a signal and then raises it again.
    signal.signal(signal.SIGTERM, _interrupt)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the server could not start; its messages above say why.")
    say("Stopped.")


class _Server(uvicorn.Server):
    """Stops at once for a person, and for a system (SIGTERM) when all songs are answered."""

    def __init__(self, config: uvicorn.Config, options: ServerOptions) -> None:
        super().__init__(config)
        self._options = options

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the listening socket; requests that have come are answered first."""
        if sig == signal.SIGTERM:
            self.config.timeout_graceful_shutdown = round(self._options.stop_seconds)
        super().handle_exit(sig, frame)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"{options.host} port {options.port} is not available ({error.strerror or error}). "
            "Another server may use it; --port 0 takes a free port."
        ) from None


def create_app(
    hosted: HostedModels, options: ServerOptions, key: OneTimeKey, on_ready: Callable[[], None]
) -> ASGIApp:
    """Return the ASGI application that serves models.

    ``on_ready`` is called once, when every worker process is ready.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def describe(generation: Generation) -> None:
            labels = {name: model.card.labels for name, model in generation.models.items()}
            describe_api(app, labels)

        hosted.on_change = describe
        with upload_folder() as folder:
            started = time.monotonic()
            app.state.server = ServerState(hosted, options, key, metrics, folder, started)
            following = asyncio.create_task(hosted.follow())
            try:
                await hosted.start()
                on_ready()
                yield
            finally:
                following.cancel()
                await asyncio.wait([following])
                await hosted.close()

    async def answer_error(_: Request, error: Exception) -> Response:
        return as_http_error(error, options).reply.response()

    app = FastAPI(
        title="Songbag",
        version=__version__,
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=options.max_body_bytes,
    )
    for kind in (HTTPError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer_error)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.include_router(router)
    # Outside of FastAPI, so that it checks the length before FastAPI's own limit does.
    secured: ASGIApp = SecurityMiddleware(app, options)
    if options.allow_origins:
        secured = CORSMiddleware(
            secured,
            allow_origins=options.allow_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after"],
        )
    return MetricsMiddleware(secured, metrics)


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
