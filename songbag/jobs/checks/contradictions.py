"""Labels that a cross-validation's answers contradict, from the folder it wrote."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from songbag.errors import SongTableError
from songbag.jobs.checks.findings import Finding
from songbag.jobs.checks.suspicion import suspicious
from songbag.songs.table import Song


def contradictions(songs: Sequence[Song], folder: Path, most: int) -> Iterator[Finding]:
    """Yield at most ``most`` songs whose label the answers contradict, the worst first.

    The label is the one that stands in the table now, the answers are those of the
    predictions.csv that `songbag crossval` wrote.

    Raises
    ------
    SongTableError
        There is no such file, or it answers none of the songs.
    """
    file = folder / "predictions.csv"
    labels, answers = _answers(file)
    known = [song for song in songs if song.id in answers and song.label in labels]
    if not known:
        raise SongTableError(
            f"{file}: it answers none of these songs. Give the folder that 'songbag crossval' "
            "wrote for this table."
        )
    probabilities = np.array([answers[song.id] for song in known])
    y = [labels.index(str(song.label)) for song in known]
    ranked = suspicious(probabilities, y)
    for rank, one in enumerate(ranked[:most], start=1):
        song = known[one.song]
        better = labels[one.better]
        found = (
            f"rank {rank} of {len(ranked)}: models that never heard it give {song.label} "
            f"{one.given_probability:.2f}, {better} {one.better_probability:.2f}"
        )
        label = str(song.label)
        yield Finding("suspicious_label", found, song.id, label=label, other_label=better)


def _answers(file: Path) -> tuple[list[str], dict[str, list[float]]]:
    """Return label names and, by id, the probabilities of all answered songs."""
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
    except FileNotFoundError:
        raise SongTableError(
            f"{file}: there is no such file. 'songbag crossval songs.csv -o {file.parent}' "
            "writes it."
        ) from None
    names = [name for name in (rows[0] if rows else {}) if name.startswith("p_")]
    answers = {
        row["id"]: [float(row[name]) for name in names] for row in rows if row.get("status") == "ok"
    }
    return [name.removeprefix("p_") for name in names], answers
