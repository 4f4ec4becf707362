"""Commands that train: train, crossval, demo."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.help_sections import OUTPUT, RUNNING, TRAINING, command, option
from songbag.cli.options import (
    PATH,
    audio_file_options,
    embedding_option,
    own_encoder,
    recipe_and_songs,
    training_options,
    window_table_options,
)


@command
@click.argument("songs", type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Model file.")
@embedding_option
@training_options()
@audio_file_options
@option("--resume", is_flag=True, section=RUNNING, help="Go on with a training that was stopped.")
@window_table_options
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
    from songbag.parallel.pool import is_rank_zero
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


@command
@click.argument("songs", type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Folder.")
@option("--keep-models", is_flag=True, section=OUTPUT, help="Write the model of every fold too.")
@option("--folds", default=5, show_default=True, type=click.IntRange(2), section=TRAINING,
        help="Of the cross-validation.")  # fmt: skip
@embedding_option
@training_options()
@audio_file_options
@window_table_options
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
    """Cross-validate on SONGS.

    Each song is predicted by a model trained on other artists. The folder gets folds.csv,
    history.csv, predictions.csv, windows.csv, metrics.json and report.html, and with
    --keep-models the model of every fold. The same command goes on where it was stopped.
    """
    from songbag.console import Console
    from songbag.parallel.pool import require_single_process
    from songbag.tasks.cross_validate import cross_validate
    from songbag.tasks.train import load_labelled

    require_single_process("a cross-validation")
    recipe, dataset = recipe_and_songs(songs, options)
    console = Console(options["quiet"])
    evaluation = cross_validate(
        load_labelled(dataset, recipe, console),
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


@command
@option("-o", "--output", default="demo", show_default=True, type=PATH,
        help="Folder for songs, model and report.")  # fmt: skip
@option("--seed", default=0, show_default=True, help="Of the songs and the training.")
@option("--songs", default=40, show_default=True, help="Songs a genre.")
@option("--only-songs", is_flag=True, help="Write the songs and songs.csv, then stop.")
@option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def demo(output: Path, seed: int, songs: int, only_songs: bool, quiet: bool) -> None:
    """Train and evaluate on generated songs."""
    from songbag.console import Console
    from songbag.tasks.demo import run_demo, write_songs

    console = Console(quiet)
    if only_songs:
        click.echo(write_songs(output, songs, seed, console))
        return
    click.echo(f"report  {run_demo(output, songs, seed, console)}")
