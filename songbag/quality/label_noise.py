"""Labels that the predictions of a cross-validation contradict: confident learning.

A label is suspicious when the models that were not trained on the song prefer another label.
Suspicious labels are ranked by *self-confidence*, the probability of the label the song has,
lowest first [1]_. Before, the mean probability of each label is taken out: from every
probability of label k its threshold t_k is subtracted, the mean probability of k over the
songs that *are* labelled k, and rows are made probabilities again::

    a_k = (p_k - t_k + max t) / sum over j of (p_j - t_j + max t)

so that the songs of a label that overlaps another do not fill the list.

References
----------
.. [1] Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in
   dataset labels, JAIR.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song
from songbag.errors import SongTableError
from songbag.quality.findings import Finding
from songbag.storage.files import read_csv


@dataclass(frozen=True)
class SuspiciousLabel:
    """A song whose label the predictions contradict.

    Attributes
    ----------
    song, suggested : int
        The place of the song, and of the label that the models prefer.
    label_probability, suggested_probability : float
        Of the label the song has, and of the suggested label, out of fold.
    """

    song: int
    suggested: int
    label_probability: float
    suggested_probability: float


def suspicious_labels(
    probabilities: NDArray[np.float64], y: Sequence[int]
) -> list[SuspiciousLabel]:
    """Return the songs whose label is contradicted, the most suspicious first.

    Parameters
    ----------
    probabilities : ndarray, shape (songs, labels)
        Out of fold, the sum of a row is 1.
    y : sequence of int, shape (songs,)
        The labels of the songs.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.3, 0.7]])
    >>> suspicious_labels(p, [0, 1, 1, 0])[0]
    SuspiciousLabel(song=1, suggested=0, label_probability=0.2, suggested_probability=0.8)
    """
    labels = np.asarray(y, dtype=np.int64)
    songs, suggested = np.arange(len(labels)), probabilities.argmax(axis=1)
    thresholds = np.zeros(probabilities.shape[1])
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    shifted = probabilities - thresholds + thresholds.max()
    adjusted = shifted / shifted.sum(axis=1, keepdims=True)
    suspicious = songs[suggested != labels]
    order = np.argsort(adjusted[suspicious, labels[suspicious]], kind="stable")
    return [
        SuspiciousLabel(
            int(song),
            int(suggested[song]),
            float(probabilities[song, labels[song]]),
            float(probabilities[song, suggested[song]]),
        )
        for song in suspicious[order]
    ]


def label_noise_findings(songs: Sequence[Song], folder: Path, most: int) -> Iterator[Finding]:
    """Yield at most ``most`` songs whose label is contradicted, the most suspicious first.

    Labels are those that stand in the table now, predictions are those of the
    predictions.csv that `songbag crossval` wrote into the folder.

    Raises
    ------
    SongTableError
        There is no such file, or it answers none of the songs.
    """
    file = folder / "predictions.csv"
    try:
        rows = read_csv(file)
    except FileNotFoundError:
        raise SongTableError(
            f"{file}: there is no such file. 'songbag crossval songs.csv -o {folder}' writes it."
        ) from None
    columns = [name for name in (rows[0] if rows else {}) if name.startswith("p_")]
    labels = [name.removeprefix("p_") for name in columns]
    predicted = {
        row["id"]: [float(row[name]) for name in columns]
        for row in rows
        if row.get("status") == "ok"
    }
    judged = [song for song in songs if song.id in predicted and song.label in labels]
    if not judged:
        raise SongTableError(
            f"{file}: it answers none of these songs. Give the folder that 'songbag crossval' "
            "wrote for this table."
        )
    probabilities = np.array([predicted[song.id] for song in judged])
    ranked = suspicious_labels(probabilities, [labels.index(str(song.label)) for song in judged])
    for rank, one in enumerate(ranked[:most], start=1):
        song, suggested = judged[one.song], labels[one.suggested]
        text = (
            f"rank {rank} of {len(ranked)}: models that never heard it give {song.label} "
            f"{one.label_probability:.2f}, {suggested} {one.suggested_probability:.2f}"
        )
        yield Finding(
            "suspicious_label", text, song.id, label=str(song.label), other_label=suggested
        )
