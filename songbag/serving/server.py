"""Start the server, print its address, and stop it on Ctrl-C."""

import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import load_model
from songbag.inference.predictor import Predictor
from songbag.serving.app import create_app
from songbag.serving.options import ServerOptions, require_safe
from songbag.serving.security import OneTimeKeys

_STOP_SECONDS = 5  # for songs at work when Ctrl-C comes


def serve(path: Path, options: ServerOptions, browser: bool, say: Callable[[str], None]) -> None:
    """Serve a model until Ctrl-C.

    Parameters
    ----------
    path : Path
        A model of audio.
    browser : bool
        Open the page.
    say : callable
        Takes messages for the person who started the server.

    Raises
    ------
    SettingsError
        The options are not safe, or the address is not available.
    ModelFileError
        There is no model, or it predicts on window tables, which cannot be uploaded.
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
    keys = OneTimeKeys(options.token)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{listener.getsockname()[1]}/"
    if options.token is not None:
        address += f"#key={keys.new_key()}"

    def on_ready() -> None:
        say(f"{path.name} is at {address}")
        say("Ctrl-C stops it.")
        if browser:
            webbrowser.open(address)

    config = uvicorn.Config(
        create_app(path.name, model, options, keys, on_ready),
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
