"""Commands that learn: train, crossval, demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    audio_options,
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
    from songbag.data.dataset import SongDataset
    from songbag.settings import Recipe


def recipe_and_songs(songs: Path, options: dict[str, Any]) -> "tuple[Recipe, SongDataset]":
    """Return the recipe that options ask for, and the dataset of the songs."""
    from songbag.data.open_songs import open_songs
    from songbag.parallel.ranks import require_single_process
    from songbag.recipes import load_recipe

    window_table = read_window_table(songs, options)
    command = click.get_current_context().info_name or ""
    default = default_recipe(command, options, table=window_table is not None)
    recipe = load_recipe(options["recipe"] or default, recipe_changes(options))
    dataset = open_songs(window_table or songs, audio_options(options), options["group"])
    if not dataset.checked:
        require_single_process("hearing songs")
    return recipe, dataset


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
    from songbag.tasks import train as task

    quiet = options["quiet"] or not is_rank_zero()
    console = Console(quiet)
    recipe, dataset = recipe_and_songs(songs, options)
    training = task.train(
        dataset,
        recipe,
        console,
        options["seed"],
        options["threads"],
        own_encoder(options, recipe),
        output,
        resume,
    )
    folder = task.write_training(training, output, console)
    if not quiet:
        click.echo(f"model   {output}")
        if training.evaluation is not None:
            click.echo(f"report  {folder / 'report.html'}")
    ctx.exit(1 if training.dataset.failures else 0)


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="How many.")
@click.option("--keep-models", is_flag=True, help="Write the model of every fold too.")
@encoder_option
@training_options
@table_options
@cache_option
@collection_options
@click.pass_context
def crossval(
    ctx: click.Context,
    /,
    songs: Path,
    output: Path,
    folds: int,
    keep_models: bool,
    **options: Any,
) -> None:
    """Cross-validate on SONGS: every song judged by a model that never heard its artist.

    The folder gets folds.csv, history.csv, predictions.csv, windows.csv, metrics.json and
    report.html, and with --keep-models the model of every fold. The same command goes on
    where it was stopped.
    """
    from songbag.console import Console
    from songbag.parallel.ranks import require_single_process
    from songbag.tasks.cross_validate import cross_validate

    require_single_process("a cross-validation")
    console = Console(options["quiet"])
    recipe, dataset = recipe_and_songs(songs, options)
    evaluation = cross_validate(
        dataset,
        output,
        recipe,
        console,
        folds,
        options["seed"],
        options["threads"],
        own_encoder(options, recipe),
        keep_models,
    ).evaluation
    if not options["quiet"]:
        click.echo(f"report  {output / 'report.html'}")
    ctx.exit(1 if evaluation.figures["failed"] else 0)


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
