"""Commands that answer: evaluate, predict, info, report. None of them needs torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    cache_option,
    collection_options,
    read_window_table,
    table_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from songbag.jobs.answering import Answer
    from songbag.songs.table import SongTable


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("songs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--all", "everything", is_flag=True, help="Judge songs heard in training too.")
@table_options
@cache_option
@collection_options
@click.pass_context
def evaluate(
    ctx: click.Context, /, model: Path, songs: Path, output: Path, everything: bool, **options: Any
) -> None:
    """Judge MODEL on labelled SONGS it has not heard.

    The folder gets metrics.json, predictions.csv, windows.csv and report.html. Songs that
    the model was trained on are predicted but not judged, unless --all is given.
    """
    from songbag.jobs.answering import answer_all, answer_bags, answer_packed
    from songbag.jobs.console import Console
    from songbag.jobs.evaluation import evaluate_model, summary
    from songbag.jobs.report import write_report
    from songbag.settings import Limits
    from songbag.songs.manifest import is_packed
    from songbag.songs.table import read_songs
    from songbag.sound.cache import default_folder

    bags = read_window_table(songs, options)
    if bags is not None:
        table, answers = bags.table(), answer_bags(bags, model)
    elif is_packed(songs):
        table, answers = answer_packed(songs, model)
    else:
        table = read_songs(songs, options["allow_outside"])
        cache = options["cache"] or default_folder()
        limits = Limits.of_hours(options["max_hours"])
        answers = answer_all(table.songs, model, cache, limits, options["workers"])
    found = evaluate_model(model, table, answers, Console(options["quiet"]), everything)
    found.write(output)
    click.echo(summary(found.figures))
    click.echo(f"report  {write_report(output)}")
    ctx.exit(1 if found.figures["failed"] else 0)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("songs", nargs=-1, required=True)
@click.option("--windows", is_flag=True, help="Every window's answer as well.")
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Answer only where so large a share is right, e.g. 0.9.",
)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a CSV file.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write a JSON file.")
@table_options
@cache_option
@collection_options
@click.pass_context
def predict(ctx: click.Context, /, model: Path, songs: tuple[str, ...], **options: Any) -> None:
    """Say what SONGS are.

    SONGS are files, folders (searched to the bottom), quoted patterns, tables with a
    path column, or - for paths on standard input, one a line; or one packed folder; or,
    with --song, one table of window features.

    On a terminal the answer is a table, piped it is CSV. With --csv or --json the same
    command goes on where it was stopped. A song that cannot be read becomes a row with
    the reason, and the exit code is 1; when no song could be read it is 2. With
    --precision a song whose answer would be too unsure gets none, and the status unsure.
    """
    from songbag.answers.modelfile import read_model
    from songbag.cli.results import Results
    from songbag.jobs.answering import answer_bags, answer_packed
    from songbag.jobs.collection import predict_collection, required_confidence, withheld
    from songbag.jobs.console import Console
    from songbag.settings import Limits
    from songbag.songs.manifest import is_packed
    from songbag.songs.table import read_songs
    from songbag.sound.cache import default_folder

    bags = read_window_table(Path(songs[0]), options)
    if bags is not None:
        _predict_bags(ctx, model, bags.table(), answer_bags(bags, model), options)
        return
    if len(songs) == 1 and is_packed(songs[0]):
        _predict_bags(ctx, model, *answer_packed(Path(songs[0]), model), options)
        return
    table = read_songs(_inputs(songs), options["allow_outside"])
    loaded = read_model(model)
    console = Console(options["quiet"])
    for remark in table.remarks:
        console.say(remark)
    results = Results(loaded.card.labels, table.songs, options)
    cache = options["cache"] or default_folder()
    limits = Limits.of_hours(options["max_hours"])
    found = predict_collection(
        table.songs, model, loaded, cache, results.file, limits, options["workers"]
    )
    shown = len(table.songs) > 1 and (results.file is not None or sys.stdout.isatty())
    if options["precision"] is not None:
        least = required_confidence(loaded.card, options["precision"])
        found = (withheld(one, least) for one in found)
    tracked = console.track(found, len(table.songs), "Predicting") if shown else found
    failed = results.take(tracked)
    if failed:
        console.say(f"{failed} of {len(table.songs)} songs could not be read; see their reasons")
    ctx.exit(0 if not failed else 2 if failed == len(table.songs) else 1)


def _predict_bags(
    ctx: click.Context,
    model: Path,
    table: "SongTable",
    answers: "Iterator[Answer]",
    options: dict[str, Any],
) -> None:
    from songbag.answers.modelfile import read_model
    from songbag.answers.tables import with_own
    from songbag.cli.results import Results
    from songbag.jobs.collection import Predicted, required_confidence, withheld

    card = read_model(model, parts=()).card
    labels, precision = card.labels, options["precision"]
    least = 0.0 if precision is None else required_confidence(card, precision)
    results = Results(labels, table.songs, options)
    failed = results.take(
        withheld(
            Predicted(with_own(answer.row(labels), song.extra), answer.window_rows(labels)), least
        )
        for answer, song in zip(answers, table.songs, strict=True)
    )
    ctx.exit(0 if not failed else 2 if failed == len(table.songs) else 1)


def _inputs(songs: tuple[str, ...]) -> list[str]:
    import glob

    found: list[str] = []
    for one in songs:
        if one == "-":
            found += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        elif any(mark in one for mark in "*?[") and not Path(one).exists():
            found += sorted(glob.glob(one, recursive=True)) or [one]
        else:
            found.append(one)
    return found


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--network", is_flag=True, help="Show the layer table.")
@click.option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
def info(model: Path, network: bool, as_json: bool) -> None:
    """Show what MODEL is: labels, settings, split, figures, versions."""
    import msgspec

    from songbag.answers.modelfile import read_model
    from songbag.cli.results import card_text, layer_text

    card = read_model(model, parts=()).card
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(card), indent=1).decode())
    else:
        click.echo(layer_text(card) if network else card_text(card))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="HTML file.")
def report(folder: Path, output: Path | None) -> None:
    """Write the report of a FOLDER made by train, crossval, evaluate, compare or leakage.

    One page that needs no network: it can be mailed, printed, and opened anywhere.
    """
    from songbag.jobs.report import write_report

    click.echo(f"report  {write_report(folder, output)}")
