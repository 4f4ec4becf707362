"""Commands of known data sets: data list, data table, data get."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from songbag.cli.options import PATH, Command, option
from songbag.console import Console, visible

if TYPE_CHECKING:
    from songbag.known.data_set import DataSet


@click.group()
def data() -> None:
    """Known data sets: facts, honest tables, downloads.

    \b
    songbag data list                             what is known, with sources
    songbag data table gtzan genres -o gtzan.csv  the table of a folder you have
    songbag data get esc50 data                   download, check, unpack, table
    """  # noqa: D301 (click wants the character itself)


@data.command("list", cls=Command)
@click.argument("names", nargs=-1)
def list_known(names: tuple[str, ...]) -> None:
    """Show what is known of data sets, of all or of NAMES.

    How many songs, licence, what is wrong with them, which split is honest, what papers report,
    and how to get them. Every figure has its source.
    """
    from songbag.known.data_set import data_set, known

    for one in map(data_set, names or known()):
        click.echo(f"{one.name}  {one.title}")
        rows = [("songs", one.songs), ("licence", one.licence), ("size", one.size)]
        rows += [("wrong", fault) for fault in one.wrong]
        rows += [("split", one.split), ("metric", one.metric)]
        rows += [("published", f"{f.value}  {f.system} ({f.source})") for f in one.figures]
        how = f"songbag data get {one.name} FOLDER" if one.files else one.manual
        rows += [("get", how), ("folder", one.layout), ("checked", one.checked)]
        for place, (what, text) in enumerate([*rows, ("from", one.page)]):
            same = place > 0 and what == rows[place - 1][0]
            head = f"  {'' if same else what:10} "
            if sys.stdout.isatty():
                width = max(40, shutil.get_terminal_size().columns)
                text = textwrap.fill(text, width - len(head)).replace("\n", "\n" + " " * len(head))
            click.echo(head + text)
        click.echo()


@data.command(cls=Command)
@click.argument("name")
@click.argument("folder", type=PATH)
@option("-o", "--output", type=PATH, required=True, help="CSV file.")
@option("-q", "--quiet", is_flag=True, help="No messages.")
def table(name: str, folder: Path, output: Path, quiet: bool) -> None:
    """Write the honest table of a FOLDER that holds the data set NAME.

    Songs have the split or the folds that the data set is judged on; songs with known faults
    are left out, and artists are named where they are known. A folder that is not the data
    set is refused with the first difference. Nothing is downloaded.
    """
    from songbag.known.data_set import data_set

    _write_table(data_set(name), folder, output, Console(quiet))


@data.command("get", cls=Command)
@click.argument("name")
@click.argument("folder", type=PATH)
@option("-q", "--quiet", is_flag=True, help="No messages.")
def get_known(name: str, folder: Path, quiet: bool) -> None:
    """Download the data set NAME to FOLDER, check it, and write its table.

    Only where licence and source allow it; otherwise the command says where to go and what
    to put where. A download that was stopped goes on; a file has its name only when its
    checksum is right. FOLDER gets NAME.csv.
    """
    from songbag.known.data_set import data_set
    from songbag.known.download import get

    known, console = data_set(name), Console(quiet)
    _write_table(known, get(known, folder, console), folder / f"{name}.csv", console)


def _write_table(data: "DataSet", folder: Path, output: Path, console: Console) -> None:
    from songbag.known.tables import table_of

    written = table_of(data, folder)
    written.write(output)
    for text in written.said:
        console.say(text)
    for fault in data.wrong:
        console.say(f"known: {fault}")
    click.echo(f"table  {visible(str(output))}")
    click.echo(f"split  {data.split}")
    click.echo(f"next   {data.train.replace('TABLE', visible(str(output)))}")
