"""The command that serves: a page and an HTTP API."""

from pathlib import Path
from typing import Any

import click

from songbag.errors import SettingsError


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
)
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
@click.option("--workers", type=click.IntRange(1), help="Songs at once.  [default: cores, up to 4]")
@click.option(
    "--waiting", default=8, show_default=True, type=click.IntRange(0), help="Songs that may wait."
)
@click.option("--max-megabytes", default=64.0, show_default=True, help="Largest file.")
@click.option("--max-hours", default=1.0, show_default=True, help="Longest recording.")
@click.option("--max-seconds", default=60.0, show_default=True, help="Longest work on a song.")
@click.option("--allow-remote", is_flag=True, help="Answer other machines; needs --token.")
@click.option(
    "--token", envvar="SONGBAG_TOKEN", help="What requests must carry.  [env: SONGBAG_TOKEN]"
)
@click.option("-q", "--quiet", is_flag=True, help="No messages.")
def serve(model: Path, no_browser: bool, quiet: bool, **options: Any) -> None:
    """Show MODEL as a web page, and answer over HTTP.

    The page opens in your browser: drop songs on it, see the labels, hear what each
    window added. Files are removed as soon as they are answered, and nothing leaves this
    machine. Programs POST a file to /predict; /openapi.json describes the rest.

    Other machines are refused. To let them in, give --allow-remote and a token, best in
    the variable SONGBAG_TOKEN, and put TLS in front.
    """
    try:
        from songbag.serving.server import serve as run
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"songbag serve needs packages that are not installed ({error.name} is missing). "
            "Install them: python -m pip install 'songbag[serve]'"
        ) from None
    from songbag.console import Console
    from songbag.serving.options import ServerOptions, default_workers
    from songbag.settings import read

    options["workers"] = options["workers"] or default_workers()
    run(model, read(ServerOptions, options, "serve"), not no_browser, Console(quiet).say)
