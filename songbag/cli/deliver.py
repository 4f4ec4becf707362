"""Where ``songbag predict`` puts answers besides its table: playlists and the tags of files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import OUTPUT, PATH, option, together
from songbag.console import Console, visible
from songbag.errors import SettingsError

if TYPE_CHECKING:
    from songbag.collection.journal import Journal
    from songbag.data.dataset import SongDataset
    from songbag.inference.model_file import Card
    from songbag.tasks.predict import PredictedRows

delivery_options = together(
    option("--m3u", "playlists", type=PATH, metavar="FOLDER", section=OUTPUT,
           help="Write a playlist for each label."),
    option("--write-field", "field", metavar="FIELD", section=OUTPUT,
           help="Write the label into the files' tags: genre, grouping, comment, MY_FIELD."),
    option("--journal", type=PATH, default="songbag.journal", section=OUTPUT,
           help="With --write-field: the old values, for songbag undo."),
)  # fmt: skip


def open_delivery(
    ctx: click.Context, dataset: "SongDataset", options: dict[str, Any]
) -> "Journal | None":
    """Refuse what cannot be delivered before anything is predicted; return the open journal."""
    for name, value in (("--m3u", options["playlists"]), ("--write-field", options["field"])):
        if value is None:
            continue
        from songbag.collection.answers import require_whole_files

        if options["output"]:
            raise SettingsError(f"-o writes Parquet files alone; give {name} without it.")
        require_whole_files(dataset, name)
    if options["field"] is None:
        return None
    from songbag.audio.tags import require_field
    from songbag.collection.journal import open_collection

    require_field(options["field"])
    return ctx.with_resource(open_collection(options["journal"]))


def deliver(
    predicted: "Sequence[PredictedRows]",
    dataset: "SongDataset",
    card: "Card",
    options: dict[str, Any],
    journal: "Journal | None",
) -> int:
    """Write playlists and tags, say what was written, and return how many tags could not be."""
    from songbag.collection.answers import label_names
    from songbag.collection.playlists import write_playlists
    from songbag.collection.write_tags import write_tags
    from songbag.data.audio_dataset import AudioDataset
    from songbag.tasks.sort import Answers

    assert isinstance(dataset, AudioDataset)
    console, rows = Console(options["quiet"]), [song.row for song in predicted]
    answers = Answers.of(dataset.songs, rows, card.kind.multilabel).answers
    if options["playlists"] is not None:
        whole = card.recipe.excerpt.seconds is None
        timed = answers if whole else [replace(answer, seconds=None) for answer in answers]
        counts = write_playlists(timed, options["playlists"], label_names(card.labels))
        songs = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        console.say(f"playlists in {options['playlists']}: {songs or 'no songs'}")
    if journal is None:
        return 0
    tracked = console.track(answers, len(answers), "Writing tags")
    result = write_tags(tracked, options["field"], journal, dataset.cache)
    console.say(
        f"{options['field']}: written into {result.written} files, there already in {result.same}, "
        f"{result.unsure} songs without a label; undo with: songbag undo {journal.path}"
    )
    for problem in result.problems:
        click.echo(visible(f"not tagged: {problem}"), err=True)
    return len(result.problems)
