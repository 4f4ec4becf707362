"""The check of a whole collection: every file read once, everything found put in order."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from songbag.console import Console
from songbag.data.dataset import SongBags, bare
from songbag.data.song_table import TABLES, Song, SongTable
from songbag.data.table_files import table_rows
from songbag.errors import SettingsError
from songbag.parallel.pool import Workers
from songbag.quality.copies import families, find_pairs, pair_findings
from songbag.quality.file_checks import FORMATS, recording_findings
from songbag.quality.file_facts import Facts, measure_all
from songbag.quality.findings import Finding, ordered
from songbag.quality.label_noise import contradictions
from songbag.quality.labels import class_findings, giveaway_findings, spelling_findings
from songbag.quality.spelling import differ
from songbag.settings import Excerpt, Limits
from songbag.storage.csv_files import Row, write_csv
from songbag.storage.remote import AnyPath

MOST_SUSPICIOUS = 20  # labels listed after a cross-validation


@dataclass(frozen=True)
class Survey:
    """What was found, and what a cleaned table leaves out.

    Attributes
    ----------
    findings : list of Finding
        The gravest first.
    dropped : dict
        Song id to the reason why a cleaned table is better without it.
    """

    findings: list[Finding]
    dropped: dict[str, str] = field(default_factory=dict)


def survey_songs(
    table: SongTable,
    cache: AnyPath,
    console: Console,
    window_seconds: float,
    limits: Limits | None = None,
    workers: Workers = None,
    crossval: Path | None = None,
) -> Survey:
    """Read every song of a table once and say what is wrong with the collection.

    Parameters
    ----------
    window_seconds : float
        Songs shorter than one window are reported.
    crossval : Path or None
        Folder of a cross-validation of the table: then contradicted labels are ranked.

    Raises
    ------
    SongTableError
        ``crossval`` is no cross-validation of these songs.
    """
    songs = table.songs
    doubts = list(contradictions(songs, crossval, MOST_SUSPICIOUS)) if crossval else []
    sources = [song.source(Excerpt()) for song in songs]
    track = partial(console.track, what="Checking")
    measured = list(measure_all(sources, cache, limits or Limits(), workers, track))
    facts = [fact for fact, _ in measured]
    pairs = find_pairs(facts, [file for _, file in measured])
    found = families(pairs, facts, songs)
    kept = {place: best for best, places in found for place in places}
    findings = [
        *recording_findings(songs, facts, window_seconds),
        *pair_findings(songs, pairs, kept),
        *_about_labels(songs, facts, kept),
        *doubts,
    ]
    return Survey(ordered(findings), _dropped(songs, facts, kept))


def _about_labels(
    songs: Sequence[Song], facts: Sequence[Facts], kept: dict[int, int]
) -> list[Finding]:
    """Judge names and classes by the songs that can be heard, one of every recording."""
    usable = [
        place
        for place, fact in enumerate(facts)
        if fact.status == "ok" and not fact.silent and kept.get(place, place) == place
    ]
    heard, known = [songs[place] for place in usable], [facts[place] for place in usable]
    values: dict[str, Sequence[float | str]] = {
        "loudness": [fact.level_db for fact in known],
        "length": [fact.seconds for fact in known],
        **{name: [value(fact) for fact in known] for name, value in FORMATS.items()},
    }
    return [
        *spelling_findings(songs),
        *class_findings(heard),
        *giveaway_findings(heard, values),
    ]


def _dropped(songs: Sequence[Song], facts: Sequence[Facts], kept: dict[int, int]) -> dict[str, str]:
    """Say why a song is left out: unreadable, silent, a copy, or labelled two ways.

    Where copies disagree about the label nobody here knows which is right: all go.
    """
    labels: dict[int, set[str]] = {}
    for place, best in kept.items():
        labels.setdefault(best, set()).add(songs[place].label or "")
    dropped = {}
    for place, (song, fact) in enumerate(zip(songs, facts, strict=True)):
        best = kept.get(place, place)
        told = sorted(filter(None, labels.get(best, ())))
        torn = any(differ(told[0], other) for other in told[1:])
        if fact.status == "failed":
            dropped[song.id] = f"unreadable ({fact.reason})"
        elif fact.silent:
            dropped[song.id] = "silent"
        elif torn:
            dropped[song.id] = f"its copies are labelled {', '.join(told)}: correct that first"
        elif best != place:
            dropped[song.id] = f"the same recording as {songs[best].id}"
    return dropped


def remarks(heard: SongBags) -> list[str]:
    """Say what a training should know of its songs, without reading a file again.

    Spelling, small labels, loudness and length that tell the label, and equal recordings.
    """
    songs = heard.songs
    values: dict[str, Sequence[float | str]] = {
        "loudness": [bag.level_db or 0.0 for bag in bare(heard.bags)],
        "length": [float(bag.samples) for bag in bare(heard.bags)],
    }
    found = [
        *_equal_recordings(heard),
        *spelling_findings(songs),
        *class_findings(songs),
        *giveaway_findings(songs, values),
    ]
    return [one.line() for one in ordered(found)]


def _equal_recordings(heard: SongBags) -> list[Finding]:
    first: dict[tuple[int, float | None], int] = {}
    found = []
    for place, bag in enumerate(bare(heard.bags)):
        other = first.setdefault((bag.samples, bag.level_db), place)
        if other != place and np.array_equal(heard[place].features, heard[other].features):
            one, two = heard.songs[place], heard.songs[other]
            labels = {"label": one.label or "", "other_label": two.label or ""}
            kind = "label_conflict" if differ(one.label, two.label) else "duplicate"
            found.append(Finding(kind, "the same sound", one.id, two.id, **labels))
    return found


# --- cleaning ---
#
# A table without what is known to be wrong; audio files are never touched.


_COLUMNS = ["id", "path", "label", "artist", "split", "start", "end"]


def write_cleaned(table: SongTable, survey: Survey, output: Path) -> list[str]:
    """Write the songs worth keeping, and return a line for each that is not.

    Every column of the table and the order of its rows stay. Only where the new table lies
    in another folder its paths are rewritten, and ids that came from them are written down.

    Raises
    ------
    SettingsError
        ``output`` is the table itself, or not named .csv.
    """
    if output.suffix.lower() != ".csv":
        raise SettingsError(f"--fix {output}: the cleaned table is a .csv file; name it so.")
    if output.resolve() == Path(table.origin).resolve():
        raise SettingsError(f"--fix {output}: that is the table itself; choose another name.")
    rows, columns = _rows(table, output)
    kept = [row for song, row in zip(table.songs, rows) if song.id not in survey.dropped]
    write_csv(output, kept, columns)
    lines = [f"dropped: {name}: {reason}" for name, reason in survey.dropped.items()]
    lines.append(f"{output}: {len(kept)} of {len(table.songs)} songs")
    if any(_seen_from(output.parent, song).startswith("..") for song in table.songs):
        lines.append("its songs lie outside its folder: train on it with --allow-outside")
    return lines


def _rows(table: SongTable, output: Path) -> tuple[list[Row], list[str]]:
    origin = Path(table.origin)
    if origin.suffix.lower() not in TABLES or not origin.is_file():
        rows = [_made_row(song, output.parent) for song in table.songs]
        return rows, _filled_columns(rows)
    rows = [dict(row) for _, row in table_rows(origin)]
    columns = [name for name in rows[0] if name]
    if origin.parent.resolve() == output.parent.resolve():
        return rows, columns
    for song, row in zip(table.songs, rows, strict=True):
        name = next(column for column in columns if column.strip() == "path")
        row[name] = _seen_from(output.parent, song)
        row["id"] = song.id
    return rows, columns if "id" in columns else [*columns, "id"]


def _made_row(song: Song, folder: Path) -> Row:
    known = {name: getattr(song, name) for name in _COLUMNS}
    known |= {"path": _seen_from(folder, song), "start": song.start or None}
    return known | song.extra


def _filled_columns(rows: list[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) not in (None, "") for row in rows)]


def _seen_from(folder: Path, song: Song) -> str:
    return Path(os.path.relpath(song.path, folder)).as_posix()
