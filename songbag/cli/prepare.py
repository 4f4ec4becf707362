"""Commands before a training: check, extract, pack. None of them imports torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    OUTPUT,
    PATH,
    PATH_OR_URL,
    RUNNING,
    SONGS,
    TRAINING,
    audio_file_options,
    cluster_options,
    command,
    excerpt_options,
    exit_code,
    group_option,
    open_workers,
    option,
    read_audio_options,
    span_options,
)
from songbag.cli.training_options import encoder_option, recipe_changes
from songbag.console import Console
from songbag.errors import SettingsError
from songbag.storage.remote import AnyPath

if TYPE_CHECKING:
    from songbag.data.audio_dataset import AudioDataset


@command
@click.argument("songs", type=PATH_OR_URL)
@option("-o", "--output", type=PATH, section=OUTPUT, help="CSV file of the findings.")
@option("--fix", "cleaned", type=PATH, section=OUTPUT, help="CSV file: the table cleaned.")
@option("--crossval", type=PATH, section=SONGS, help="Folder of crossval, to find wrong labels.")
@option(
    "--labels",
    is_flag=True,
    section=SONGS,
    help="Find wrong labels by linear networks on what the recipe hears.",
)
@option("--recipe", default="auto", section=SONGS, help="Says what is heard, in which windows.")
@encoder_option
@group_option
@audio_file_options
@span_options
@cluster_options
@click.pass_context
def check(ctx: click.Context, /, songs: AnyPath, **options: Any) -> None:
    """Look for what is wrong with SONGS before training on them.

    SONGS is a folder with one subfolder a label, or a table (.csv, .tsv, .parquet) with the
    columns path and label. Reported are files that are unreadable, truncated, damaged, silent,
    clipped, short, above what the recipe hears, or unlike the others; sound without high
    frequencies, with channels that cancel, with hum or with long silence; songs that are there
    twice, re-encoded or shifted by up to 5 s too; names written two ways; labels that copies or
    (with --labels) models not trained on the song contradict, that have too few songs, or that
    loudness, length or format give away.

    With --fix a table is written without what cannot be read, silence and all copies but the
    best; songs whose copies have different labels are left out altogether. Audio files are
    never changed. The exit code is 0 without findings, 1 with some, 2 if the check could
    not run.
    """
    from songbag.cli.terminal import print_findings
    from songbag.encoders.choose import choose_recipe
    from songbag.quality.findings import COLUMNS, severity_counts
    from songbag.storage.files import write_csv
    from songbag.tasks.check import survey_songs, write_cleaned

    console = Console(options["quiet"])
    dataset = _open_audio(ctx, songs, options, console)
    recipe = choose_recipe(options["recipe"], encoder=options["encoder"])
    survey = survey_songs(dataset, console, recipe, options["crossval"], options["labels"])
    if sys.stdout.isatty():
        print_findings(survey.findings)
    else:
        for finding in survey.findings:
            click.echo(finding.line())
    if options["output"]:
        write_csv(options["output"], [finding.row() for finding in survey.findings], COLUMNS)
    if options["cleaned"]:
        for line in write_cleaned(dataset, survey, options["cleaned"]):
            console.say(line)
    count = len(dataset.songs)
    console.say(
        f"{count} song{'' if count == 1 else 's'} checked: {severity_counts(survey.findings)}"
    )
    ctx.exit(1 if survey.findings else 0)


def _open_audio(
    ctx: click.Context, songs: AnyPath, options: dict[str, Any], console: Console
) -> "AudioDataset":
    """Return the dataset of a folder or table, after its remarks were shown."""
    from songbag.data.open_songs import open_audio

    workers = ctx.with_resource(open_workers(options))
    dataset = open_audio(songs, read_audio_options(options, workers), options.get("group"))
    for remark in dataset.remarks:
        console.say(remark)
    return dataset


@command
@click.argument("songs", type=PATH_OR_URL)
@option("-o", "--output", type=PATH, section=OUTPUT, help="CSV file of the receipts.")
@option("--recipe", default="auto", section=SONGS, help="Says what a frame is.")
@encoder_option
@audio_file_options
@cluster_options
@click.pass_context
def extract(ctx: click.Context, /, songs: AnyPath, output: Path | None, **options: Any) -> None:
    """Compute the frames of SONGS and store them in the cache.

    Trainings and predictions read them from there. SONGS is a folder or a table (.csv,
    .tsv, .parquet) with a column path. Prints a receipt for every song as CSV, or writes
    them with -o: its id, whether and why it failed, and its file in the cache. What the
    cache holds is not computed again, so the same command goes on where it was stopped.
    The exit code is 0, 1 if some songs failed, 2 if all did.
    """
    from songbag.cli.terminal import print_csv
    from songbag.encoders.choose import choose_recipe
    from songbag.storage.files import csv_text, write_csv
    from songbag.tasks.pack import RECEIPT_COLUMNS, extract_dataset

    console = Console(options["quiet"])
    dataset = _open_audio(ctx, songs, options, console)
    recipe = choose_recipe(options["recipe"], encoder=options["encoder"])
    extracted = extract_dataset(dataset, recipe)
    rows = list(console.track(extracted, len(dataset.songs)))
    if output is not None:
        write_csv(output, rows, RECEIPT_COLUMNS)
    else:
        print_csv(csv_text(rows, RECEIPT_COLUMNS))
    failed = sum(row["status"] == "failed" for row in rows)
    if failed:
        console.say(f"{failed} of {len(rows)} songs could not be read; see their reasons")
    ctx.exit(exit_code(failed, len(rows)))


@command
@click.argument("songs", type=PATH)
@option("-o", "--output", type=PATH, section=OUTPUT, help="Folder.")
@option("--format", "content", type=click.Choice(["shards", "windows", "frames"]),
        default="shards", section=OUTPUT,
        help="windows, frames: as Parquet.")  # fmt: skip
@option("--shard-mb", default=256, type=click.IntRange(1), section=OUTPUT,
        help="Size of a shard in MiB.")  # fmt: skip
@option("--recipe", default="auto", section=TRAINING, help="Whose sound: name or .toml file.")
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", section=TRAINING,
        help="Any setting of the sound, e.g. sound.mel_bands=96.")  # fmt: skip
@encoder_option
@excerpt_options
@audio_file_options
@span_options
@option("--verify", is_flag=True, section=RUNNING, help="Read all shards; make damaged ones again.")
@click.pass_context
def pack(ctx: click.Context, /, songs: Path, output: Path | None, **options: Any) -> None:
    """Pack the frames of SONGS into one folder.

    The folder can be given to train, crossval, compare, predict and evaluate. It gets the
    frames of all songs in shards of 256 MiB, songs.parquet (a row a song) and
    collection.json. Training maps the shards: it needs no memory for its songs, however
    many there are. The same command goes on where it was stopped.

    With --verify and no -o, SONGS is a packed folder, and every song in it is checked.
    With --format windows or frames, SONGS is a packed folder too, and the output is a
    folder of Parquet files for other programs: id, label, group, start, feature.
    """
    from songbag.data.open_songs import open_audio
    from songbag.encoders.choose import choose_recipe
    from songbag.tasks.pack import pack_songs, verify_packed, write_parquet

    console = Console(options["quiet"])
    if output is None:
        if not options["verify"]:
            raise SettingsError("where to? Give the folder: -o packed/")
        click.echo(f"verified  {verify_packed(songs, console)} songs")
        return
    recipe = choose_recipe(options["recipe"], recipe_changes(options), options["encoder"])
    if options["content"] != "shards":
        count = write_parquet(songs, output, recipe, options["content"], console)
        click.echo(f"written  {output}  {count} files")
        return
    dataset = open_audio(songs, read_audio_options(options))
    shard_bytes = options["shard_mb"] << 20
    packed = pack_songs(dataset, recipe, output, console, shard_bytes, options["verify"])
    if not options["quiet"]:
        size = f"{packed.bytes / 2**20:.1f} MiB in {packed.shards} shards"
        click.echo(f"packed  {packed.folder}  {packed.songs} songs, {size}, {packed.failed} failed")
    ctx.exit(exit_code(packed.failed, packed.failed + packed.songs))
