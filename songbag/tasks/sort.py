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
from songbag.errors import SettingsError
from songbag.inference.model_file import Model
from songbag.storage.files import Row
from songbag.tasks.predict import Withholding, journal_path, predict_rows


@dataclass(frozen=True)
class Answers:
    """What was answered for songs, the failed ones apart."""

    answers: list[Answer]
    failures: dict[str, str]  # why, by file

    @classmethod
    def of(cls, songs: Sequence[Song], rows: Iterable[Row], multilabel: bool) -> "Answers":
        """Return the answers in rows of predictions.csv, one a song."""
        answers, failures = list[Answer](), dict[str, str]()
        for song, row in zip(songs, rows, strict=True):
            if row["status"] == "failed":
                failures[song.path] = row["warnings"]
            else:
                answers.append(Answer.of(song, row, multilabel))
        return cls(answers, failures)


def predict_answers(
    model: Model,
    dataset: AudioDataset,
    rules: Withholding,
    console: Console,
    results: Path | None = None,
) -> Answers:
    """Predict songs; labels are withheld by ``rules``.

    With ``results`` a journal beside that file keeps the rows of a stopped prediction.
    """
    predictions = predict_rows(model, dataset, results)
    tracked = console.track(predictions, len(dataset.songs), "Predicting")
    rows = (song.withheld(rules).row for song in tracked)
    return Answers.of(dataset.songs, rows, model.card.kind.multilabel)


@dataclass(frozen=True)
class Sorting:
    """Songs that go into a folder for each label; labels are withheld by ``rules``."""

    model: Model
    dataset: AudioDataset
    folder: Path
    action: Action
    rules: Withholding
    console: Console

    def __post_init__(self) -> None:
        if self.action == "move" and self.model.card.kind.multilabel:
            raise SettingsError(
                "--move: this model gives a song several labels, and a file can be moved to one "
                "folder only. Copy the songs, or give --link (in Python action='link')."
            )

    def plan(self) -> tuple[list[Step], dict[str, str]]:
        """Return what `carry_out` would do, and why songs failed, without changing anything."""
        return self._steps(self.dataset)

    def carry_out(self) -> tuple[Sorted, dict[str, str]]:
        """Copy, link or move the files; return also why songs failed.

        A sorting that was stopped goes on: predictions and changes are in journals in the folder.
        """
        is_new = not self.folder.exists()
        with open_collection(self.folder / JOURNAL) as journal:
            if is_new:
                journal.append(Entry(do="folder"))
            moved = moved_files(journal)
            songs = self.dataset.songs
            left = [song for song in songs if os.path.abspath(song.path) not in moved]
            results = self.folder / "predictions"
            steps, failures = self._steps(self.dataset.with_songs(left), results)
            result = take_steps(steps, self.action, journal)
            journal_path(results).unlink(missing_ok=True)
        return result, failures

    def _steps(
        self, dataset: AudioDataset, results: Path | None = None
    ) -> tuple[list[Step], dict[str, str]]:
        """Predict songs that are not in the folder already, unless they move between labels."""
        if self.action != "move":
            root = os.path.join(os.path.realpath(self.folder), "")
            paths = [os.path.realpath(song.path) for song in dataset.songs]
            pairs = zip(dataset.songs, paths, strict=True)
            songs = [song for song, path in pairs if not path.startswith(root)]
            if count := len(dataset.songs) - len(songs):
                self.console.say(f"{count} songs are in {self.folder} already and are left there")
            dataset = dataset.with_songs(songs)
        predicted = predict_answers(self.model, dataset, self.rules, self.console, results)
        names = label_names(self.model.card.labels)
        return plan_steps(predicted.answers, self.folder, names), predicted.failures
