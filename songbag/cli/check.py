"""The command that looks at songs before anything is trained on them; it needs no torch."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    PATH_OR_URL,
    audio_options,
    cache_option,
    collection_options,
    spread_options,
    working,
)

if TYPE_CHECKING:
    from songbag.quality.findings import Finding
    from songbag.storage.remote import AnyPath

_SHOWN = 10  # findings of a kind in the terminal's table
_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


@click.command()
@click.argument("songs", type=PATH_OR_URL)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="CSV file of the findings.")
@click.option(
    "--fix", "cleaned", type=click.Path(path_type=Path), help="CSV file: the table cleaned."
)
@click.option(
    "--crossval", type=click.Path(path_type=Path), help="Folder of crossval: doubt labels by it."
)
@click.option("--recipe", default="cnn", show_default=True, help="Says how long a window is.")
@click.option("--group", metavar="COLUMN", help="Never on two sides.  [default: artist]")
@cache_option
@collection_options
@spread_options
@click.pass_context
def check(ctx: click.Context, /, songs: "AnyPath", **options: Any) -> None:
    """Look for what is wrong with SONGS before training on them.

    SONGS is a folder with one subfolder a label, or a table (.csv, .tsv, .parquet) with the
    columns path and label. Found are files that are unreadable, truncated, damaged, silent,
    clipped, short or unlike the others; songs that are there twice, re-encoded or shifted
    by up to 5 s too; names written two ways; labels that copies or (with --crossval) the
    answers of a cross-validation contradict, that have too few songs, or that loudness,
    length or format give away.

    With --fix a table is written without what cannot be read, silence and all copies but the
    best; songs whose copies have different labels are left out altogether. Audio files are
    never changed. The exit code is 0 if nothing was found, 1 if something was, 2 if the
    check could not run.
    """
    from songbag.console import Console
    from songbag.data.open_songs import open_audio
    from songbag.quality.findings import COLUMNS, severity_counts
    from songbag.recipes import load_recipe
    from songbag.storage.csv_files import write_csv
    from songbag.tasks.check import survey_songs, write_cleaned

    workers = ctx.with_resource(working(options))
    dataset = open_audio(songs, audio_options(options, workers), options["group"])
    console = Console(options["quiet"])
    for remark in dataset.remarks:
        console.say(remark)
    window_seconds = load_recipe(options["recipe"]).windows.seconds
    survey = survey_songs(dataset, console, window_seconds, options["crossval"])
    _show(survey.findings)
    if options["output"]:
        write_csv(options["output"], [one.row() for one in survey.findings], COLUMNS)
    if options["cleaned"]:
        for line in write_cleaned(dataset, survey, options["cleaned"]):
            console.say(line)
    count = len(dataset.songs)
    console.say(
        f"{count} song{'' if count == 1 else 's'} checked: {severity_counts(survey.findings)}"
    )
    ctx.exit(1 if survey.findings else 0)


def _show(findings: Sequence["Finding"]) -> None:
    if not sys.stdout.isatty():
        for one in findings:
            click.echo(one.line())
        return
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.text import Text

    of_kind: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        of_kind[one.severity, one.kind].append(one)
    terminal = Console()
    for (severity, kind), found in of_kind.items():
        count = f"  {len(found)}" if len(found) > 1 else ""
        title = Text.assemble((severity, _COLOURS[severity]), "  ", (kind, "bold"), (count, "dim"))
        terminal.print(Group(title, Padding(Text(found[0].advice, "dim"), (0, 0, 0, 2))))
        terminal.print(_table(found[:_SHOWN]))
        if len(found) > _SHOWN:
            rest = f"  and {len(found) - _SHOWN} more; -o FILE writes all of them"
            terminal.print(rest, style="dim")


def _table(findings: Sequence["Finding"]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(ratio=2, overflow="fold")
    table.add_column(ratio=3, overflow="fold")
    table.expand = True
    for one in findings:
        # Text, because a name such as "song [live].mp3" is no markup.
        names = "\n  = ".join(name for name in (one.id, one.other_id) if name) or one.label
        table.add_row(Text(f"  {names}"), Text(one.found))
    return table
