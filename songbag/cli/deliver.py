"""Where ``songbag predict`` puts answers besides its table: playlists, tags, spans in time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import PATH, option, together
from songbag.console import Console, counted, visible
from songbag.errors import SettingsError

if TYPE_CHECKING:
    from songbag.collection.journal import Journal
    from songbag.data.dataset import SongDataset
    from songbag.inference.model_file import Card
    from songbag.tasks.predict import PredictedRows

FILES, SPANS = "Playlists and tags", "Spans in time"
delivery_options = together(
    option("--m3u", "playlists", type=PATH, metavar="FOLDER", section=FILES,
           help="Write a playlist for each label."),
    option("--write-field", "field", metavar="FIELD", section=FILES,
           help="Write the label into the files' tags: genre, grouping, comment, MY_FIELD."),
    option("--journal", type=PATH, default="songbag.journal", section=FILES,
           help="With --write-field: the old values, for songbag undo."),
    option("--segments", type=PATH, section=SPANS,
           help="Which label holds when: a .csv, else a folder of label files."),
    option("--segment-format", type=click.Choice(["audacity", "raven"]), default="audacity",
           section=SPANS, help="Of those label files."),
    option("--segment-threshold", type=click.FloatRange(0, 1, min_open=True), section=SPANS,
           help="Probability that begins one.  [default: .5, multilabel: the model's]"),
    option("--segment-gap", default=0.5, type=click.FloatRange(0), section=SPANS,
           help="Seconds between two that are joined."),
    option("--segment-least", default=0.3, type=click.FloatRange(0), section=SPANS,
           help="Seconds of the shortest."),
)  # fmt: skip


def open_delivery(
    ctx: click.Context, dataset: "SongDataset", options: dict[str, Any]
) -> "Journal | None":
    """Refuse what cannot be delivered before anything is predicted; return the open journal."""
    wanted = {"--m3u": "playlists", "--write-field": "field", "--segments": "segments"}
    for name in (name for name, value in wanted.items() if options[value] is not None):
        from songbag.collection.answers import require_whole_files

        if options["output"]:
            raise SettingsError(f"-o writes Parquet files alone; give {name} without it.")
        if name != "--segments":
            require_whole_files(dataset, name)
        elif options["song"]:
            raise SettingsError("--segments needs seconds, and windows of a table have none.")
        elif options["segments"].suffix.lower() != ".csv":
            _refuse_foreign_labels(dataset, options)
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
    """Write spans, playlists and tags, say what was written; return how many tags could not be."""
    console = Console(options["quiet"])
    if options["segments"] is not None:
        console.say(_write_segments(predicted, dataset, card, options))
    if options["playlists"] is None and journal is None:
        return 0
    from songbag.collection.answers import label_names
    from songbag.collection.playlists import write_playlists
    from songbag.collection.write_tags import write_tags
    from songbag.data.audio_dataset import AudioDataset
    from songbag.tasks.sort import Answers

    assert isinstance(dataset, AudioDataset)
    rows = [song.row for song in predicted]
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


def _refuse_foreign_labels(dataset: "SongDataset", options: dict[str, Any]) -> None:
    from songbag.inference.segments import foreign_label_file

    ids = [song.id for song in dataset.everyone()]
    file = foreign_label_file(options["segments"], ids, options["segment_format"])
    if file is not None:
        raise SettingsError(
            f"--segments {options['segments']}: {file} is there and would be overwritten. It is "
            "yours, or was changed since: give another folder."
        )


def _write_segments(
    predicted: "Sequence[PredictedRows]",
    dataset: "SongDataset",
    card: "Card",
    options: dict[str, Any],
) -> str:
    """Write which label holds when, and return in words what was written."""
    from songbag.inference.segments import SegmentRules, write_segments
    from songbag.tasks.segments import segments_by_song

    rules = SegmentRules(
        options["segment_threshold"], options["segment_gap"], options["segment_least"]
    )
    by_song = segments_by_song(card, dataset.everyone(), predicted, rules)
    write_segments(options["segments"], by_song, options["segment_format"])
    count = sum(map(len, by_song.values()))
    songs = counted(len(by_song), "song")
    return f"segments  {options['segments']}  {counted(count, 'span')} in {songs}"
