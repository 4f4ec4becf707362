"""The server of models: the page, and the HTTP API with its OpenAPI description.

Answers are made by the code behind ``songbag predict`` and sent as its bytes; nothing here
computes or rounds a number.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from songbag.serving.hosted_models import Generation, HostedModels
from songbag.serving.openapi import describe_api
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.request_metrics import Metrics, MetricsMiddleware
from songbag.serving.routes import ServerState, router
from songbag.serving.run import new_app, run
from songbag.serving.security import OneTimeKey, SecurityMiddleware
from songbag.serving.uploads import upload_folder


def serve(
    paths: Sequence[Path], options: ServerOptions, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve models of audio until Ctrl-C or SIGTERM, and open the page in a browser if asked to.

    ``say`` takes messages for the person who started the server.
    """
    require_safe(options)
    hosted = HostedModels(paths, options, say)

    def create(key: OneTimeKey, on_ready: Callable[[], None]) -> ASGIApp:
        return create_app(hosted, options, key, on_ready)

    run(" with ".join(path.name for path in paths), create, options, browser, say)


def create_app(
    hosted: HostedModels, options: ServerOptions, key: OneTimeKey, on_ready: Callable[[], None]
) -> ASGIApp:
    """Return the ASGI application that serves models (see `songbag.serving.run.run`)."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def describe(generation: Generation) -> None:
            labels = {name: model.card.labels for name, model in generation.models.items()}
            describe_api(app, labels)

        hosted.on_change = describe
        with upload_folder() as folder:
            app.state.server = ServerState(hosted, options, metrics, folder, time.monotonic())
            following = asyncio.create_task(hosted.follow())
            try:
                await hosted.start()
                on_ready()
                yield
            finally:
                following.cancel()
                await asyncio.wait([following])
                await hosted.close()

    app = new_app("Whole songs to labels.", lifespan, options, key)
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
