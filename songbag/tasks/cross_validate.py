"""Cross-validate a recipe: every song judged once by a model not trained on it or its artist."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.chosen_songs import only_trained_on, training_remark
from songbag.data.dataset import BagDataset
from songbag.data.song import Song, joined_groups, stratification_labels
from songbag.data.splits import Certificate, certify, folds, split_sides
from songbag.errors import SongTableError, TrainingError
from songbag.inference.model_file import Card, Model, save_model
from songbag.inference.predict import predict
from songbag.inference.predictions import Predictions, SongPrediction, recalibrated
from songbag.inference.predictor import Prediction
from songbag.metrics.calibration import calibrate
from songbag.report.write import write_report
from songbag.settings import Own, Recipe
from songbag.storage.files import append_line, open_journal, read_journal, write_csv
from songbag.tasks.evaluate import Evaluation, JudgedSong, compute_figures, summary
from songbag.tasks.neighbours import write_neighbours
from songbag.tasks.train import VALIDATION_SHARE, split_groups, split_method
from songbag.training.checkpoint import dataset_hash, remove_checkpoints
from songbag.training.fit import History, fit
from songbag.training.plan import (
    TrainingPlan,
    adapt_recipe,
    folds_by_label,
    needs_validation,
)

Folds = NDArray[np.int64]  # (songs,); UNTESTED for songs that every fold is trained on
UNTESTED = -1
JOURNAL = "folds.journal"  # a line a fold: the same call goes on where it was stopped
_STORED = (
    *("probabilities", "logits", "score", "window_probabilities", "contributions"),
    *("start_seconds", "end_seconds"),
)


@dataclass(frozen=True)
class FoldResult:
    """A fold's model card and history, and its predictions for the songs held out."""

    card: Card
    history: History
    items: Sequence[SongPrediction]
    model: Model | None = None  # of a fold that was taken from the journal

    def journal_line(self) -> dict[str, Any]:
        """Return the fold as plain values; JSON keeps every bit of a float."""
        predictions = []
        for item in self.items:
            assert item.prediction is not None  # of songs that were read
            arrays = {name: getattr(item.prediction, name).tolist() for name in _STORED}
            predictions.append({**arrays, "warnings": item.warnings, "level_db": item.level_db})
        card = msgspec.structs.replace(self.card, heard=(), layers=())
        return {"card": card, "history": self.history, "predictions": predictions}

    @classmethod
    def of_line(cls, line: dict[str, Any], test: BagDataset) -> "FoldResult":
        """Return the fold that `journal_line` wrote; ``test`` are the songs held out."""
        card = msgspec.convert(line["card"], Card)
        items = []
        for bag, values in zip(test.without_features(), line["predictions"], strict=True):
            fields: dict[str, Any] = {name: np.array(values[name], np.float64) for name in _STORED}
            fields |= {"outputs": np.zeros((0, 0), np.float32), "thresholds": card.thresholds}
            prediction = Prediction(**fields, kind=card.kind)
            warnings, level_db = tuple(values["warnings"]), values["level_db"]
            items.append(
                SongPrediction(bag.song, prediction, "", "", warnings, level_db, bag.windows)
            )
        return cls(card, line["history"], items)


