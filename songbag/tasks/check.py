"""Check a collection of songs before training, and write its table cleaned of what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.columns import find_columns
from songbag.data.dataset import BagDataset
from songbag.data.song import Song
from songbag.data.table_files import TABLES, read_rows
from songbag.errors import SettingsError, TrainingError
from songbag.quality.copies import best_copies, find_pairs, pair_findings
from songbag.quality.file_facts import FORMATS, Facts, file_findings, measure_all
from songbag.quality.findings import Finding, by_severity
from songbag.quality.label_noise import Predicted, label_noise_findings, read_predictions
from songbag.quality.shortcuts import shortcut_findings
from songbag.quality.table_checks import label_count_findings, names_differ, spelling_findings
from songbag.settings import Excerpt, Recipe
from songbag.storage.files import Row, relative_path, write_csv

MOST_SUSPICIOUS = 20  # labels listed after a cross-validation
_COLUMNS = ["id", "path", "label", "artist", "split", "start", "end"]


@dataclass(frozen=True)
class Survey:
    """The findings of a check, and by song id why a cleaned table is better without it."""

    findings: list[Finding]  # the gravest first
    dropped: dict[str, str]


def survey_songs(
    dataset: AudioDataset,
    console: Console,
    recipe: Recipe,
    crossval: Path | None = None,
    labels: bool = False,
) -> Survey:
    """Read every song of a dataset once and return what is wrong with the collection.

    Songs shorter than a window of the recipe, or above what it hears, are reported.
    Contradicted labels are ranked by the predictions of ``crossval``, the folder of a
    cross-validation of these songs (SongTableError if it is not), or, with ``labels``, by linear
    networks on what the recipe hears, each of which was not trained on the song.
    """
    songs, noise = dataset.songs, list[Finding]()
    if crossval is not None:
        noise = label_noise_findings(songs, read_predictions(songs, crossval), MOST_SUSPICIOUS)
    elif labels:
        noise = label_noise_findings(songs, _held_out(dataset, recipe, console), MOST_SUSPICIOUS)
    sources = [song.source(Excerpt()) for song in songs]
    track = partial(console.track, what="Checking")
    measured = list(measure_all(sources, dataset.cache, dataset.limits, dataset.workers, track))
    facts = [fact for fact, _ in measured]
    pairs = find_pairs(facts, [file for _, file in measured])
    best = best_copies(pairs, facts, songs)
    # Labels are counted, and shortcuts sought, over usable songs and once a recording.
    usable = [
        (song, fact)
        for place, (song, fact) in enumerate(zip(songs, facts, strict=True))
        if fact.status == "ok" and not fact.sound.silent and best.get(place, place) == place
    ]
    values: dict[str, Sequence[float | str]] = {
        "loudness": [fact.sound.level_db for _, fact in usable],
        "length": [fact.seconds for _, fact in usable],
        **{name: [value_of(fact) for _, fact in usable] for name, value_of in FORMATS.items()},
    }
    findings = [
        *file_findings(songs, facts, recipe),
        *pair_findings(songs, pairs, best),
        *spelling_findings(songs),
        *label_count_findings([song for song, _ in usable]),
        *shortcut_findings([song for song, _ in usable], values),
        *noise,
    ]
    return Survey(by_severity(findings), _songs_to_drop(songs, facts, best))


def _held_out(dataset: AudioDataset, recipe: Recipe, console: Console) -> Predicted:
    """Return the probabilities of each song's labels from networks not trained on it."""
    from songbag.tasks.encoder_choice import linear_only
    from songbag.training.fit import held_out_logits
    from songbag.training.plan import TrainingPlan, adapt_recipe

    recipe = linear_only(recipe)
    labelled = replace(dataset, songs=[song for song in dataset.songs if song.label])
    loaded = labelled.load(recipe, console.track)
    plan = TrainingPlan.of(loaded, adapt_recipe(recipe, loaded, console), console)
    logits = held_out_logits(loaded, plan)
    if logits is None or plan.kind.multilabel:
        raise TrainingError(
            "doubtful labels are found by songs held out in turn: each label needs songs of two "
            "artists, and a song one label."
        )
    shares = plan.kind.probabilities(logits).tolist()
    rows = (dict(zip(plan.labels, row, strict=True)) for row in shares)
    return dict(zip((song.id for song in loaded.songs), rows, strict=True))


