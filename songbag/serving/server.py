"""Start the server, say where it is, and stop it cleanly."""

import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import ModelFile, read_model
from songbag.inference.predictor import Predictor
from songbag.serving.app import make_app
from songbag.serving.options import Terms, checked
from songbag.serving.security import Keys

_STOP_SECONDS = 5  # for songs at work when Ctrl-C comes


def serve(path: Path, terms: Terms, browser: bool, say: Callable[[str], None]) -> None:
    """Serve a model until Ctrl-C.

    Parameters
    ----------
    browser : bool
        Open the page.
    say : callable
        Takes messages for the person who started it.

    Raises
    ------
    SettingsError
        The terms are not safe, or the address cannot be had.
    ModelFileError
        No model, or one of window tables, which no upload could be.
    """
    checked(terms)
    model = _model(path)
    listener = _listen(terms)
    keys = Keys(terms.token)
    address = _address(terms.host, listener, keys, terms.token)

    def started() -> None:
        say(f"{path.name} is at {address}")
        say("Ctrl-C stops it.")
        if browser:
            webbrowser.open(address)

    config = uvicorn.Config(
        make_app(path.name, model, terms, keys, started),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn stops in order at Ctrl-C, and then raises it once more.
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the server could not start; its messages above say why.")
    say("Stopped.")


def _model(path: Path) -> ModelFile:
    model = read_model(path)
    if model.card.source != "audio":
        raise ModelFileError(
            f"{path}: it was trained on a table of window features, so it cannot hear songs. "
            "Train one on audio, or use songbag predict with --song."
        )
    Predictor(model)  # refuses what cannot be run, before anybody waits for it
    return model


def _listen(terms: Terms) -> socket.socket:
    family = socket.AF_INET6 if ":" in terms.host else socket.AF_INET
    try:
        return socket.create_server((terms.host, terms.port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"{terms.host} port {terms.port} cannot be had ({error.strerror or error}). "
            "Another server may be there; --port 0 takes a free one."
        ) from None


def _address(host: str, listener: socket.socket, keys: Keys, token: str | None) -> str:
    port = listener.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"#key={keys.make()}" if token is not None else "")