def cross_validate(
    dataset: BagDataset,
    folder: Path,
    recipe: Recipe,
    console: Console,
    count: int = 5,
    seed: int = 0,
    threads: int | None = None,
    own: Own | None = None,
    keep_models: bool = False,
    allow_crossing: bool = False,
) -> Evaluation:
    """Train ``count`` models, and return the evaluation of each on the fold it did not see.

    Where the songs state their folds, these are taken instead; a group may stand in two of them
    only with ``allow_crossing``, a file never.

    ``dataset`` has the features of the recipe (see `songbag.tasks.train.load_labelled`).
    Each model is calibrated on the predictions of the others for songs those were not
    trained on, so no song calibrates its own prediction. ``folder`` gets folds.csv,
    history.csv, predictions.csv, windows.csv, metrics.json and report.html, and with
    ``keep_models`` models/foldN.songbag. The same call goes on where it was stopped.
    """
    recipe = adapt_recipe(recipe, dataset, console)
    fold_of, certificate = assign_folds(dataset, count, seed, allow_crossing)
    if certificate.seed is None:
        console.say(f"folds are those that the songs state: {int(fold_of.max()) + 1}")
    count = int(fold_of.max()) + 1
    plan = TrainingPlan.of(dataset, recipe, console, seed, threads, own)
    results = []
    for fold in range(count):
        console.say(f"fold {fold + 1} of {count}")
        results.append(_run_fold(dataset, fold_of == fold, plan, folder, fold, keep_models))
    if not recipe.training.folds:  # members of an ensemble have calibrated it already
        results = calibrate_folds(results, dataset, fold_of, plan)
    evaluation = _evaluate_folds(results, dataset, fold_of, plan)
    temperatures = [result.card.temperature for result in results]
    evaluation.figures["split"] = msgspec.to_builtins(certificate)
    evaluation.figures["calibration"] = {"temperatures": temperatures}
    if results[0].card.encoder is not None:
        evaluation.figures["encoder"] = msgspec.to_builtins(results[0].card.encoder)
    evaluation.write(folder)
    history = [
        {"fold": fold, **row} for fold, result in enumerate(results, 1) for row in result.history
    ]
    write_csv(folder / "history.csv", history, list(history[0]))
    numbers = zip(dataset.songs, fold_of.tolist(), strict=True)
    rows = [{"id": s.id, "fold": None if fold == UNTESTED else fold + 1} for s, fold in numbers]
    write_csv(folder / "folds.csv", rows, ["id", "fold"])
    write_neighbours(folder, dataset, recipe.sound, fold_of, console)
    write_report(folder)
    for fold, result in enumerate(results):
        if keep_models and result.model is not None:
            save_model(model_path(folder, fold), replace(result.model, card=result.card))
    console.say(summary(evaluation.figures))
    return evaluation


def assign_folds(
    dataset: BagDataset, count: int, seed: int, allow_crossing: bool = False
) -> tuple[Folds, Certificate]:
    """Assign songs to folds, whole groups, labels even; return them with a certificate.

    Folds that the songs' table states are taken as they are. Songs that no split tests (see
    `only_trained_on`) are in none.
    """
    songs = dataset.songs
    ids, labels = [song.id for song in songs], stratification_labels(songs)
    given = [song.fold for song in songs]
    remark = f"; {text}" if (text := training_remark(songs, any(given))) else ""
    if any(given):
        unknown = sum(song.fold is None and not song.chosen_by_model for song in songs)
        if unknown:
            raise SongTableError(
                f"{unknown} of {len(given)} songs have no fold while others do. Fill the column, "
                "or leave it out."
            )
        names = sorted({fold for fold in given if fold})
        # Numbers come first, as numbers: 2 before 10, and both before texts.
        names.sort(key=lambda name: float(name) if name.isdigit() else math.inf)
        if len(names) == 1:
            raise SongTableError(
                f"all songs are of fold '{names[0]}': a cross-validation needs two. Fill the "
                "column of folds, or leave it out."
            )
        fold_of = np.array([names.index(fold) if fold else UNTESTED for fold in given])
        require_learnable(songs, fold_of)
        sides = [f"fold {fold}" if fold else "train" for fold in given]
        groups, said = split_groups(songs, sides, allow_crossing)
        method = f"{len(names)} folds given by the table, {said}{remark}"
        return fold_of, certify(ids, labels, groups, sides, method, None)
    groups = joined_groups(songs)
    tested = np.flatnonzero(~np.array(only_trained_on(songs)))
    fold_of = np.full(len(songs), UNTESTED)
    fold_of[tested] = folds([labels[k] for k in tested], [groups[k] for k in tested], count, seed)
    require_learnable(songs, fold_of)
    method = f"{count} folds, {split_method(songs, given=False)}{remark}"
    sides = ["train" if fold == UNTESTED else f"fold {fold + 1}" for fold in fold_of]
    return fold_of, certify(ids, labels, groups, sides, method, seed)


