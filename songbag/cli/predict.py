"""Commands that answer: evaluate, predict, info, report. None of them needs torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    PATH_OR_URL,
    cache_option,
    collection_options,
    read_window_table,
    spread_options,
    table_options,
    working,
)
from songbag.errors import SettingsError
from songbag.storage.remote import AnyPath, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from songbag.console import Console
    from songbag.data.song_table import Song, SongTable
    from songbag.inference.model_file import ModelFile
    from songbag.inference.predict import Answer
    from songbag.parallel.pool import Workers
    from songbag.settings import Limits


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
    from songbag.audio.cache import default_folder
    from songbag.console import Console
    from songbag.data.packed_manifest import is_packed
    from songbag.data.song_table import read_songs
    from songbag.inference.predict import answer_all, answer_bags, answer_packed
    from songbag.report import write_report
    from songbag.settings import Limits
    from songbag.tasks.evaluate import evaluate_model, summary

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
@click.option("-o", "--output", type=PATH_OR_URL, help="Folder of Parquet files, for many songs.")
@click.option(
    "--part",
    "part_songs",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="With -o: songs a file.",
)
@table_options
@cache_option
@collection_options
@spread_options
@click.pass_context
def predict(ctx: click.Context, /, model: Path, songs: tuple[str, ...], **options: Any) -> None:
    """Say what SONGS are.

    SONGS are files, folders (searched to the bottom), quoted patterns, tables with a
    path column, or - for paths on standard input, one a line; or one packed folder; or,
    with --song, one table of window features.

    On a terminal the answer is a table, piped it is CSV. With --csv, --json or -o the same
    command goes on where it was stopped. With -o the folder gets songs/part-*.parquet and,
    with --windows, windows/part-*.parquet, one after the other; parts of other songs or
    another model go. A song that cannot be read becomes a row with the reason, and the
    exit code is 1; when no song could be read it is 2. With --precision a song whose
    answer would be too unsure gets none, and the status unsure.
    """
    from songbag.console import Console
    from songbag.data.packed_manifest import is_packed
    from songbag.data.song_table import read_songs
    from songbag.inference.model_file import read_model
    from songbag.inference.predict import answer_bags, answer_packed

    _refuse_two_outputs(options)
    bags = read_window_table(Path(songs[0]), options)
    if bags is not None:
        _predict_bags(ctx, model, bags.table(), answer_bags(bags, model), options)
        return
    if len(songs) == 1 and is_packed(songs[0]):
        if options["output"]:
            raise SettingsError("-o is for songs with audio; for a packed folder give --csv.")
        _predict_bags(ctx, model, *answer_packed(Path(songs[0]), model), options)
        return
    table = read_songs(_inputs(songs), options["allow_outside"], options["remote"])
    loaded = read_model(model)
    console = Console(options["quiet"])
    for remark in table.remarks:
        console.say(remark)
    workers = ctx.with_resource(working(options))
    ways = _predict_files if options["output"] is None else _predict_parts
    failed = ways(table.songs, model, loaded, workers, console, options)
    if failed:
        console.say(f"{failed} of {len(table.songs)} songs could not be read; see their reasons")
    ctx.exit(0 if not failed else 2 if failed == len(table.songs) else 1)


def _refuse_two_outputs(options: dict[str, Any]) -> None:
    if options["output"] and (options["csv_file"] or options["json_file"] or options["song"]):
        raise SettingsError(
            "-o writes a folder of Parquet files of songs with audio. --csv and --json write one "
            "file, also for a table of windows (--song): give either."
        )


def _predict_files(
    songs: "Sequence[Song]",
    path: Path,
    model: "ModelFile",
    workers: "Workers",
    console: "Console",
    options: dict[str, Any],
) -> int:
    from songbag.cli.terminal import Results
    from songbag.tasks.predict import predict_collection, withheld

    results = Results(model.card.labels, songs, options)
    least, cache, limits = _asked(model, options)
    found = predict_collection(songs, path, model, cache, results.file, limits, workers)
    judged = (withheld(one, least) for one in found)
    shown = len(songs) > 1 and (results.file is not None or sys.stdout.isatty())
    return results.take(console.track(judged, len(songs), "Predicting") if shown else judged)


def _predict_parts(
    songs: "Sequence[Song]",
    path: Path,
    model: "ModelFile",
    workers: "Workers",
    console: "Console",
    options: dict[str, Any],
) -> int:
    from songbag.tasks.predict_parquet import Partitioned, predict_partitions

    least, cache, limits = _asked(model, options)
    out = Partitioned(options["output"], options["part_songs"], options["windows"], least)
    failed = predict_partitions(songs, path, model, cache, out, limits, workers)
    return sum(console.track(failed, len(songs), "Predicting"))


def _asked(model: "ModelFile", options: dict[str, Any]) -> "tuple[float, AnyPath, Limits]":
    """Return how sure an answer must be, the cache, and the limits."""
    from songbag.audio.cache import default_folder
    from songbag.settings import Limits
    from songbag.tasks.predict import required_confidence

    precision = options["precision"]
    least = 0.0 if precision is None else required_confidence(model.card, precision)
    return least, options["cache"] or default_folder(), Limits.of_hours(options["max_hours"])


def _predict_bags(
    ctx: click.Context,
    model: Path,
    table: "SongTable",
    answers: "Iterator[Answer]",
    options: dict[str, Any],
) -> None:
    from songbag.cli.terminal import Results
    from songbag.inference.model_file import read_model
    from songbag.inference.tables import with_own
    from songbag.tasks.predict import Predicted, required_confidence, withheld

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
        elif any(mark in one for mark in "*?[") and not (is_url(one) or Path(one).exists()):
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

    from songbag.cli.terminal import card_text, layer_text
    from songbag.inference.model_file import read_model

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
    from songbag.report import write_report

    click.echo(f"report  {write_report(folder, output)}")
