"""Commands that run many trainings: compare, leakage."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.help_sections import OUTPUT, TRAINING, command, option
from songbag.cli.options import (
    PATH,
    audio_file_options,
    recipe_and_songs,
    recipe_changes,
    training_options,
    window_table_options,
)

_RECIPE = "cnn"  # one network for each training, where "auto" would train many
_ALIASES = {"mean": "mean_probability"}


def _names(text: str) -> list[str]:
    return [_ALIASES.get(name.strip(), name.strip()) for name in text.split(",") if name.strip()]


@command
@click.argument("songs", type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Folder.")
@option("--poolings", default="", section="Comparison",
        help="Names with commas, e.g. mean,vote,attention.")  # fmt: skip
@option("--losses", default="", section="Comparison", help="song, window or both: song,window.")
@option("--recipes", default="", section="Comparison", help="Names or .toml files with commas.")
@option("--seeds", default=3, show_default=True, type=click.IntRange(1), section="Comparison",
        help="Repetitions of each cross-validation.")  # fmt: skip
@option("--folds", default=5, show_default=True, type=click.IntRange(2), section="Comparison",
        help="Folds of each cross-validation.")  # fmt: skip
@option("--metric", section="Comparison",
        help="Compare by it.  [default: accuracy; several labels: map]")  # fmt: skip
@training_options(_RECIPE)
@audio_file_options
@window_table_options
def compare(
    songs: Path,
    output: Path,
    poolings: str,
    losses: str,
    recipes: str,
    seeds: int,
    folds: int,
    metric: str | None,
    **options: Any,
) -> None:
    """Compare poolings, losses or recipes on SONGS.

    All systems are cross-validated on the same folds and seeds. The folder gets
    systems.csv, differences.csv (paired intervals and tests, corrected for their number),
    runs.csv, answers.csv, report.html and every run; the same command goes on where it
    was stopped.
    """
    from songbag.cli.terminal import conclusion_text
    from songbag.console import Console
    from songbag.parallel.pool import require_single_process
    from songbag.recipes import load_recipe
    from songbag.tasks.compare import compare, systems_of

    require_single_process("a comparison")
    console = Console(options["quiet"])
    recipe, dataset = recipe_and_songs(songs, options, _RECIPE)
    changes = recipe_changes(options)
    bases = [load_recipe(name, changes) for name in _names(recipes)] or [recipe]
    systems = systems_of(bases, _names(poolings), _names(losses), console)
    seed_range = range(options["seed"], options["seed"] + seeds)
    threads = options["threads"]
    conclusion = compare(
        dataset, systems, output, console, seed_range, folds, threads, metric=metric
    )
    click.echo(conclusion_text(conclusion))
    click.echo(f"report  {output / 'report.html'}")


@command
@click.argument("songs", type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Folder.")
@option("--folds", default=5, show_default=True, type=click.IntRange(2), section=TRAINING,
        help="Of the cross-validation.")  # fmt: skip
@training_options(_RECIPE)
@audio_file_options
@window_table_options
def leakage(songs: Path, output: Path, folds: int, **options: Any) -> None:
    """Measure how much of a figure is leakage.

    The same model is evaluated under right and wrong splits: whole artists held out, whole
    songs, single windows (wrong, as a warning), and each of artists and windows with labels
    that mean nothing. The folder gets leakage.csv, report.html and a report for every split.
    """
    from songbag.cli.terminal import leakage_text
    from songbag.console import Console
    from songbag.parallel.pool import require_single_process
    from songbag.tasks.leakage import measure_leakage, sentences

    require_single_process("a measurement of leakage")
    console = Console(options["quiet"])
    recipe, dataset = recipe_and_songs(songs, options, _RECIPE)
    rows = measure_leakage(dataset, output, recipe, console, folds, options["seed"])
    click.echo(leakage_text(rows, sentences(rows)))
    click.echo(f"report  {output / 'report.html'}")
