"""What to label next: songs that teach a model most, and some drawn at random to test it on."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.collection.suggestions import nearest_before, spread_of_doubt
from songbag.collection.vectors import Neighbours
from songbag.console import Console, counted
from songbag.data.audio_dataset import AudioDataset
from songbag.data.song import Song, join_labels, joined_groups, part_name
from songbag.encoders.encoder import Encoder
from songbag.errors import ModelFileError, SettingsError, SongTableError
from songbag.inference.model_file import Card, Model, used_in_training
from songbag.inference.predict import predict
from songbag.inference.predictions import Predictions, SongPrediction
from songbag.storage.files import Row, relative_path, write_csv
from songbag.storage.remote import is_url
from songbag.tasks.similar import index_file, index_songs

RANDOM_SHARE = 0.2  # of the suggestions: what a model chose is never tested on
_OURS = ("chosen", "reason", "predicted", "confidence", "decision", "note")
_NOT_COPIED = ("split", "fold", "label", "labels")


@dataclass(frozen=True)
class Suggestions:
    """Rows of a table to be labelled, in the order in which to label them."""

    songs: Sequence[Song]
    rows: Sequence[Row]  # the columns of `_OURS`, one row a song
    multilabel: bool
    failures: Sequence[str]  # why songs could not be read

    def table(self, folder: Path | None = None) -> tuple[list[Row], list[str]]:
        """Return whole rows and their columns; the columns of the user's own table come last.

        With ``folder`` paths are relative to it, but for absolute ones of files elsewhere.
        """
        label = "labels" if self.multilabel else "label"
        rows = []
        for song, ours in zip(self.songs, self.rows, strict=True):
            path = song.path
            if folder is not None and not is_url(path):
                relative = relative_path(path, folder)
                elsewhere = os.path.isabs(path) and relative.startswith(os.pardir)
                path = Path(path if elsewhere else relative).as_posix()
            stated = song.line is not None and song.id != path + part_name(song.start, song.end)
            own = {name: cell for name, cell in song.extra.items() if name not in _NOT_COPIED}
            where: Row = {"path": path, "id": song.id if stated else None, label: None}
            where |= {"start": song.start or None, "end": song.end}
            rows.append(where | ours | {"artist": song.artist} | own | ours)
        columns = dict.fromkeys(name for row in rows for name in row)
        needed = ("path", label, *_OURS)
        filled = [n for n in columns if n in needed or any(row.get(n) for row in rows)]
        return rows, filled

    def write(self, path: Path) -> None:
        """Write the table to a new CSV file."""
        rows, columns = self.table(path.parent)
        write_csv(path, rows, columns)


def require_new(path: Path) -> None:
    """Refuse to write suggestions over a table, in which labels may stand."""
    if path.suffix.lower() != ".csv":
        raise SettingsError(f"{path}: suggestions are written as .csv; name the file so.")
    if path.exists():
        raise SettingsError(
            f"{path}: it is there already, perhaps with labels. Name another file, and give this "
            f"one as --labelled {path}."
        )


def suggest(
    model: Model,
    dataset: AudioDataset,
    labelled: Sequence[Song],
    count: int,
    encoder: Encoder,
    console: Console,
    seed: int = 0,
) -> Suggestions:
    """Suggest ``count`` songs of a dataset, four fifths by the model and a fifth at random.

    Not suggested are songs that the model was trained on, that have a label in their own table, or
    that stand in the ``labelled`` ones. The random ones are drawn first, and the model chooses
    among songs of other groups as long as there are enough: a song of a group that a model chose
    from could not be tested.

    Raises
    ------
    SongTableError
        No song is left, or none could be read.
    ModelFileError
        The model was trained on a table of windows.
    """
    if model.card.source != "audio":
        raise ModelFileError("the model was trained on a table of windows: it hears no songs.")
    pool = unlabelled_songs(model.card, dataset, labelled, console)
    tracked = console.track(predict(model, pool), len(pool.songs), "Predicting")
    answers = list(tracked)
    failures = [item.message for item in answers if item.prediction is None]
    answers = [item for item in answers if item.prediction is not None]
    readable = pool.with_songs([item.song for item in answers])
    indexed = index_songs(readable, encoder, index_file(pool, encoder), console)
    known = {song.id for song in indexed.songs}
    answers = [item for item in answers if item.id in known]
    failures += indexed.failures
    if not answers:
        raise SongTableError(f"{pool.origin}: no song could be read: {'; '.join(failures[:3])}")
    predictions = Predictions(model.card.labels, answers)
    vectors = Neighbours(indexed.index).directions
    drawn, chosen = choose(predictions, vectors, indexed.songs, count, np.random.default_rng(seed))
    near = nearest_before(vectors, chosen)
    rows = {place: _row(answers[place], "random", "drawn at random", model.card) for place in drawn}
    for number, place in enumerate(chosen):
        reason = doubt(answers[place], model.card)
        if number:
            other, similarity = near[number]
            reason += (
                f"; {similarity:.2f} like {indexed.songs[other].id}, the nearest chosen before"
            )
        rows[place] = _row(answers[place], "model", reason, model.card)
    order = spread(drawn, chosen)
    songs, table = [indexed.songs[place] for place in order], [rows[place] for place in order]
    return Suggestions(songs, table, model.card.multilabel, failures)


def unlabelled_songs(
    card: Card, dataset: AudioDataset, labelled: Sequence[Song], console: Console
) -> AudioDataset:
    """Return the songs that have no label yet, and say how many have one."""
    songs = dataset.songs
    parts = {(os.path.realpath(song.path), song.start, song.end) for song in labelled}
    trained_on = used_in_training(card, (song.id for song in songs)).tolist()
    reasons = []
    for song, trained in zip(songs, trained_on, strict=True):
        decided = song.line is not None and (song.label or song.extra.get("decision"))
        if (os.path.realpath(song.path), song.start, song.end) in parts or decided:
            reasons.append("labelled")
        else:
            reasons.append("heard in training" if trained else "")
    counts = Counter(filter(None, reasons))
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    if len(songs) == counts.total():
        raise SongTableError(f"{dataset.origin}: no song is left to label: {said or 'none'}.")
    if counts:
        console.say(f"left out: {counted(counts.total(), 'song')}: {said}")
    return dataset.with_songs(list(compress(songs, [not reason for reason in reasons])))


def choose(
    predictions: Predictions,
    vectors: NDArray[np.float32],
    songs: Sequence[Song],
    count: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """Return the places of songs drawn at random, and of those that the model chose."""
    count = min(count, len(songs))
    drawn = rng.permutation(len(songs))[: round(RANDOM_SHARE * count)].tolist()
    groups, wanted = joined_groups(songs), count - len(drawn)
    taken, groups_taken = set(drawn), {groups[place] for place in drawn}
    free = [place for place, group in enumerate(groups) if group not in groups_taken]
    if len(free) < wanted:
        free = [place for place in range(len(songs)) if place not in taken]
    shares, decided = predictions.probabilities[free], predictions.decisions[free]
    chosen = spread_of_doubt(shares, decided, vectors[free], wanted, rng)
    return drawn, [free[place] for place in chosen]


def spread(drawn: Sequence[int], chosen: Sequence[int]) -> list[int]:
    """Return both in one order, evenly: whoever stops early has labelled of both.

    >>> spread([8, 9], [0, 1, 2, 3, 4, 5])
    [0, 8, 1, 2, 3, 9, 4, 5]
    """
    shares = [(k + 0.5) / len(part) for part in (drawn, chosen) for k in range(len(part))]
    places = [*drawn, *chosen]
    return [places[k] for k in np.argsort(shares, kind="stable")]


def doubt(item: SongPrediction, card: Card) -> str:
    """Return in words what a model is unsure of in a song."""
    prediction = item.prediction
    assert prediction is not None
    shares = prediction.probabilities
    if card.multilabel:
        limits = np.array(prediction.thresholds)
        place = int(np.abs(shares - limits).argmin())
        return f"unsure: {card.labels[place]} {shares[place]:.2f}, decided at {limits[place]:.2f}"
    first, second = np.argsort(-shares, kind="stable")[:2]
    return (
        f"unsure: {card.labels[first]} {shares[first]:.2f}, "
        f"{card.labels[second]} {shares[second]:.2f}"
    )


def _row(item: SongPrediction, chosen: str, reason: str, card: Card) -> Row:
    prediction = item.prediction
    assert prediction is not None
    predicted = join_labels([card.labels[index] for index in prediction.label_indices])
    values = (chosen, reason, predicted, prediction.confidence, None, None)
    return dict(zip(_OURS, values, strict=True))
