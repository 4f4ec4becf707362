"""Every song judged once by a model that never heard it or its artist."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.dataset import SongBags
from songbag.data.song_table import Song, SongTable, require_labels, split_names
from songbag.data.splits import Certificate, certify, folds, validation_part
from songbag.errors import ModelFileError, TrainingError
from songbag.inference.model_file import PARTS, ModelFile, read_model, write_model
from songbag.inference.predict import answer_bags
from songbag.inference.tables import failure_row, with_own
from songbag.metrics.calibration import Calibration, calibrate
from songbag.metrics.label_kinds import kind_of
from songbag.report import write_report
from songbag.settings import Limits, Own, Recipe
from songbag.storage.csv_files import Row, read_csv, write_csv
from songbag.tasks.evaluate import Evaluation, figures, judged_row, row_columns, summary
from songbag.tasks.train import VALIDATION_SHARE, hear_labelled, split_method
from songbag.training.adapt import adapted
from songbag.training.calibrate import calibrated
from songbag.training.checkpoint import forget_states, songs_hash
from songbag.training.fit import Learning, require_trainable, save
from songbag.training.members import chooses_epoch, folds_by_label, learn

Folds = NDArray[np.int64]


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

    Each model is calibrated on the answers of the others, about songs that those had not
    heard, so no song calibrates its own answer. The same call goes on where it was stopped.
    ``folder`` gets folds.csv, history.csv, predictions.csv, windows.csv, metrics.json,
    report.html and models/foldN.songbag.

    Raises
    ------
    SongTableError, TrainingError
    """
    require_trainable(recipe)
    require_labels(heard.table())
    recipe = adapted(recipe, heard, console)
    fold_of, certificate = fold_songs(heard, count, seed)
    learning = Learning.of(heard.table(), recipe, console, seed, threads, own)
    history: list[Row] = []
    for fold in range(count):
        console.say(f"fold {fold + 1} of {count}")
        rest = heard.part((fold_of != fold).tolist())
        history += [{"fold": fold + 1, **row} for row in _train_fold(rest, fold, learning, folder)]
    # Members of a model have calibrated it already, on the songs that each had not heard.
    calibrate_others = not recipe.training.folds
    found = _calibrate_folds(heard, fold_of, learning, folder) if calibrate_others else None
    evaluation = _judge_folds(heard, fold_of, learning, folder)
    evaluation.figures["split"] = msgspec.to_builtins(certificate)
    evaluation.figures["calibration"] = found or _temperatures(folder, count)
    evaluation.write(folder)
    write_csv(folder / "history.csv", history, list(history[0]))
    pairs = zip(heard.songs, fold_of.tolist(), strict=True)
    write_csv(
        folder / "folds.csv", [{"id": s.id, "fold": on + 1} for s, on in pairs], ["id", "fold"]
    )
    write_report(folder)
    console.say(summary(evaluation.figures))
    return CrossValidated(evaluation, folder)


def fold_songs(heard: SongBags, count: int, seed: int) -> tuple[Folds, Certificate]:
    """Deal songs out to folds, whole groups, labels even; return them with a certificate.

    Raises
    ------
    TrainingError
        Too few groups, or a label that would be met but never learned.
    """
    names, groups = split_names(heard.songs), [song.group for song in heard.songs]
    fold_of = folds(names, groups, count, seed)
    _refuse_lost_labels(heard.songs, fold_of)
    method = f"{count} folds, {split_method(heard.songs, given=False)}"
    sides = [f"fold {fold + 1}" for fold in fold_of]
    ids = [song.id for song in heard.songs]
    return fold_of, certify(ids, names, groups, sides, method, seed)


def _calibrate_folds(
    heard: SongBags, fold_of: Folds, learning: Learning, folder: Path
) -> dict[str, Any]:
    """Give each model the calibration that the other folds' answers ask for."""
    count, y = int(fold_of.max()) + 1, learning.truths(heard.bags)
    for fold in range(count):
        _set(model_path(folder, fold), Calibration())
    shares = np.zeros((len(heard), len(learning.labels)))
    for fold in range(count):
        held = heard.part((fold_of == fold).tolist())
        answers = answer_bags(held, model_path(folder, fold))
        shares[fold_of == fold] = [a.prediction.probabilities for a in answers if a.prediction]
    kind = kind_of(learning.multilabel)
    found = [calibrate(shares[fold_of != k], y[fold_of != k], kind) for k in range(count)]
    for fold, one in enumerate(found):
        _set(model_path(folder, fold), one)
    return {"temperatures": [one.temperature for one in found]}


