"""Commands that use a model: evaluate, predict, serve, info, report, export, all without torch."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.deliver import deliver, delivery_options, open_delivery
from songbag.cli.options import (
    MODEL,
    OUTPUT,
    PATH,
    PATH_OR_URL,
    RUNNING,
    access_options,
    audio_file_options,
    cluster_options,
    command,
    exit_code,
    open_workers,
    option,
    read_audio_options,
    read_window_table,
    serving_packages,
    span_options,
    window_table_options,
)
from songbag.console import Console
from songbag.errors import SettingsError
from songbag.storage.remote import is_url

if TYPE_CHECKING:
    from songbag.data.dataset import SongDataset


@command
@click.argument("model", type=MODEL)
@click.argument("songs", type=PATH)
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="Folder.")
@option("--all", "everything", is_flag=True, section=OUTPUT, help="Evaluate songs of training too.")
@option("--robust", is_flag=True, section=OUTPUT,
        help="Also as mp3, by telephone, clipped, faster, ...")  # fmt: skip
@audio_file_options
@span_options
@window_table_options
@click.pass_context
def evaluate(ctx: click.Context, /, model: Path, songs: Path, output: Path, **options: Any) -> None:
    """Evaluate MODEL on labelled SONGS that were not in its training.

    The folder gets metrics.json, predictions.csv, windows.csv and report.html. Songs that
    the model was trained on are predicted but do not count, unless --all is given. With
    --robust those that count are also predicted with their sound changed in seven ways:
    robust.csv says how many decisions change.
    """
    from songbag.cli.terminal import robust_text
    from songbag.data.open_songs import open_songs
    from songbag.inference.model_file import load_model
    from songbag.report.write import write_report
    from songbag.tasks.evaluate import evaluate_model, summary

    require_model_first(model, [str(songs)])
    loaded, console = load_model(model), Console(options["quiet"])
    windows = read_window_table(songs, options, loaded.card.features)
    dataset = open_songs(windows or songs, read_audio_options(options))
    everything, robust = options["everything"], options["robust"]
    evaluation = evaluate_model(loaded, dataset, console, everything, robust=robust)
    evaluation.write(output)
    click.echo(summary(evaluation.figures))
    if robust:
        click.echo(robust_text(evaluation.figures["robust"], loaded.card.kind.headline))
    click.echo(f"report  {write_report(output)}")
    ctx.exit(1 if evaluation.figures["failed"] else 0)


@command
@click.argument("model", type=MODEL)
@click.argument("songs", nargs=-1, required=True)
@option("--windows", is_flag=True, section=OUTPUT, help="Every window's answer as well.")
@option("--precision", type=click.FloatRange(0, 1, min_open=True, max_open=True), section=OUTPUT,
        help="Answer only where so large a share is right, e.g. 0.9.")  # fmt: skip
@option("--unknown", type=click.FloatRange(0, 1, max_open=True), section=OUTPUT,
        help="No label for songs unlike the known ones, e.g. 0.05.")  # fmt: skip
@option("--csv", "csv_file", type=PATH, section=OUTPUT, help="Write a CSV file.")
@option("--json", "json_file", type=PATH, section=OUTPUT,
        help="Write a JSON file; .jsonl: a line a song.")  # fmt: skip
@option("--bom", is_flag=True, section=OUTPUT,
        help="With --csv: begin with the mark by which Excel knows UTF-8.")  # fmt: skip
@option("-o", "--output", type=PATH_OR_URL, section=OUTPUT,
        help="Folder of Parquet files, for many songs.")  # fmt: skip
@option("--part", "part_songs", default=1000, type=click.IntRange(1),
        section=OUTPUT, help="With -o: songs a file.")  # fmt: skip
@delivery_options
@audio_file_options
@cluster_options
@window_table_options
@click.pass_context
def predict(ctx: click.Context, /, model: Path, songs: tuple[str, ...], **options: Any) -> None:
    """Predict the labels of SONGS with MODEL.

    SONGS are files, folders with their subfolders, quoted patterns, tables with a path
    column, or - for paths on standard input, one a line; or one packed folder; or, with
    --song, one table of window features.

    The result is a table on a terminal and CSV in a pipe. With --csv, --json or -o the same
    command goes on where it was stopped. With -o the folder gets songs/part-*.parquet and,
    with --windows, windows/part-*.parquet; parts of other songs or another model are
    removed. A song that cannot be read is a row with the reason, and the exit code is 1;
    when no song could be read it is 2. With --precision a song whose label would be too
    unsure gets no label and the status unsure. A model that was trained with --unknown gives
    songs unlike all it knows no label and the status unknown; with --unknown A that are about
    a share A of the known ones.
    """
    from songbag.cli.terminal import write_predictions
    from songbag.data.audio_dataset import AudioDataset
    from songbag.inference.model_file import load_model
    from songbag.tasks.predict import (
        Partition,
        PredictedRows,
        Withholding,
        predict_parts,
        predict_rows,
    )

    file = options["csv_file"] or options["json_file"]
    if options["output"] and (file or options["song"]):
        raise SettingsError(
            "-o writes a folder of Parquet files of songs with audio. --csv and --json write one "
            "file, also for a table of windows (--song): give either."
        )
    console = Console(options["quiet"])
    require_model_first(model, songs)
    loaded = load_model(model)
    rules = Withholding.of(loaded, options["precision"], options["unknown"])
    dataset = open_inputs(ctx, songs, options, loaded.card.features)
    for remark in dataset.remarks:
        console.say(remark)
    everyone, untagged = dataset.everyone(), 0
    journal = open_delivery(ctx, dataset, options)
    if options["output"]:
        if not isinstance(dataset, AudioDataset):
            raise SettingsError("-o is for songs with audio; for a packed folder give --csv.")
        parts = Partition(options["output"], options["part_songs"], options["windows"], rules)
        failures = predict_parts(loaded, dataset, parts)
        failed = sum(console.track(failures, len(everyone), "Predicting"))
    else:
        predictions = predict_rows(loaded, dataset, file)
        if len(everyone) > 1 and (file or sys.stdout.isatty()):
            predictions = console.track(predictions, len(everyone), "Predicting")
        answers: Iterable[PredictedRows]
        answers = (song.withheld(rules) for song in predictions)
        if options["playlists"] or options["segments"] or journal:
            answers = list(answers)
        failed = write_predictions(answers, loaded.card.labels, everyone, options)
        if options["csv_file"] and options["windows"]:
            console.say(f"written  {file}, and {file.stem}-windows.csv beside it")
        elif file:
            console.say(f"written  {file}")
        if isinstance(answers, list):
            untagged = deliver(answers, dataset, loaded.card, options, journal)
    if failed and isinstance(dataset, AudioDataset):
        console.say(f"{failed} of {len(everyone)} songs could not be read; see their reasons")
    ctx.exit(max(exit_code(failed, len(everyone)), int(untagged > 0)))


def require_model_first(model: Path, songs: Sequence[str]) -> None:
    """Refuse arguments in the wrong order, with the right one."""
    later = next((name for name in songs if name.endswith(".songbag") and Path(name).is_file()), "")
    if later and (model.suffix != ".songbag" or not model.is_file()):
        raise SettingsError(f"the model comes first: give {later}, then {model}.")


def open_inputs(
    ctx: click.Context,
    songs: tuple[str, ...],
    options: dict[str, Any],
    columns: Sequence[str] = (),
) -> "SongDataset":
    """Return the dataset of all arguments, with patterns and standard input replaced by paths.

    ``columns`` are those of a window table that a model was trained on.
    """
    import glob

    from songbag.data.open_songs import open_songs
    from songbag.data.packed_files import is_packed

    audio = read_audio_options(options, ctx.with_resource(open_workers(options)))
    windows = read_window_table(Path(songs[0]), options, columns) if "song" in options else None
    if windows is not None:
        return windows
    if len(songs) == 1 and is_packed(songs[0]):
        return open_songs(songs[0], audio)
    paths: list[str] = []
    for name in songs:
        if name == "-":
            paths += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        elif any(mark in name for mark in "*?[") and not (is_url(name) or Path(name).exists()):
            paths += sorted(glob.glob(name, recursive=True)) or [name]
        else:
            paths.append(name)
    return open_songs(paths, audio)  # a list: the ids of songs in a folder are their paths


@command
@click.argument("models", type=MODEL, nargs=-1, required=True)
@access_options
@option("--allow-origin", "allow_origins", multiple=True, metavar="ORIGIN", section="Access",
        help="Let pages of https://example.org use it (CORS).")  # fmt: skip
@option("--waiting", default=8, type=click.IntRange(0), section="Limits",
        help="Songs that may wait.")  # fmt: skip
@option("--max-megabytes", default=64.0, section="Limits", help="Largest request.")
@option("--max-hours", default=1.0, section="Limits", help="Longest recording.")
@option("--max-seconds", default=60.0, section="Limits", help="Longest work on a song.")
@option("--workers", type=click.IntRange(1), section=RUNNING,
        help="Songs at once.  [default: cores, up to 4]")  # fmt: skip
@option("--no-browser", is_flag=True, section=RUNNING, help="Do not open the page.")
@option("-q", "--quiet", is_flag=True, section=RUNNING, help="No messages.")
def serve(models: tuple[Path, ...], no_browser: bool, quiet: bool, **options: Any) -> None:
    """Show MODELS as a web page, and answer over HTTP.

    The page opens in your browser: drop songs on it, see the labels, hear what each
    window added. Files are removed as soon as they are answered, and nothing leaves this
    machine. Programs POST a song to /predict; /docs shows the rest. The first of several
    models answers there, each one at /models/NAME/predict; a model file that is replaced is
    read again.

    Other machines are refused. To let them in, give --allow-remote and a token, best in
    the variable SONGBAG_TOKEN, and put TLS in front.
    """
    with serving_packages("serve"):
        from songbag.serving.app import serve as run
    from songbag.recipes.load import read
    from songbag.serving.options import ServerOptions, default_workers

    options["workers"] = options["workers"] or default_workers()
    run(models, read(ServerOptions, options, "serve"), not no_browser, Console(quiet).say)


@command
@click.argument("model", type=MODEL)
@option("--network", is_flag=True, help="Show the layer table.")
@option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
@option("--markdown", is_flag=True, help="A model card, as the Hugging Face hub reads it.")
@option("--license", default="unknown", metavar="WORD",
        help="With --markdown: licence of the model, e.g. mit.")  # fmt: skip
def info(model: Path, network: bool, as_json: bool, markdown: bool, license: str) -> None:
    """Show what MODEL is: labels, settings, split, figures, versions.

    Here and wherever a model is given, MODEL may be an address: hf://user/model, or
    https://host/genre.songbag#sha256=...
    """
    import msgspec

    from songbag.cli.terminal import card_text, layer_text
    from songbag.inference.model_file import load_model
    from songbag.tasks.model_card import model_card

    card = load_model(model, parts=()).card
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(card), indent=1).decode())
    elif markdown:
        click.echo(model_card(card, model.stem, license), nl=False)
    else:
        click.echo(layer_text(card) if network else card_text(card))


@command
@click.argument("folder", type=PATH)
@option("-o", "--output", type=PATH, help="HTML file.")
def report(folder: Path, output: Path | None) -> None:
    """Write the HTML report of a FOLDER of results.

    FOLDER is one that train, crossval, evaluate, compare or leakage wrote. The report is
    one page that needs no network: it can be mailed, printed, and opened anywhere.
    """
    from songbag.report.write import write_report

    click.echo(f"report  {write_report(folder, output)}")


@command
@click.argument("model", type=MODEL)
@click.argument("output", type=PATH)
@option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def export(model: Path, output: Path, quiet: bool) -> None:
    """Write MODEL as one ONNX file OUTPUT.

    It runs wherever ONNX Runtime does. The graph takes a mono waveform at the model's
    sample rate and gives the song's probabilities and every window's: features, windows,
    network, pooling and calibration are all inside. It is compared with the library first;
    if they disagree, nothing is written.
    """
    from songbag.inference.model_file import load_model
    from songbag.tasks.export import export_model

    exported = export_model(load_model(model), output, Console(quiet))
    size = f"{exported.bytes / 1e6:.1f} MB"
    click.echo(f"graph   {output}  ({size}; within {exported.difference:.0e} of the library)")
