"""What a model has to beat: what ten lines of scikit-learn give, on the folds of the recipes.

Each baseline describes a song by one vector and classifies that; no window has an answer of its
own. Settings are the defaults of scikit-learn and of librosa, which most notebooks leave alone.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.dataset import BagDataset
from songbag.encoders.known import find_encoder
from songbag.inference.predictions import SongPrediction
from songbag.inference.predictor import Prediction
from songbag.metrics.calibration import Calibration, calibrate
from songbag.metrics.classification import fit_level, level_probabilities
from songbag.metrics.label_kinds import LabelKind
from songbag.report.write import write_report
from songbag.settings import Recipe
from songbag.storage.files import write_csv
from songbag.tasks.cross_validate import Folds, assign_folds
from songbag.tasks.embed import encode_songs
from songbag.tasks.evaluate import Evaluation, JudgedSong, compute_figures

Values = NDArray[np.float64]  # (songs, values)
# From training values, their truths, test values and the kind of labels to logits (songs, classes).
Classify = Callable[[Values, NDArray[np.int64], Values, LabelKind], Values]


@dataclass(frozen=True)
class Baseline:
    """How a song is described by one vector, and how vectors are classified."""

    values: Callable[[BagDataset, Recipe], Values]
    classify: Classify


# --- one vector a song ---


def no_values(dataset: BagDataset, recipe: Recipe) -> Values:
    """Return nothing of each song, (songs, 0)."""
    return np.zeros((len(dataset), 0))


def levels(dataset: BagDataset, recipe: Recipe) -> Values:
    """Return the level of each recording in dB of full scale, (songs, 1)."""
    return np.array([[bag.level_db] for bag in dataset.without_features()], dtype=np.float64)


def means_and_deviations(dataset: BagDataset, recipe: Recipe) -> Values:
    """Return mean and deviation of each value over a song's frames or windows.

    Of windows that are matrices (bands, frames) they are those of each band. Missing values are
    left out; what a song lacks altogether stays missing (NaN).
    """
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a value that a song lacks
        for bag in dataset:
            features = bag.features.astype(np.float64)
            over = (0, *range(2, features.ndim))
            mean, deviation = np.nanmean(features, axis=over), np.nanstd(features, axis=over)
            rows.append(np.concatenate([mean, deviation]))
    return np.stack(rows)


def encoder_vectors(dataset: BagDataset, recipe: Recipe) -> Values:
    """Return the vector of each song by the recipe's encoder, as `songbag embed` writes it."""
    encoder = find_encoder(recipe.sound, None)
    encoded = encode_songs(dataset, encoder, tags=False, pieces=False)
    return np.stack([song.values[0] for song in encoded if not song.reason]).astype(np.float64)


# --- classifiers ---


def by_frequency(x: Values, y: NDArray[np.int64], test: Values, kind: LabelKind) -> Values:
    """Answer with how frequent each label is."""
    targets = kind.targets(y, int(y.max()) + 1 if y.ndim == 1 else y.shape[1])
    return np.tile(kind.logits(targets.mean(axis=0)), (len(test), 1))


def by_level(x: Values, y: NDArray[np.int64], test: Values, kind: LabelKind) -> Values:
    """Answer by a Gaussian of each label's levels (`songbag.metrics.classification.fit_level`)."""
    fitted = fit_level(x[:, 0], y, int(y.max()) + 1)
    return kind.logits(level_probabilities(fitted, test[:, 0]))


def by_svc(x: Values, y: NDArray[np.int64], test: Values, kind: LabelKind) -> Values:
    """Answer by a support vector machine with a Gaussian kernel."""
    from sklearn.svm import SVC

    return _by_scikit_learn(SVC(break_ties=True), x, y, test, kind)