def _temperatures(folder: Path, count: int) -> dict[str, Any]:
    cards = (read_model(model_path(folder, fold), parts=()).card for fold in range(count))
    return {"temperatures": [card.temperature for card in cards]}


def _set(path: Path, calibration: Calibration) -> None:
    model = read_model(path, PARTS)
    write_model(path, ModelFile(calibrated(model.card, calibration), model.parts))


def _judge_folds(heard: SongBags, fold_of: Folds, learning: Learning, folder: Path) -> Evaluation:
    """Answer every song by the model that did not hear it; failed songs are rows too."""
    rows: dict[str, Row] = {}
    window_rows: list[Row] = []
    for fold in range(int(fold_of.max()) + 1):
        held, path = heard.part((fold_of == fold).tolist()), model_path(folder, fold)
        card, answers = read_model(path, parts=()).card, answer_bags(held, path)
        for song, answer in zip(held.songs, answers, strict=True):
            rows[song.id] = judged_row(song, answer, card, f"fold {fold + 1}")
            window_rows += answer.window_rows(card.labels)
    everyone = [*heard.songs, *(song for song, _, _ in heard.failed)]
    for song, reason, message in heard.failed:
        failure = failure_row(song.id, reason, message, learning.labels)
        failure |= {"label": song.label, "group": song.group_value}
        rows[song.id] = with_own(failure, song.extra)
    ordered = [rows[song.id] for song in everyone]
    columns = row_columns(learning.labels, everyone)
    found = figures(ordered, learning.labels, learning.multilabel)
    excerpt = learning.recipe.excerpt
    sources = {song.id: song.source(excerpt) for song in everyone if song.path}
    return Evaluation(found, ordered, window_rows, learning.labels, columns, sources)


def model_path(folder: Path, fold: int) -> Path:
    """Return where the model of a fold (counted from 0) lies."""
    return folder / "models" / f"fold{fold + 1}.songbag"


def _refuse_lost_labels(songs: Sequence[Song], fold_of: Folds) -> None:
    for name, found in folds_by_label(songs, fold_of).items():
        if len(found) == 1:
            raise TrainingError(
                f"all songs labelled '{name}' fall into one fold, so no model could both learn "
                "and meet them: they belong to one artist, or are too few. Use fewer folds, add "
                "songs, or leave the label out."
            )


def _train_fold(rest: SongBags, fold: int, learning: Learning, folder: Path) -> list[Row]:
    """Train the model of one fold on ``rest`` and save it, unless it is there already."""
    path = model_path(folder, fold)
    history = path.with_suffix(".csv")
    if _is_of(path, rest, learning) and history.exists():
        learning.console.say("already trained")
        return _read_history(history)
    held = np.zeros(len(rest), dtype=np.bool_)
    if chooses_epoch(learning.recipe):
        names, groups = split_names(rest.songs), [song.group for song in rest.songs]
        held = validation_part(names, groups, VALIDATION_SHARE, learning.seed)
    fit, card = learn(rest, held, learning, path, resume=True)
    write_csv(history, fit.history, list(fit.history[0]))
    save(fit, card, path, learning.own.encoder)
    forget_states(path)
    return list(fit.history)


def _is_of(path: Path, rest: SongBags, learning: Learning) -> bool:
    """Tell whether a model was trained just so: these songs, settings and seed."""
    if not path.exists() or learning.own != Own():
        return False  # objects of a user cannot be compared
    try:
        card = read_model(path, PARTS).card
    except ModelFileError:
        return False
    return (
        card.songs == songs_hash(rest.bags)
        and card.seed == learning.seed
        and card.labels == learning.labels
        and card.recipe.trainings == learning.recipe.trainings
        and card.recipe.sound == learning.recipe.sound
        and msgspec.structs.replace(card.recipe.windows, stride=1)
        == msgspec.structs.replace(learning.recipe.windows, stride=1)
    )


def _read_history(path: Path) -> list[Row]:
    return [{k: float(v) for k, v in row.items() if v} for row in read_csv(path)]
