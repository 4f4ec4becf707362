"""Every song judged once by a model that never heard it or its artist."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from songbag.answers.modelfile import read_model
from songbag.answers.tables import Row, failure_row, write_csv
from songbag.errors import TrainingError
from songbag.jobs.answering import answer_bags
from songbag.jobs.console import Console
from songbag.jobs.evaluation import Evaluation, figures, judged_row, row_columns, summary
from songbag.jobs.report import write_report
from songbag.jobs.training import (
    VALIDATION_SHARE,
    fit_bags,
    hear_labelled,
    require_trainable,
    save,
    split_method,
)
from songbag.settings import Limits, Own, Recipe
from songbag.songs.song_bags import SongBags
from songbag.songs.splits import certify, folds, validation_part
from songbag.songs.table import SongTable, require_labels


@dataclass
class CrossValidated:
    """Out-of-fold evaluation and the folder it was written to."""

    evaluation: Evaluation
    folder: Path


def crossvalidate(
    table: SongTable,
    folder: Path,
    recipe: Recipe,
    cache: Path,
    console: Console,
    count: int = 5,
    seed: int = 0,
    limits: Limits | None = None,
    workers: int | None = None,
    threads: int | None = None,
    own: Own | None = None,
) -> CrossValidated:
    """Hear a labelled table of songs, then `crossvalidate_bags`.

    Raises
    ------
    SongTableError, TrainingError
    """
    require_trainable(recipe)
    heard = hear_labelled(table, recipe, cache, console, limits or Limits(), workers)
    return crossvalidate_bags(heard, folder, recipe, console, count, seed, threads, own)


def crossvalidate_bags(
    heard: SongBags,
    folder: Path,
    recipe: Recipe,
    console: Console,
    count: int = 5,
    seed: int = 0,
    threads: int | None = None,
    own: Own | None = None,
) -> CrossValidated:
    """Train ``count`` models, each judged on the fold it did not see.

    ``folder`` gets folds.csv, history.csv, predictions.csv, windows.csv, metrics.json,
    report.html and models/foldN.songbag.

    Raises
    ------
    SongTableError, TrainingError
    """
    require_trainable(recipe)
    require_labels(heard.table())
    names = [str(song.label) for song in heard.songs]
    groups = [song.group for song in heard.songs]
    fold_of = folds(names, groups, count, seed)
    _refuse_lost_labels(np.asarray(names), fold_of)
    method = f"{count} folds, {split_method(heard.songs, given=False)}"
    sides = [f"fold {fold + 1}" for fold in fold_of]
    ids = [song.id for song in heard.songs]
    certificate = certify(ids, names, groups, sides, method, seed)
    history: list[Row] = []
    rows: dict[str, Row] = {}
    window_rows: list[Row] = []
    for fold in range(count):
        console.say(f"fold {fold + 1} of {count}")
        rest, held = (heard.part(on.tolist()) for on in (fold_of != fold, fold_of == fold))
        part = _train_fold(rest, heard, fold, recipe, folder, console, seed, threads, own)
        history += [{"fold": fold + 1, **row} for row in part]
        path = model_path(folder, fold)
        card = read_model(path, parts=()).card
        for song, answer in zip(held.songs, answer_bags(held, path), strict=True):
            rows[song.id] = judged_row(song, answer, card, f"fold {fold + 1}")
            window_rows += answer.window_rows(card.labels)
    labels = tuple(heard.table().label_names())
    everyone = [*heard.songs, *(song for song, _, _ in heard.failed)]
    for song, reason, message in heard.failed:
        failure = failure_row(song.id, reason, message, labels)
        rows[song.id] = failure | {"label": song.label, "group": song.group_value} | song.extra
    ordered = [rows[song.id] for song in everyone]
    found = figures(ordered, labels) | {"split": msgspec.to_builtins(certificate)}
    evaluation = Evaluation(found, ordered, window_rows, labels, row_columns(labels, everyone))
    evaluation.write(folder)
    write_csv(folder / "history.csv", history, list(history[0]))
    lines = [{"id": i, "fold": on + 1} for i, on in zip(ids, fold_of.tolist(), strict=True)]
    write_csv(folder / "folds.csv", lines, ["id", "fold"])
    write_report(folder)
    console.say(summary(found))
    return CrossValidated(evaluation, folder)


def model_path(folder: Path, fold: int) -> Path:
    """Return where the model of a fold (counted from 0) lies."""
    return folder / "models" / f"fold{fold + 1}.songbag"


def _refuse_lost_labels(
    names: np.ndarray[tuple[int], np.dtype[np.str_]],
    fold_of: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    for name in np.unique(names):
        if len(np.unique(fold_of[names == name])) == 1:
            raise TrainingError(
                f"all songs labelled '{name}' fall into one fold, so no model could both learn "
                "and meet them: they belong to one artist, or are too few. Use fewer folds, add "
                "songs, or leave the label out."
            )


def _train_fold(
    rest: SongBags,
    heard: SongBags,
    fold: int,
    recipe: Recipe,
    folder: Path,
    console: Console,
    seed: int,
    threads: int | None,
    own: Own | None,
) -> Sequence[Row]:
    """Train the model of one fold on ``rest``, and save it."""
    held = np.zeros(len(rest), dtype=np.bool_)
    if recipe.training.keep == "best":
        names = [str(song.label) for song in rest.songs]
        groups = [song.group for song in rest.songs]
        held = validation_part(names, groups, VALIDATION_SHARE, seed)
    train, validation = (rest.part(on.tolist()).bags for on in (~held, held))
    labels = heard.table().label_names()
    fit, card = fit_bags(train, validation, labels, recipe, seed, console, threads, own)
    save(fit, card, model_path(folder, fold))
    return fit.history