def by_logistic_regression(
    x: Values, y: NDArray[np.int64], test: Values, kind: LabelKind
) -> Values:
    """Answer by logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return _by_scikit_learn(LogisticRegression(max_iter=1000), x, y, test, kind)


def _by_scikit_learn(
    classifier: Any, x: Values, y: NDArray[np.int64], test: Values, kind: LabelKind
) -> Values:
    from sklearn.impute import SimpleImputer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind.multilabel:
        classifier = OneVsRestClassifier(classifier)
    pipeline = make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), classifier
    ).fit(x, y)
    scores = np.asarray(pipeline.decision_function(test), dtype=np.float64)
    return scores if scores.ndim == 2 else np.column_stack([-scores / 2, scores / 2])


BASELINES = {
    "most-frequent": Baseline(no_values, by_frequency),
    "loudness": Baseline(levels, by_level),
    "mfcc-svc": Baseline(means_and_deviations, by_svc),
    "encoder-logistic": Baseline(encoder_vectors, by_logistic_regression),
    "means-svc": Baseline(means_and_deviations, by_svc),
    "means-logistic": Baseline(means_and_deviations, by_logistic_regression),
}


def run_baseline(
    name: str,
    dataset: BagDataset,
    folder: Path,
    recipe: Recipe,
    count: int,
    seed: int,
) -> Evaluation:
    """Cross-validate a baseline, on the folds that `cross_validate` takes with the same seed.

    ``folder`` gets the same files as there, less folds.csv. ``seconds`` of history.csv are those
    of one fold: describing the songs, fitting, answering.
    """
    baseline, labels, kind = BASELINES[name], dataset.labels, dataset.kind
    fold_of, certificate = assign_folds(dataset, count, seed)
    y = kind.truths([song.labels for song in dataset.songs], labels)
    began = time.perf_counter()
    values = baseline.values(dataset, recipe)
    describing = (time.perf_counter() - began) / (int(fold_of.max()) + 1)
    logits, history = np.zeros((len(dataset), len(labels))), []
    for fold in range(int(fold_of.max()) + 1):
        began, test = time.perf_counter(), fold_of == fold
        logits[test] = baseline.classify(values[~test], y[~test], values[test], kind)
        seconds = time.perf_counter() - began + describing
        history.append({"fold": fold + 1, "epoch": 1, "seconds": seconds})
    judged = _judged(dataset, logits, y, fold_of, recipe)
    figures = compute_figures(judged, labels, kind)
    figures |= {"window_accuracy": None, "split": msgspec.to_builtins(certificate)}
    evaluation = Evaluation(figures, judged, labels, kind, recipe.excerpt)
    evaluation.write(folder)
    write_csv(folder / "history.csv", history, list(history[0]))
    write_report(folder)
    return evaluation


def _judged(
    dataset: BagDataset, logits: Values, y: NDArray[np.int64], fold_of: Folds, recipe: Recipe
) -> list[JudgedSong]:
    """Return every song's answer, calibrated on those of the other folds; failed songs last.

    The whole song is its only window.
    """
    kind, shares = dataset.kind, dataset.kind.probabilities(logits)
    calibrations: list[Calibration] = [
        calibrate(shares[fold_of != fold], y[fold_of != fold], kind)
        for fold in range(int(fold_of.max()) + 1)
    ]
    judged = []
    for bag, row, fold in zip(dataset.without_features(), logits, fold_of.tolist(), strict=True):
        calibration = calibrations[fold]
        probabilities = kind.probabilities(row, calibration.temperature)
        seconds = bag.samples / recipe.sound.sample_rate if bag.samples else np.nan
        one = row[None].astype(np.float32)
        prediction = Prediction(
            probabilities,
            row.astype(np.float32),
            row.astype(np.float32),
            probabilities[None],
            one,
            np.array([0.0 if bag.samples else np.nan]),
            np.array([seconds]),
            one,
            calibration.thresholds or kind.default_thresholds(len(row)),
            kind,
        )
        item = SongPrediction(bag.song, prediction, "", "", tuple(bag.warnings), bag.level_db)
        judged.append(JudgedSong(item, f"fold {fold + 1}"))
    failed = (SongPrediction(one.song, None, one.reason, one.message) for one in dataset.failures)
    return [*judged, *(JudgedSong(item, "") for item in failed)]
