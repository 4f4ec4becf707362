"""Commands that learn: train, crossval, demo."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.options import (
    cache_option,
    collection_options,
    recipe_changes,
    training_options,
)

_RECIPE = ("network", "pooling", "loss", "epochs", "excerpt", "middle", "settings")


def _job(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the options of train and crossval into the arguments their jobs share."""
    from songbag.jobs.console import Console
    from songbag.settings import Limits, load_recipe
    from songbag.sound.cache import default_folder

    return {
        "recipe": load_recipe(options["recipe"], recipe_changes(options)),
        "cache": options["cache"] or default_folder(),
        "console": Console(options["quiet"]),
        "seed": options["seed"],
        "limits": Limits.of_hours(options["max_hours"]),
        "workers": options["workers"],
        "threads": options["threads"],
    }


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file.")
@training_options
@cache_option
@collection_options
@click.pass_context
def train(ctx: click.Context, /, songs: Path, output: Path, **options: Any) -> None:
    """Train on SONGS and write a model with its evaluation.

    SONGS is a folder with one subfolder a label, or a table (.csv, .tsv, .parquet) with
    the columns path and label, and if you like id, artist, split, start and end.

    A fifth of the songs, whole artists, is never trained on and gives the figures. Beside
    genre.songbag the folder genre-training gets split.csv, history.csv, predictions.csv,
    windows.csv, metrics.json and report.html.
    """
    from songbag.jobs.training import train_songs
    from songbag.songs.table import read_songs

    table = read_songs(songs, options["allow_outside"])
    trained = train_songs(table, output, **_job(options))
    if not options["quiet"]:
        click.echo(f"model   {trained.model_path}")
        if trained.evaluation is not None:
            click.echo(f"report  {trained.folder / 'report.html'}")
    ctx.exit(1 if trained.failed else 0)


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="How many.")
@training_options
@cache_option
@collection_options
@click.pass_context
def crossval(ctx: click.Context, /, songs: Path, output: Path, folds: int, **options: Any) -> None:
    """Cross-validate on SONGS: every song judged by a model that never heard its artist.

    The folder gets folds.csv, history.csv, predictions.csv, windows.csv, metrics.json,
    report.html and the model of every fold.
    """
    from songbag.jobs.crossvalidation import crossvalidate
    from songbag.songs.table import read_songs

    table = read_songs(songs, options["allow_outside"])
    found = crossvalidate(table, output, count=folds, **_job(options))
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
    from songbag.jobs.console import Console
    from songbag.jobs.demo import run_demo, write_songs

    console = Console(quiet)
    if only_songs:
        click.echo(write_songs(output, songs, seed, console))
        return
    click.echo(f"report  {run_demo(output, songs, seed, console)}")
