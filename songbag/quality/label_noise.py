"""Labels that a cross-validation's answers contradict, from the folder it wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.data.song_table import Song
from songbag.errors import SongTableError
from songbag.quality.findings import Finding
from songbag.storage.csv_files import read_csv


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
        rows = read_csv(file)
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


# --- suspicion ---
#
# Which labels the out-of-fold answers contradict: confident learning.
#
# A song is doubted when the models that never heard it prefer another label. Doubted songs
# are ranked by *self-confidence*, the probability of the label they have, lowest first [1]_.
# Before, what the models think of each label on average is taken out: from every probability
# of label k its threshold t_k is subtracted, the mean probability of k over the songs that
# *are* labelled k, and rows are made probabilities again::
#
#     a_k = (p_k - t_k + max t) / sum over j of (p_j - t_j + max t)
#
# so that the songs of a label that overlaps another do not fill the list.
#
# References
# ----------
# .. [1] Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in
#    dataset labels, JAIR.


@dataclass(frozen=True)
class Suspicion:
    """A song whose label the answers contradict.

    ``song`` is its place, ``better`` the place of the label they prefer; both
    probabilities are out of fold.
    """

    song: int
    better: int
    given_probability: float
    better_probability: float


def suspicious(probabilities: NDArray[np.float64], y: Sequence[int]) -> list[Suspicion]:
    """Return the songs whose label is contradicted, the most suspicious first.

    Parameters
    ----------
    probabilities : ndarray, shape (songs, labels)
        Out of fold, rows adding to one.
    y : sequence of int, shape (songs,)
        Given labels.
    """
    labels = np.asarray(y, dtype=np.int64)
    songs = np.arange(len(labels))
    better = probabilities.argmax(axis=1)
    doubted = songs[better != labels]
    confidence = _adjusted(probabilities, labels)[songs, labels]
    return [
        Suspicion(
            int(song),
            int(better[song]),
            float(probabilities[song, labels[song]]),
            float(probabilities[song, better[song]]),
        )
        for song in doubted[np.argsort(confidence[doubted], kind="stable")]
    ]


def _adjusted(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take out of every label what it gets on average from the songs that have it."""
    there = [label for label in range(probabilities.shape[1]) if np.any(labels == label)]
    thresholds = np.zeros(probabilities.shape[1])
    thresholds[there] = [probabilities[labels == label, label].mean() for label in there]
    shifted = probabilities - thresholds + thresholds.max()
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