def _songs_to_drop(
    songs: Sequence[Song], facts: Sequence[Facts], best: Mapping[int, int]
) -> dict[str, str]:
    """Return why songs are left out, by id: unreadable, silent, a copy, or labelled two ways.

    Where copies differ in their labels it is unknown which is right: all of them go.
    """
    labels: dict[int, set[str]] = {}
    for place, copy in best.items():
        labels.setdefault(copy, set()).add(songs[place].label or "")
    dropped = {}
    for place, (song, fact) in enumerate(zip(songs, facts, strict=True)):
        copy = best.get(place, place)
        names = sorted(filter(None, labels.get(copy, ())))
        if fact.status == "failed":
            dropped[song.id] = f"unreadable ({fact.reason})"
        elif fact.sound.cancels:
            dropped[song.id] = "its channels cancel each other"
        elif fact.sound.silent:
            dropped[song.id] = "silent"
        elif any(names_differ(names[0], other) for other in names[1:]):
            dropped[song.id] = f"its copies are labelled {', '.join(names)}: correct that first"
        elif copy != place:
            dropped[song.id] = f"the same recording as {songs[copy].id}"
    return dropped


def report_problems(dataset: BagDataset, console: Console, labelled: bool = True) -> None:
    """Say which songs were left out, and what is doubtful about the others and their labels."""
    for remark in dataset.remarks:
        console.say(remark)
    for failure in dataset.failures:
        why = failure.message.removeprefix(f"{failure.song.path}: ")
        console.say(f"left out: {failure.song.id}: {why}")
    for bag in dataset.without_features():
        for warning in bag.warnings:
            console.say(f"warning: {bag.id}: {warning}")
    for remark in remarks(dataset) if labelled else ():
        console.say(remark)


def remarks(dataset: BagDataset) -> list[str]:
    """Return what is wrong with the songs of a training, without reading a file again.

    Equal recordings, spelling, small labels, and loudness or length that predict the label.
    """
    songs, findings = dataset.songs, list[Finding]()
    loudness, length = list[float | str](), list[float | str]()
    first: dict[tuple[int, float | None], int] = {}
    for place, bag in enumerate(dataset.without_features()):
        loudness.append(bag.level_db or 0.0)
        length.append(float(bag.samples))
        other = first.setdefault((bag.samples, bag.level_db), place)
        if other != place and np.array_equal(dataset[place].features, dataset[other].features):
            labels = songs[place].label or "", songs[other].label or ""
            kind = "label_conflict" if names_differ(*labels) else "duplicate"
            ids = songs[place].id, songs[other].id
            findings.append(Finding(kind, "the same sound", *ids, *labels))
    findings += spelling_findings(songs)
    findings += label_count_findings(songs)
    findings += shortcut_findings(songs, {"loudness": loudness, "length": length})
    return [finding.line() for finding in by_severity(findings)]


def write_cleaned(dataset: AudioDataset, survey: Survey, output: Path) -> list[str]:
    """Write the table without the songs to drop, and return a line for each of these.

    Every column of the table and the order of its rows stay. Only where the new table lies in
    another folder its paths are rewritten, and ids that came from them are written down.
    """
    if output.suffix.lower() != ".csv":
        raise SettingsError(f"--fix {output}: the cleaned table is a .csv file; name it so.")
    if output.resolve() == Path(dataset.origin).resolve():
        raise SettingsError(f"--fix {output}: that is the table itself; choose another name.")
    rows, columns = _table_rows(dataset, output.parent)
    clean = [row for song, row in zip(dataset.songs, rows) if song.id not in survey.dropped]
    write_csv(output, clean, columns)
    lines = [f"dropped: {name}: {reason}" for name, reason in survey.dropped.items()]
    lines.append(f"{output}: {len(clean)} of {len(dataset.songs)} songs")
    return lines


def _table_rows(dataset: AudioDataset, folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a table as its file has them, valid in another folder, and columns."""
    origin = Path(dataset.origin)
    if origin.suffix.lower() in TABLES and origin.is_file():
        rows: list[Row] = [dict(row) for _, row in read_rows(origin)]
        columns = [name for name in rows[0] if name]
        if origin.parent.resolve() == folder.resolve():
            return rows, columns
        roles = find_columns(columns, dataset.columns, str(origin))[0]
        path, name = roles["path"], roles.get("id", "id")
        for song, row in zip(dataset.songs, rows, strict=True):
            row |= {path: relative_path(song.path, folder), name: song.id}
        return rows, columns if name in columns else [*columns, name]
    rows = []
    for song in dataset.songs:
        row = {name: getattr(song, name) for name in _COLUMNS}
        row |= {"path": relative_path(song.path, folder), "start": song.start or None}
        rows.append(row | song.extra)
    names = dict.fromkeys(name for row in rows for name in row)
    return rows, [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
