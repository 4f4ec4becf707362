"""Commands that answer: evaluate, predict, info, report. None of them needs torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    PATH_OR_URL,
    audio_options,
    cache_option,
    collection_options,
    read_window_table,
    spread_options,
    table_options,
    working,
)
from songbag.errors import SettingsError
from songbag.storage.remote import is_url

if TYPE_CHECKING:
    from songbag.console import Console
    from songbag.data.audio_dataset import AudioDataset
    from songbag.data.dataset import SongDataset
    from songbag.inference.model_file import Model


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
    from songbag.console import Console
    from songbag.data.open_songs import open_songs
    from songbag.inference.model_file import load_model
    from songbag.report import write_report
    from songbag.tasks.evaluate import evaluate_model, summary

    dataset = open_songs(read_window_table(songs, options) or songs, audio_options(options))
    console = Console(options["quiet"])
    evaluation = evaluate_model(load_model(model), dataset, console, everything)
    evaluation.write(output)
    click.echo(summary(evaluation.figures))
    click.echo(f"report  {write_report(output)}")
    ctx.exit(1 if evaluation.figures["failed"] else 0)


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
    from songbag.data.audio_dataset import AudioDataset
    from songbag.data.open_songs import open_songs
    from songbag.inference.model_file import load_model
    from songbag.tasks.predict import required_confidence

    _refuse_two_outputs(options)
    window_table = read_window_table(Path(songs[0]), options)
    inputs = _inputs(songs) if window_table is None else [songs[0]]
    audio = audio_options(options, ctx.with_resource(working(options)))
    dataset = open_songs(window_table or (inputs[0] if len(inputs) == 1 else inputs), audio)
    loaded, precision = load_model(model), options["precision"]
    confidence = 0.0 if precision is None else required_confidence(loaded.card, precision)
    console = Console(options["quiet"])
    for remark in dataset.remarks:
        console.say(remark)
    count = len(dataset.everyone())
    if isinstance(dataset, AudioDataset) and options["output"]:
        failed = _predict_parts(loaded, dataset, confidence, console, options)
    elif options["output"]:
        raise SettingsError("-o is for songs with audio; for a packed folder give --csv.")
    else:
        failed = _predict_rows(loaded, dataset, confidence, console, options)
    if failed and isinstance(dataset, AudioDataset):
        console.say(f"{failed} of {count} songs could not be read; see their reasons")
    ctx.exit(0 if not failed else 2 if failed == count else 1)


def _refuse_two_outputs(options: dict[str, Any]) -> None:
    if options["output"] and (options["csv_file"] or options["json_file"] or options["song"]):
        raise SettingsError(
            "-o writes a folder of Parquet files of songs with audio. --csv and --json write one "
            "file, also for a table of windows (--song): give either."
        )


def _predict_rows(
    model: "Model",
    dataset: "SongDataset",
    confidence: float,
    console: "Console",
    options: dict[str, Any],
) -> int:
    from songbag.cli.terminal import Results
    from songbag.tasks.predict import predict_rows

    songs = dataset.everyone()
    results = Results(model.card.labels, songs, options)
    rows = (row.withheld_below(confidence) for row in predict_rows(model, dataset, results.file))
    shown = len(songs) > 1 and (results.file is not None or sys.stdout.isatty())
    return results.take(console.track(rows, len(songs), "Predicting") if shown else rows)


def _predict_parts(
    model: "Model",
    dataset: "AudioDataset",
    confidence: float,
    console: "Console",
    options: dict[str, Any],
) -> int:
    from songbag.tasks.predict import Partition, predict_parts

    out = Partition(options["output"], options["part_songs"], options["windows"], confidence)
    failed = predict_parts(model, dataset, out)
    return sum(console.track(failed, len(dataset.songs), "Predicting"))


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
    from songbag.inference.model_file import load_model

    card = load_model(model, parts=()).card
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
