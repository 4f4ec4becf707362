"""A map of all songs: points of songs that sound alike lie close together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.collection.plane import on_a_plane, require_tsne
from songbag.collection.vectors import Neighbours
from songbag.console import Console, counted
from songbag.data.audio_dataset import AudioDataset
from songbag.data.song import Song
from songbag.encoders.encoder import Encoder
from songbag.inference.model_file import Model, used_in_training
from songbag.report.song_map import Colouring, write_song_map
from songbag.storage.files import Row
from songbag.tasks.predict import journal_path, predict_rows
from songbag.tasks.similar import index_file, index_songs, nothing_read


@dataclass(frozen=True)
class SongMap:
    """Songs with their points (songs, 2) and what these can be coloured by.

    ``failures`` say which songs could not be read, or not be answered by the model.
    """

    songs: Sequence[Song]
    points: NDArray[np.float64]
    colourings: Sequence[Colouring]
    failures: Sequence[str]


def map_songs(
    dataset: AudioDataset,
    encoder: Encoder,
    model: Model | None,
    page: Path,
    index: Path | None,
    console: Console,
) -> SongMap:
    """Write the map of a dataset to an HTML page, and return it.

    Vectors are those of `songbag.tasks.similar`, kept in ``index`` (that of `index_file` by
    default). A model answers each song; if that is stopped, the same call goes on from a journal
    beside the page.

    Raises
    ------
    SongTableError
        No song could be read.
    SettingsError
        scikit-learn is not installed.
    """
    require_tsne(len(dataset.songs))
    indexed = index_songs(dataset, encoder, index or index_file(dataset, encoder), console)
    songs, failures = indexed.songs, list(indexed.failures)
    if not songs:
        raise nothing_read(dataset, indexed)
    answers = list[Row]()
    if model is not None:
        predicted = predict_rows(model, dataset.with_songs(songs), page)
        answers = [song.row for song in console.track(predicted, len(songs), "Predicting")]
    failures += [row["warnings"] for row in answers if row["status"] == "failed"]
    console.say(f"placing {counted(len(songs), 'song')}")
    points = on_a_plane(Neighbours(indexed.index).directions)
    colourings = _colourings(songs, model, answers)
    write_song_map(page, songs, points, colourings, failures)
    journal_path(page).unlink(missing_ok=True)
    return SongMap(songs, points, colourings, failures)


def _colourings(
    songs: Sequence[Song], model: Model | None, answers: Sequence[Row]
) -> list[Colouring]:
    """Return what is known of any song, from its label and answer to its artist."""
    labels = [song.label for song in songs]
    colourings = [Colouring("label", labels)]
    if model is not None:
        labels = [row["label"] for row in answers]  # without folders that are no labels of it
        predicted = [row["predicted"] for row in answers]
        judged = [
            None if None in (label, answer) else "right" if label == answer else "wrong"
            for label, answer in zip(labels, predicted, strict=True)
        ]
        trained_on = used_in_training(model.card, (song.id for song in songs)).tolist()
        training = ["in training" if one else "new to the model" for one in trained_on]
        colourings += [
            Colouring("answer", predicted),
            Colouring("verdict", judged),
            Colouring("confidence", [row["confidence"] for row in answers]),
            Colouring("typicality", [row["typicality"] for row in answers]),
            Colouring("training", training if any(trained_on) else [None] * len(songs)),
        ]
    colourings.append(Colouring("artist", [song.artist for song in songs]))
    return [one for one in colourings if any(value is not None for value in one.values)]
