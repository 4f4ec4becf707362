"""The command that packs: songs to a folder of shards that training reads without memory."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.options import audio_options, cache_option, collection_options, recipe_changes
from songbag.errors import SettingsError


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--recipe", default="auto", show_default=True, help="Whose sound: name or .toml file."
)
@click.option("--excerpt", type=float, help="Hear only so many seconds of each song.")
@click.option("--middle", is_flag=True, help="With --excerpt: the middle, not the start.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Any setting of the sound, e.g. sound.mel_bands=96.",
)  # fmt: skip
@click.option("--shard-mb", default=256, show_default=True, type=click.IntRange(1), help="MiB.")
@click.option(
    "--format",
    "content",
    default="shards",
    show_default=True,
    type=click.Choice(["shards", "windows", "frames"]),
    help="windows, frames: as Parquet.",
)
@click.option("--verify", is_flag=True, help="Read all shards; make damaged ones again.")
@cache_option
@collection_options
@click.pass_context
def pack(ctx: click.Context, /, songs: Path, output: Path | None, **options: Any) -> None:
    """Pack SONGS into a folder that train, crossval, compare, predict and evaluate take.

    The folder gets the frames of all songs in shards of 256 MiB, songs.parquet (a row a
    song) and collection.json. Training maps the shards: it needs no memory for its songs,
    however many there are. The same command goes on where it was stopped.

    With --verify and no -o, SONGS is a packed folder, and every song in it is checked.
    With --format windows or frames, SONGS is a packed folder too, and the output is a
    folder of Parquet files for other programs: id, label, group, start, feature.
    """
    from songbag.console import Console
    from songbag.data.open_songs import open_audio
    from songbag.recipes import load_recipe
    from songbag.tasks.pack import pack_songs, verify_packed
    from songbag.tasks.pack_parquet import write_parquet

    console = Console(options["quiet"])
    if output is None:
        if not options["verify"]:
            raise SettingsError("where to? Give the folder: -o packed/")
        click.echo(f"verified  {verify_packed(songs, console)} songs")
        return
    recipe = load_recipe(options["recipe"], recipe_changes(options))
    if options["content"] != "shards":
        count = write_parquet(songs, output, recipe, options["content"], console)
        click.echo(f"written  {output}  {count} files")
        return
    dataset = open_audio(songs, audio_options(options))
    shard_bytes = options["shard_mb"] << 20
    found = pack_songs(dataset, recipe, output, console, shard_bytes, options["verify"])
    if not options["quiet"]:
        size = f"{found.bytes / 2**20:.1f} MiB in {found.shards} shards"
        click.echo(f"packed  {found.folder}  {found.songs} songs, {size}, {found.failed} failed")
    ctx.exit(0 if not found.failed else 1 if found.songs else 2)
