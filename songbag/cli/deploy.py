"""Commands that take a model elsewhere: serve, export. Neither imports torch."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.help_sections import RUNNING, command, option
from songbag.cli.options import PATH
from songbag.errors import SettingsError


@command
@click.argument("model", type=PATH)
@option("--host", default="127.0.0.1", show_default=True, section="Access",
        help="Address to listen on.")  # fmt: skip
@option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535),
        section="Access", help="0: a free one.")  # fmt: skip
@option("--allow-remote", is_flag=True, section="Access",
        help="Answer other machines; needs --token.")  # fmt: skip
@option("--token", envvar="SONGBAG_TOKEN", section="Access",
        help="What requests must carry.  [env: SONGBAG_TOKEN]")  # fmt: skip
@option("--waiting", default=8, show_default=True, type=click.IntRange(0), section="Limits",
        help="Songs that may wait.")  # fmt: skip
@option("--max-megabytes", default=64.0, show_default=True, section="Limits", help="Largest file.")
@option("--max-hours", default=1.0, show_default=True, section="Limits", help="Longest recording.")
@option("--max-seconds", default=60.0, show_default=True, section="Limits",
        help="Longest work on a song.")  # fmt: skip
@option("--workers", type=click.IntRange(1), section=RUNNING,
        help="Songs at once.  [default: cores, up to 4]")  # fmt: skip
@option("--no-browser", is_flag=True, section=RUNNING, help="Do not open the page.")
@option("-q", "--quiet", is_flag=True, section=RUNNING, help="No messages.")
def serve(model: Path, no_browser: bool, quiet: bool, **options: Any) -> None:
    """Show MODEL as a web page, and answer over HTTP.

    The page opens in your browser: drop songs on it, see the labels, hear what each
    window added. Files are removed as soon as they are answered, and nothing leaves this
    machine. Programs POST a file to /predict; /openapi.json describes the rest.

    Other machines are refused. To let them in, give --allow-remote and a token, best in
    the variable SONGBAG_TOKEN, and put TLS in front.
    """
    try:
        from songbag.serving.app import serve as run
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


@command
@click.argument("model", type=PATH)
@click.argument("output", type=PATH)
@option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def export(model: Path, output: Path, quiet: bool) -> None:
    """Write MODEL as one ONNX file OUTPUT.

    It runs wherever ONNX Runtime does. The graph takes a mono waveform at the model's
    sample rate and gives the song's probabilities and every window's: features, windows,
    network, pooling and calibration are all inside. It is compared with the library first;
    if they disagree, nothing is written.
    """
    from songbag.console import Console
    from songbag.inference.model_file import load_model
    from songbag.tasks.export import export_model

    exported = export_model(load_model(model), output, Console(quiet))
    size = f"{exported.bytes / 1e6:.1f} MB"
    click.echo(
        f"graph   {exported.path}  ({size}; within {exported.difference:.0e} of the library)"
    )
