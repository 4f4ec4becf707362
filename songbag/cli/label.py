"""Commands that get songs labelled: what to label next, and a page to do it on."""

from pathlib import Path
from typing import Any

import click

from songbag.cli.options import (
    MODEL,
    OUTPUT,
    PATH,
    RUNNING,
    access_options,
    audio_file_options,
    command,
    exit_code,
    option,
    serving_packages,
)
from songbag.cli.predict import open_inputs, require_model_first
from songbag.console import Console, counted, visible
from songbag.errors import SettingsError


@command
@click.argument("model", type=MODEL)
@click.argument("songs", nargs=-1, required=True)
@option("-n", "count", default=25, type=click.IntRange(1), section="Choice",
        help="Songs to label.")  # fmt: skip
@option("--labelled", multiple=True, type=PATH, section="Choice", metavar="TABLE",
        help="Songs in it are not suggested; may be given again.")  # fmt: skip
@option("--encoder", default="musicnn", metavar="NAME|ONNX", section="Choice",
        help="What hears which songs are alike, as for songbag similar.")  # fmt: skip
@option("--seed", default=0, section="Choice", help="Of the draws.")
@option("-o", "--output", required=True, type=PATH, section=OUTPUT, help="New CSV file.")
@audio_file_options
@click.pass_context
def suggest(ctx: click.Context, /, model: Path, songs: tuple[str, ...], **options: Any) -> None:
    """Choose which of SONGS to label next, to make MODEL better.

    SONGS as for songbag predict. The table has the columns path, label (empty), chosen,
    reason, predicted, confidence, decision and note: songbag label fills it, or a
    spreadsheet. Four of five songs are those that MODEL is unsure of and that are unlike
    each other (BADGE); songbag train never tests them, because they are harder than others.
    One of five is drawn at random, to test on. The exit code is 1 if a song could not be read.
    """
    from songbag.data.audio_dataset import AudioDataset
    from songbag.data.song_table import read_songs
    from songbag.encoders.manifest import load_encoder
    from songbag.inference.model_file import load_model
    from songbag.tasks.suggest import require_new, suggest as task

    require_model_first(model, songs)
    require_new(options["output"])
    loaded, console = load_model(model), Console(options["quiet"])
    options |= {"remote": False, "cluster": None}
    dataset = open_inputs(ctx, songs, options)
    if not isinstance(dataset, AudioDataset):
        raise SettingsError("songbag suggest is for songs in audio files.")
    for remark in dataset.remarks:
        console.say(remark)
    labelled = read_songs(options["labelled"], True).songs if options["labelled"] else []
    encoder = load_encoder(options["encoder"])
    suggested = task(loaded, dataset, labelled, options["count"], encoder, console, options["seed"])
    suggested.write(options["output"])
    drawn = sum(row["chosen"] == "random" for row in suggested.rows)
    how = f"{len(suggested.rows) - drawn} chosen by the model, {drawn} drawn at random"
    click.echo(f"{options['output']}: {counted(len(suggested.rows), 'song')}: {how}")
    for reason in suggested.failures:
        click.echo(visible(f"not read: {reason}"), err=True)
    console.say(f"next: songbag label {options['output']}")
    ctx.exit(exit_code(len(suggested.failures), len(suggested.failures) + len(suggested.rows)))


@command
@click.argument("table", type=PATH)
@option("--labels", section="Labels",
        help="Names with commas.  [default: those in the table]")  # fmt: skip
@option("--multilabel", is_flag=True, section="Labels", help="A song may have several.")
@access_options
@option("--max-hours", default=1.0, section=RUNNING, help="Longest recording that is drawn.")
@option("--no-browser", is_flag=True, section=RUNNING, help="Do not open the page.")
@option("-q", "--quiet", is_flag=True, section=RUNNING, help="No messages.")
def label(
    table: Path, labels: str | None, multilabel: bool, no_browser: bool, quiet: bool, **options: Any
) -> None:
    """Label the songs of TABLE on a page in your browser.

    TABLE is a .csv file with a column path, such as songbag suggest writes. The page plays
    one song after the other; keys 1 to 9 are labels, 0 none of them, S skips, U takes the
    last decision back, Space plays. Each decision is in TABLE, on the disk, before the next
    song shows: columns label (or labels), decision and note. Whatever stops it, the same
    command goes on.

    Other machines are refused, as by songbag serve.
    """
    with serving_packages("label"):
        from songbag.serving.labelling import serve
    from songbag.recipes.load import read
    from songbag.serving.options import ServerOptions
    from songbag.tasks.label import LabelTable

    names = [name.strip() for name in (labels or "").split(",") if name.strip()]
    opened = LabelTable.open(table, names, multilabel)
    serve(opened, read(ServerOptions, options, "label"), not no_browser, Console(quiet).say)
