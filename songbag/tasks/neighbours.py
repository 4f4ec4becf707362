"""The nearest songs of each song of a training, by the vectors that it was trained on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.collection.vectors import Neighbours, VectorIndex
from songbag.console import Console
from songbag.data.dataset import BagDataset
from songbag.data.song import joined_groups
from songbag.encoders.known import find_encoder
from songbag.report.neighbours import COLUMNS, FILE, NEAREST
from songbag.settings import Sound
from songbag.storage.files import Row, write_csv
from songbag.tasks.embed import piece_vectors

_MOST = 20_000  # songs, all compared with all


def write_neighbours(
    folder: Path, dataset: BagDataset, sound: Sound, folds: NDArray[np.int64], console: Console
) -> None:
    """Write neighbours.csv: of each song the most similar of other groups, its artist's left out.

    Nothing is written without an encoder, whose vectors are in the dataset: no song is heard.

    Parameters
    ----------
    folder : Path
    dataset : BagDataset
        Songs of training and test.
    sound : Sound
        Of the model.
    folds : ndarray of int64, shape (songs,)
        Songs of one fold were judged by a model that was trained on none of them, and are compared
        with songs of its training; a song of fold -1 was not judged.
    """
    if sound.encoding is None or dataset[0].starts is None:  # or windows of a table
        return
    if len(dataset) > _MOST:
        console.say(f"no {FILE}: it is for at most {_MOST:,} songs")
        return
    encoder = find_encoder(sound)
    songs = dataset.songs
    pieces = [encoder.hidden(np.stack([*piece_vectors([b.features], encoder)])) for b in dataset]
    empty = VectorIndex.empty(encoder.encoding.hash, pieces[0].shape[1])
    index = empty.added([song.id for song in songs], pieces)
    groups = np.unique(joined_groups(songs), return_inverse=True)[1]
    rows = list[Row]()
    nearest = Neighbours(index).nearest_others(groups, folds, NEAREST)
    for song, others in zip(songs, nearest, strict=True):
        for rank, (place, similarity) in enumerate(others, start=1):
            other = songs[place]
            values = (song.id, song.label, rank, other.id, other.label, round(1 - similarity, 4))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    write_csv(folder / FILE, rows, COLUMNS)
