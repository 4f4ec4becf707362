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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song
from songbag.errors import SongTableError
from songbag.quality.findings import Finding
from songbag.storage.files import read_csv

Predicted: TypeAlias = Mapping[str, Mapping[str, float]]  # song id to the labels' probabilities


def suspicious_labels(probabilities: NDArray[np.float64], y: Sequence[int]) -> list[int]:
    """Return the places of the songs whose label is contradicted, the most suspicious first.

    ``probabilities`` (songs, labels) are out of fold, the sum of a row is 1.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.3, 0.7]])
    >>> suspicious_labels(p, [0, 1, 1, 0])
    [1, 3]
    """
    labels = np.asarray(y, dtype=np.int64)
    thresholds = np.zeros(probabilities.shape[1])
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    shifted = probabilities - thresholds + thresholds.max()
    adjusted = shifted / shifted.sum(axis=1, keepdims=True)
    suspicious = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(adjusted[suspicious, labels[suspicious]], kind="stable")
    places: list[int] = suspicious[order].tolist()
    return places


def read_predictions(songs: Sequence[Song], folder: Path) -> Predicted:
    """Return the predictions.csv that `songbag crossval` wrote into a folder.

    `SongTableError` if it is missing, or answers none of the songs.
    """
    file = folder / "predictions.csv"
    try:
        rows = read_csv(file)
    except FileNotFoundError:
        raise SongTableError(
            f"{file}: there is no such file. 'songbag crossval songs.csv -o {folder}' writes it."
        ) from None
    columns = rows[0] if rows else ()
    labels = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
    predicted = {
        row["id"]: {label: float(row[f"p_{label}"]) for label in labels}
        for row in rows
        if row.get("status") == "ok"
    }
    if not any(song.label in predicted.get(song.id, ()) for song in songs):
        raise SongTableError(
            f"{file}: it answers none of these songs. Give the folder that 'songbag crossval' "
            "wrote for this table."
        )
    return predicted


def label_noise_findings(songs: Sequence[Song], predicted: Predicted, most: int) -> list[Finding]:
    """Return at most ``most`` songs whose label is contradicted, the most suspicious first.

    Labels are those of the songs now; ``predicted`` is by models not trained on the song. Songs
    that a model chose, because it was unsure of them, are not judged by models.
    """
    judged = [
        song
        for song in songs
        if song.label in predicted.get(song.id, ()) and not song.chosen_by_model
    ]
    if not judged:
        return []
    labels = list(predicted[judged[0].id])
    probabilities = np.array([list(predicted[song.id].values()) for song in judged])
    ranked = suspicious_labels(probabilities, [labels.index(str(song.label)) for song in judged])
    findings = []
    for rank, place in enumerate(ranked[:most], start=1):
        song, shares = judged[place], predicted[judged[place].id]
        label, suggested = str(song.label), max(labels, key=shares.__getitem__)
        text = (
            f"rank {rank} of {len(ranked)}: models that never heard it give {label} "
            f"{shares[label]:.2f}, {suggested} {shares[suggested]:.2f}"
        )
        findings.append(
            Finding("suspicious_label", text, song.id, label=label, other_label=suggested)
        )
    return findings