def require_learnable(songs: Sequence[Song], fold_of: Folds) -> None:
    """Raise a TrainingError where all songs of a label are in one fold."""
    for label, numbers in folds_by_label(songs, fold_of).items():
        if len(numbers) == 1 and UNTESTED not in numbers:
            raise TrainingError(
                f"all songs labelled '{label}' fall into one fold, so no model could both learn "
                "and meet them: they belong to one artist, or are too few. Use fewer folds, add "
                "songs, or leave the label out."
            )


def model_path(folder: Path, fold: int) -> Path:
    """Return the model file of a fold, counted from 0."""
    return folder / "models" / f"fold{fold + 1}.songbag"


def _run_fold(
    dataset: BagDataset,
    held_out: NDArray[np.bool_],
    plan: TrainingPlan,
    folder: Path,
    fold: int,
    keep_model: bool,
) -> FoldResult:
    """Train on all songs but a fold and predict that, unless the journal has it already."""
    rest, test = dataset.subset(~held_out), dataset.subset(held_out)
    path, key = model_path(folder, fold), ""  # objects of a user cannot be compared: no key
    if plan.own == Own():
        parts = (plan.recipe, plan.labels, plan.seed, dataset_hash(rest), dataset_hash(test))
        key = hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()
    for line in read_journal(folder / JOURNAL):
        if line["key"] == key and (path.exists() or not keep_model):
            plan.console.say("already trained")
            return FoldResult.of_line(line, test)
    validation = np.zeros(len(rest), dtype=np.bool_)
    if needs_validation(plan.recipe):
        labels, groups = stratification_labels(rest.songs), joined_groups(rest.songs)
        given, only = [None] * len(rest), only_trained_on(rest.songs)
        sides = split_sides(labels, groups, given, plan.seed, 0.0, VALIDATION_SHARE, only)
        validation = np.array(sides) == "validation"
    # States of another training of this fold, by its settings or threads, have another name.
    state = hashlib.blake2b(f"{key} {plan.threads}".encode(), digest_size=4).hexdigest()
    checkpoints = folder / f"fold{fold + 1}-{state}"
    fitted = fit(rest, plan, validation, checkpoints, resume=True)
    items = list(predict(fitted.model, test))
    result = FoldResult(fitted.model.card, fitted.history, items, fitted.model)
    if keep_model:
        save_model(path, fitted.model)
    if key:
        with open_journal(folder / JOURNAL) as journal:
            append_line(journal, {"key": key, **result.journal_line()})
    remove_checkpoints(folder / f"fold{fold + 1}-")
    return result


def calibrate_folds(
    results: Sequence[FoldResult], dataset: BagDataset, fold_of: Folds, plan: TrainingPlan
) -> list[FoldResult]:
    """Give each fold the calibration that fits the other folds' predictions."""
    y, classes = plan.truths(dataset.songs), len(plan.labels)
    shares = np.zeros((len(dataset), classes))
    for fold, result in enumerate(results):
        logits = Predictions(plan.labels, result.items).logits
        shares[fold_of == fold] = plan.kind.probabilities(logits)
    calibrated = []
    for fold, result in enumerate(results):
        others = (fold_of != fold) & (fold_of != UNTESTED)
        calibration = calibrate(shares[others], y[others], plan.kind)
        card = result.card.calibrated(calibration)
        items = [recalibrated(item, card) for item in result.items]
        calibrated.append(replace(result, card=card, items=items))
    return calibrated


def _evaluate_folds(
    results: Sequence[FoldResult], dataset: BagDataset, fold_of: Folds, plan: TrainingPlan
) -> Evaluation:
    """Judge each tested song by the model not trained on it; failed songs come last."""
    items = [iter(result.items) for result in results]
    judged = []
    for song, fold in zip(dataset.songs, fold_of.tolist(), strict=True):
        if fold == UNTESTED:
            continue
        item = replace(next(items[fold]), song=song)
        judged.append(JudgedSong.of(item, results[fold].card, f"fold {fold + 1}"))
    judged += [
        JudgedSong(SongPrediction(one.song, None, one.reason, one.message), "")
        for one in dataset.failures
    ]
    figures = compute_figures(judged, plan.labels, plan.kind)
    space = results[0].card.space or "probability"
    return Evaluation(figures, judged, plan.labels, plan.kind, plan.recipe.excerpt, space)
