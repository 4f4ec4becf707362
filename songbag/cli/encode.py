"""Commands of pre-trained encoders: encoders, tag, embed. None of them trains."""

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    OUTPUT,
    PATH,
    audio_file_options,
    cluster_options,
    command,
    exit_code,
    option,
)
from songbag.cli.predict import open_inputs
from songbag.console import Console, visible, wrapped

if TYPE_CHECKING:
    from songbag.tasks.embed import EncodedSong

_TAGS_SHOWN = 5  # of a song, on a terminal
_WIDEST_NAME = 48  # characters, before the tags

_encoder_option = option(
    "--encoder", default="musicnn", metavar="NAME|ONNX", section="Encoder",
    help="What listens: a name of songbag encoders, or an ONNX file.",
)  # fmt: skip
_windows_option = option(
    "--windows", is_flag=True, section=OUTPUT, help="A row a piece (3 s with musicnn), over time."
)


@command
def encoders() -> None:
    """Show the pre-trained encoders: what they hear and what they were trained on."""
    from songbag.parts import encoders

    for name in encoders():
        part = encoders()[name]
        loaded = part.load()()
        rate = loaded.sound.sample_rate
        click.echo(f"{name}  {part.summary}")
        rows = {
            "trained on": loaded.trained_on,
            "sample rate": f"{rate} Hz; nothing above {rate // 2} Hz is heard",
            "vectors": f"{loaded.encoding.values} numbers every {loaded.sound.step / rate:.3f} s",
            "size": f"{len(loaded.graph) / 1e6:.1f} MB in a model file",
            "licence": loaded.license,
        }
        for what, text in rows.items():
            click.echo(f"  {what:12} {text}")
        for remark in loaded.remarks:
            click.echo(textwrap.fill(remark, 79, initial_indent="  ", subsequent_indent="  "))


@command
@click.argument("songs", nargs=-1, required=True)
@option("--csv", "csv_file", type=PATH, section=OUTPUT, help="Write a CSV file.")
@_windows_option
@_encoder_option
@audio_file_options
@cluster_options
@click.pass_context
def tag(ctx: click.Context, /, songs: tuple[str, ...], **options: Any) -> None:
    """Tag SONGS without any training: genres, moods, instruments, decades.

    SONGS are files, folders, quoted patterns, tables with a path column, or - for paths on
    standard input. The result is a table on a terminal and CSV in a pipe: a column for each of
    the encoder's tags, with its probability. Tags are no labels of yours: a probability is what
    listeners of the songs that the encoder knows would say.
    """
    _encode(ctx, songs, options, tags=True, output=options["csv_file"])


@command
@click.argument("songs", nargs=-1, required=True)
@option("-o", "--output", type=PATH, required=True, section=OUTPUT, help="File: .parquet or .csv.")
@_windows_option
@_encoder_option
@audio_file_options
@cluster_options
@click.pass_context
def embed(ctx: click.Context, /, songs: tuple[str, ...], output: Path, **options: Any) -> None:
    """Write an encoder's vectors of SONGS, for other tools.

    SONGS as for songbag tag. A row a song, or with --windows a row a piece: id, status, reason,
    v0, v1, ... Songs that cannot be read have a row with the reason.
    """
    _encode(ctx, songs, options, tags=False, output=output)


def _encode(
    ctx: click.Context,
    songs: tuple[str, ...],
    options: dict[str, Any],
    tags: bool,
    output: Path | None,
) -> None:
    from songbag.cli.terminal import print_csv
    from songbag.encoders.manifest import load_encoder
    from songbag.storage.files import csv_text
    from songbag.tasks.embed import encode_songs, table_columns, value_columns, write_table

    console, pieces = Console(options["quiet"]), options["windows"]
    encoder = load_encoder(options["encoder"])
    values = value_columns(encoder, tags)
    dataset = open_inputs(ctx, songs, options)
    for remark in dataset.remarks:
        console.say(remark)
    everyone = dataset.everyone()
    encoded = encode_songs(dataset, encoder, tags, pieces)
    if output is not None or sys.stdout.isatty():
        encoded = iter(console.track(encoded, len(everyone), "Listening"))
    failed = 0

    def counted(songs: Iterable["EncodedSong"]) -> Iterator["EncodedSong"]:
        nonlocal failed
        for song in songs:
            failed += bool(song.reason)
            yield song

    columns, answers = table_columns(values, pieces), counted(encoded)
    if output is not None:
        write_table(output, (row for song in answers for row in song.rows(values, pieces)), columns)
    elif sys.stdout.isatty():
        _print_tags(answers, values, max(len(song.id) for song in everyone))
    else:
        print_csv(csv_text([], columns))
        for song in answers:
            print_csv(csv_text(song.rows(values, pieces), columns, header=False))
    if failed:
        console.say(f"{failed} of {len(everyone)} songs could not be read; see their reasons")
    ctx.exit(exit_code(failed, len(everyone)))


def _print_tags(songs: Iterable["EncodedSong"], tags: Sequence[str], longest: int) -> None:
    """Print each song, or piece, with its most probable tags beside it, as soon as it is there."""
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    terminal = Terminal()
    for song in songs:
        if song.reason:
            click.echo(wrapped(visible(song.warnings)), err=True)
        pieces = len(song.values) > 1
        for values, start in zip(song.values, song.starts, strict=True):
            best = sorted(zip(values.tolist(), tags, strict=True), reverse=True)[:_TAGS_SHOWN]
            line = Table.grid(padding=(0, 2, 0, 0))
            line.add_column(width=min(longest, _WIDEST_NAME), overflow="fold", style="bold")
            name = Text(visible(song.song.id))
            said = Text(", ".join(f"{tag} {100 * value:.0f}%" for value, tag in best))
            line.add_row(name, *([f"{start:7.1f} s"] if pieces else []), said)
            terminal.print(line)
