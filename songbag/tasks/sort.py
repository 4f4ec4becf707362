"""Predict songs and deliver the answers among the user's files: sorted, as playlists, as tags."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from songbag.collection.answers import Answer, label_names
from songbag.collection.journal import JOURNAL, Entry, open_collection
from songbag.collection.sort_files import Action, Sorted, Step, moved_files, plan_steps, take_steps
from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.song import Song
from songbag.inference.model_file import Model
from songbag.storage.files import Row
from songbag.tasks.predict import journal_path, predict_rows


@dataclass(frozen=True)
class Answers:
    """What was answered for songs, the failed ones apart."""

    answers: list[Answer]
    failures: list[str]  # why, each with its file

    @classmethod
    def of(cls, songs: Sequence[Song], rows: Iterable[Row], multilabel: bool) -> "Answers":
        """Return the answers in rows of predictions.csv, one a song."""
        answers, failures = list[Answer](), list[str]()
        for song, row in zip(songs, rows, strict=True):
            if row["status"] == "failed":
                failures.append(row["warnings"])
            else:
                answers.append(Answer.of(song, row, multilabel))
        return cls(answers, failures)


def predict_answers(
    model: Model,
    dataset: AudioDataset,
    confidence: float,
    console: Console,
    results: Path | None = None,
) -> Answers:
    """Predict songs; labels less sure than ``confidence`` are withheld.

    With ``results`` a journal beside that file keeps the rows of a stopped prediction.
    """
    predictions = predict_rows(model, dataset, results)
    tracked = console.track(predictions, len(dataset.songs), "Predicting")
    rows = (song.withheld_below(confidence).row for song in tracked)
    return Answers.of(dataset.songs, rows, model.card.kind.multilabel)


def plan_sorting(
    model: Model,
    dataset: AudioDataset,
    folder: Path,
    action: Action,
    confidence: float,
    console: Console,
) -> tuple[list[Step], list[str]]:
    """Return what `sort_songs` would do, and why songs failed, without changing anything."""
    dataset = _to_sort(dataset, folder, action, console)
    found = predict_answers(model, dataset, confidence, console)
    return plan_steps(found.answers, folder, label_names(model.card.labels)), found.failures


def sort_songs(
    model: Model,
    dataset: AudioDataset,
    folder: Path,
    action: Action,
    confidence: float,
    console: Console,
) -> tuple[Sorted, list[str]]:
    """Copy, link or move songs into a folder for each label; return also why songs failed.

    A sorting that was stopped goes on: predictions and changes are in journals in ``folder``.
    """
    is_new = not folder.exists()
    with open_collection(folder / JOURNAL) as journal:
        if is_new:
            journal.append(Entry(do="folder"))
        moved = moved_files(journal)
        left = [song for song in dataset.songs if os.path.abspath(song.path) not in moved]
        dataset = _to_sort(dataset.with_songs(left), folder, action, console)
        results = folder / "predictions"
        found = predict_answers(model, dataset, confidence, console, results)
        steps = plan_steps(found.answers, folder, label_names(model.card.labels))
        result = take_steps(steps, action, journal)
        journal_path(results).unlink(missing_ok=True)
    return result, found.failures


def _to_sort(dataset: AudioDataset, folder: Path, action: Action, console: Console) -> AudioDataset:
    """Leave out songs that are in the folder already, unless they are moved between labels."""
    if action == "move":
        return dataset
    root = os.path.join(os.path.realpath(folder), "")
    songs = [song for song in dataset.songs if not os.path.realpath(song.path).startswith(root)]
    if count := len(dataset.songs) - len(songs):
        console.say(f"{count} songs are in {folder} already and are left there")
    return dataset.with_songs(songs)
