"""The command that hears songs and learns nothing yet: extract. It needs no torch."""

import io
import sys
from pathlib import Path
from typing import Any

import click

from songbag.cli.options import (
    PATH_OR_URL,
    audio_options,
    cache_option,
    collection_options,
    spread_options,
    working,
)
from songbag.storage.remote import AnyPath


@click.command()
@click.argument("songs", type=PATH_OR_URL)
@click.option("--recipe", default="auto", show_default=True, help="Says what a frame is.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="CSV file of the receipts.")
@cache_option
@collection_options
@spread_options
@click.pass_context
def extract(
    ctx: click.Context, /, songs: AnyPath, recipe: str, output: Path | None, **options: Any
) -> None:
    """Put the frames of SONGS into the cache, for trainings and predictions to come.

    SONGS is a folder or a table (.csv, .tsv, .parquet) with a column path. Prints a
    receipt for every song as CSV, or writes them with -o: its id, whether and why it
    failed, and its file in the cache. What the cache holds is not made again, so the same
    command goes on where it was stopped. The exit code is 0, 1 if some songs failed, 2 if
    all did.
    """
    from songbag.console import Console
    from songbag.data.open_songs import open_audio
    from songbag.recipes import load_recipe
    from songbag.storage.csv_files import csv_text, write_csv
    from songbag.tasks.extract import COLUMNS, extract_dataset

    workers = ctx.with_resource(working(options))
    dataset = open_audio(songs, audio_options(options, workers))
    console = Console(options["quiet"])
    for remark in dataset.remarks:
        console.say(remark)
    extracted = extract_dataset(dataset, load_recipe(recipe))
    rows = list(console.track(extracted, len(dataset.songs)))
    if output is not None:
        write_csv(output, rows, COLUMNS)
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):  # ids come out whatever the locale is
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        sys.stdout.write(csv_text(rows, COLUMNS))
    failed = sum(row["status"] == "failed" for row in rows)
    if failed:
        console.say(f"{failed} of {len(rows)} songs could not be read; see their reasons")
    ctx.exit(0 if not failed else 2 if failed == len(rows) else 1)
