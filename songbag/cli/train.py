"""Commands that learn: train, crossval, demo."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    cache_option,
    collection_options,
    default_recipe,
    encoder_option,
    own_encoder,
    read_window_table,
    recipe_changes,
    table_options,
    training_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from songbag.console import Console
    from songbag.data.dataset import SongBags
    from songbag.settings import Recipe


def hearing(
    songs: Path, options: dict[str, Any], console: "Console"
) -> "tuple[Recipe, Callable[[Recipe], SongBags]]":
    """Return the recipe that options ask for, and what hears the songs for any recipe."""
    from songbag.audio.cache import default_folder
    from songbag.data.packed_manifest import is_packed
    from songbag.data.song_table import grouped_by, read_songs
    from songbag.parallel.ranks import require_single_process
    from songbag.recipes import load_recipe
    from songbag.settings import Limits
    from songbag.tasks.train import hear_labelled, open_labelled
    from songbag.training.fit import require_trainable

    bags = read_window_table(songs, options)
    command = click.get_current_context().info_name or ""
    default = default_recipe(command, options, table=bags is not None)
    recipe = load_recipe(options["recipe"] or default, recipe_changes(options))
    column = options["group"]
    if bags is not None:
        grouped = bags.grouped_by(column) if column else bags
        return recipe, lambda _: grouped
    if is_packed(songs):

        def unpack(recipe: "Recipe") -> "SongBags":
            found = open_labelled(songs, recipe, console)
            return found.grouped_by(column) if column else found

        return recipe, unpack
    require_single_process("hearing songs")
    table = read_songs(songs, options["allow_outside"])
    if column:
        table = replace(table, songs=grouped_by(table.songs, column))
    cache, limits = options["cache"] or default_folder(), Limits.of_hours(options["max_hours"])

    def hear(recipe: "Recipe") -> "SongBags":
        require_trainable(recipe)  # before an hour of decoding
        return hear_labelled(table, recipe, cache, console, limits, options["workers"])

    return recipe, hear


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@encoder_option
@training_options
@table_options
@cache_option
@collection_options
@click.pass_context
def train(ctx: click.Context, /, songs: Path, output: Path, resume: bool, **options: Any) -> None:
    """Train on SONGS and write a model with its evaluation.

    SONGS is a folder with one subfolder a label, or a table (.csv, .tsv, .parquet) with
    the columns path and label, and if you like id, artist, split, start and end; or, with
    --song, a table of window features (.csv, .tsv, .parquet, .npz) with a row a window.

    A fifth of the songs, whole artists, is never trained on and gives the figures. Beside
    genre.songbag the folder genre-training gets split.csv, history.csv, predictions.csv,
    windows.csv, metrics.json and report.html.

    Several processes train together: torchrun --nproc-per-node 2 -m songbag train ...
    """
    from songbag.console import Console
    from songbag.parallel.ranks import is_rank_zero
    from songbag.tasks.train import train_bags

    quiet = options["quiet"] or not is_rank_zero()
    console = Console(quiet)
    recipe, hear = hearing(songs, options, console)
    seed, threads = options["seed"], options["threads"]
    own = own_encoder(options, recipe)
    trained = train_bags(hear(recipe), output, recipe, console, seed, threads, own, resume)
    if not quiet:
        click.echo(f"model   {trained.model_path}")
        if trained.evaluation is not None:
            click.echo(f"report  {trained.folder / 'report.html'}")
    ctx.exit(1 if trained.failed else 0)


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="How many.")
@encoder_option
@training_options
@table_options
@cache_option
@collection_options
@click.pass_context
def crossval(ctx: click.Context, /, songs: Path, output: Path, folds: int, **options: Any) -> None:
    """Cross-validate on SONGS: every song judged by a model that never heard its artist.

    The folder gets folds.csv, history.csv, predictions.csv, windows.csv, metrics.json,
    report.html and the model of every fold.
    """
    from songbag.console import Console
    from songbag.parallel.ranks import require_single_process
    from songbag.tasks.cross_validate import crossvalidate_bags

    require_single_process("a cross-validation")
    console = Console(options["quiet"])
    recipe, hear = hearing(songs, options, console)
    seed, threads = options["seed"], options["threads"]
    own = own_encoder(options, recipe)
    found = crossvalidate_bags(hear(recipe), output, recipe, console, folds, seed, threads, own)
    if not options["quiet"]:
        click.echo(f"report  {found.folder / 'report.html'}")
    ctx.exit(1 if found.evaluation.figures["failed"] else 0)


@click.command()
@click.option(
    "-o",
    "--output",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for songs, model and report.",
)
@click.option("--seed", default=0, show_default=True, help="Of the songs and the training.")
@click.option("--songs", default=40, show_default=True, help="Songs a genre.")
@click.option("--only-songs", is_flag=True, help="Write the songs and songs.csv, then stop.")
@click.option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def demo(output: Path, seed: int, songs: int, only_songs: bool, quiet: bool) -> None:
    """Generate songs, train on them, judge them, and print where the report is."""
    from songbag.console import Console
    from songbag.tasks.demo import run_demo, write_songs

    console = Console(quiet)
    if only_songs:
        click.echo(write_songs(output, songs, seed, console))
        return
    click.echo(f"report  {run_demo(output, songs, seed, console)}")
