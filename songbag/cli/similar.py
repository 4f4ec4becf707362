"""The command that looks for songs that sound alike."""

import sys
from typing import Any

import click

from songbag.cli.options import OUTPUT, PATH, audio_file_options, command, option
from songbag.cli.predict import open_inputs
from songbag.console import Console, visible
from songbag.errors import SettingsError


@command
@click.argument("songs", nargs=-1, required=True)
@option("--to", "asked", multiple=True, metavar="SONG", section="Question",
        help="A file, or the id of one of SONGS; may be given again.  [default: each]")  # fmt: skip
@option("-n", "count", default=10, type=click.IntRange(1), section="Question",
        help="Answers to each.")  # fmt: skip
@option("--windows", is_flag=True, section="Question",
        help="Moments (3 s with musicnn) instead of songs.")  # fmt: skip
@option("--encoder", default="musicnn", metavar="NAME|ONNX", section="Question",
        help="What listens: a name of songbag encoders, or an ONNX file.")  # fmt: skip
@option("-o", "--output", type=PATH, section=OUTPUT, help="CSV file.")
@option("--index", type=PATH, section=OUTPUT,
        help="File of the vectors, which grows.  [default: in the cache]")  # fmt: skip
@audio_file_options
@click.pass_context
def similar(ctx: click.Context, /, songs: tuple[str, ...], **options: Any) -> None:
    """Find which of SONGS sound alike, without any training.

    SONGS as for songbag predict. For each --to, or for each of SONGS, the songs most like it,
    with the moment that is most alike; "copy" says that it is the same recording. Vectors of
    songs are kept: of what was heard before only new and changed files are listened to. The
    exit code is 1 if a song could not be read.
    """
    from songbag.cli.terminal import print_csv
    from songbag.data.audio_dataset import AudioDataset
    from songbag.encoders.manifest import load_encoder
    from songbag.storage.files import csv_text, write_csv
    from songbag.tasks.similar import COLUMNS, find_similar

    console, encoder = Console(options["quiet"]), load_encoder(options["encoder"])
    options |= {"remote": False, "cluster": None}
    dataset = open_inputs(ctx, songs, options)
    if not isinstance(dataset, AudioDataset):
        raise SettingsError("songbag similar is for songs in audio files.")
    for remark in dataset.remarks:
        console.say(remark)
    names = list(options["asked"])
    known = {song.id for song in dataset.songs}
    files = [name for name in names if name not in known]
    elsewhere = open_inputs(ctx, tuple(files), options) if files else None
    assert elsewhere is None or isinstance(elsewhere, AudioDataset)
    ids = [name for name in names if name in known]
    nearest = find_similar(dataset, elsewhere, ids, encoder, options["index"], console)
    answers = nearest.moments if options["windows"] else nearest.songs
    asked, failures = nearest.asked.songs, nearest.collection.failures
    tracked = console.track(answers(options["count"]), len(asked), "Comparing")
    if options["output"] is not None:
        write_csv(options["output"], (row for rows in tracked for row in rows), COLUMNS)
    elif sys.stdout.isatty():
        for song, rows in zip(asked, tracked, strict=True):
            click.echo(visible(song.id))
            for row in rows:
                place = f"{row['start']:6.1f} s like {row['to_start']:6.1f} s"
                copy = f"  {row['copy']}" if row["copy"] else ""
                click.echo(visible(f"  {row['similarity']:5.2f}  {place}  {row['id']}{copy}"))
    else:
        print_csv(csv_text((row for rows in tracked for row in rows), COLUMNS))
    for reason in failures:
        click.echo(visible(f"not read: {reason}"), err=True)
    ctx.exit(1 if failures else 0)
