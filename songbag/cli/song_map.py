"""The command that draws a map of all songs."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.options import MODEL, OUTPUT, PATH, audio_file_options, command, option
from songbag.cli.predict import open_inputs
from songbag.console import Console, visible
from songbag.errors import SettingsError


@command
@click.argument("songs", nargs=-1, required=True)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="HTML file.")
@option("--index", type=PATH, section=OUTPUT,
        help="File of the vectors, which grows.  [default: in the cache]")  # fmt: skip
@option("--model", type=MODEL, section="Map",
        help="Its answers, verdicts and confidence are shown, too.")  # fmt: skip
@option("--encoder", default="musicnn", metavar="NAME|ONNX", section="Map",
        help="What listens: a name of songbag encoders, or an ONNX file.")  # fmt: skip
@audio_file_options
@click.pass_context
def song_map(
    ctx: click.Context,
    /,
    songs: tuple[str, ...],
    output: Path,
    index: Path | None,
    model: Path | None,
    encoder: str,
    **options: Any,
) -> None:
    """Draw a map of SONGS: those that sound alike lie close together.

    SONGS as for songbag predict. The page is one file that needs no network: songs are
    points, coloured by label, artist, or what a model says of them, to be searched and
    heard. Links to the songs are relative to the page where that is possible. Vectors are
    kept as songbag similar keeps them. The exit code is 1 if a song could not be read.
    """
    from songbag.data.audio_dataset import AudioDataset
    from songbag.encoders.manifest import load_encoder
    from songbag.inference.model_file import load_model
    from songbag.tasks.song_map import map_songs

    console, loaded = Console(options["quiet"]), None if model is None else load_model(model)
    dataset = open_inputs(ctx, songs, options | {"remote": False, "cluster": None})
    if not isinstance(dataset, AudioDataset):
        raise SettingsError("songbag map is for songs in audio files.")
    for remark in dataset.remarks:
        console.say(remark)
    made = map_songs(dataset, load_encoder(encoder), loaded, output, index, console)
    for reason in made.failures:
        click.echo(visible(f"not read: {reason}"), err=True)
    click.echo(f"map     {output}  ({len(made.songs)} songs)")
    ctx.exit(1 if made.failures else 0)


song_map.name = "map"  # as Python's own function is called
