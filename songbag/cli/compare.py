"""Commands that tell what is better, and what a figure is worth: compare, leakage."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.options import (
    cache_option,
    collection_options,
    recipe_changes,
    table_options,
    training_options,
)
from songbag.cli.train import recipe_and_songs

_ALIASES = {"mean": "mean_probability"}


def _names(text: str) -> list[str]:
    return [_ALIASES.get(name.strip(), name.strip()) for name in text.split(",") if name.strip()]


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--poolings", default="", help="Names with commas, e.g. mean,vote,attention.")
@click.option("--losses", default="", help="song, window or both: song,window.")
@click.option("--recipes", default="", help="Names or .toml files with commas.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="How many.")
@click.option("--metric", help="Compare by it.  [default: accuracy; several labels: map]")
@training_options
@table_options
@cache_option
@collection_options
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
    """Compare poolings, losses or recipes on SONGS, and say what can be told.

    All systems are cross-validated on the same folds and seeds. The folder gets
    systems.csv, differences.csv (paired intervals and tests, corrected for their number),
    runs.csv, answers.csv, report.html and every run; the same command goes on where it
    was stopped.
    """
    from songbag.cli.comparison_text import conclusion_text
    from songbag.console import Console
    from songbag.parallel.ranks import require_single_process
    from songbag.recipes import load_recipe
    from songbag.tasks.compare import compare, systems_of

    require_single_process("a comparison")
    console = Console(options["quiet"])
    own, dataset = recipe_and_songs(songs, options)
    changes = recipe_changes(options)
    chosen = [load_recipe(name, changes) for name in _names(recipes)] or [own]
    systems = systems_of(chosen, _names(poolings), _names(losses), console)
    first = options["seed"]
    turns = range(first, first + seeds)
    threads = options["threads"]
    conclusion = compare(dataset, systems, output, console, turns, folds, threads, metric=metric)
    click.echo(conclusion_text(conclusion))
    click.echo(f"report  {output / 'report.html'}")


@click.command()
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="How many.")
@training_options
@table_options
@cache_option
@collection_options
def leakage(songs: Path, output: Path, folds: int, **options: Any) -> None:
    """Measure how much of a figure is leakage: the same model under right and wrong splits.

    Whole artists held out, whole songs, single windows (wrong, as a warning), and each of
    artists and windows with labels that mean nothing. The folder gets leakage.csv,
    report.html and a report for every split.
    """
    from songbag.cli.comparison_text import leakage_text
    from songbag.console import Console
    from songbag.parallel.ranks import require_single_process
    from songbag.tasks.leakage import measure_leakage, sentences

    require_single_process("the leak meter")
    console = Console(options["quiet"])
    recipe, dataset = recipe_and_songs(songs, options)
    rows = measure_leakage(dataset, output, recipe, console, folds, options["seed"])
    click.echo(leakage_text(rows, sentences(rows)))
    click.echo(f"report  {output / 'report.html'}")
