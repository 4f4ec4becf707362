"""Evaluate a model on songs it was not trained on: figures, and the rows they come from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.chosen_songs import decided_songs
from songbag.data.dataset import SongDataset
from songbag.data.song import Song, joined_groups
from songbag.data.splits import NOT_JUDGED
from songbag.errors import SongTableError
from songbag.inference.model_file import Card, Model, used_in_training
from songbag.inference.predict import predict
from songbag.inference.predictions import (
    Predictions,
    SongPrediction,
    song_columns,
    song_row,
    window_columns,
    window_rows,
    with_user_columns,
)
from songbag.metrics.classification import Floats, level_probabilities
from songbag.metrics.label_kinds import SINGLE_LABEL, LabelKind, kind_of
from songbag.metrics.windows_needed import WindowPlan, accuracy_by_windows
from songbag.report.recordings import write_recordings
from songbag.settings import Excerpt
from songbag.storage.files import Row, write_csv, write_json
from songbag.tasks.robust import measure_robustness, require_audio

HEARD_COLUMNS = ["variant", "windows", "shorter", "seconds", "accuracy", "low", "high"]
TRUTH_COLUMNS = ["group", "side", "windows_right", "baseline_majority", "baseline_level"]


@dataclass(frozen=True)
class JudgedSong:
    """A song's prediction beside its truth and the predictions of the baselines.

    Attributes
    ----------
    side : str
        Of the split: "test", "fold 1", ..., "unheard"; "training" for a song that the model was
        trained on, "chosen" for one that a model chose to be labelled.
    windows_right : float or None
        Windows whose own prediction is right; with several labels a window counts by the
        share of its decisions that are right. None for a failure.
    majority, level : str or None
        Predicted by the most frequent label, and by the level of the recording alone.
    """

    item: SongPrediction
    side: str
    windows_right: float | None = None
    majority: str | None = None
    level: str | None = None

    @classmethod
    def of(cls, item: SongPrediction, card: Card, side: str) -> "JudgedSong":
        """Judge a prediction of the model with this card."""
        right, level = None, None
        if (prediction := item.prediction) is not None:
            y = card.kind.truths([item.song.labels], card.labels)
            shares = prediction.window_probabilities
            right = float(card.kind.shares_right(shares, y, card.thresholds).sum())
        if card.level is not None and item.level_db is not None:
            by_level = level_probabilities(card.level, np.array([item.level_db]))
            level = card.labels[int(by_level[0].argmax())]
        return cls(item, side, right, card.majority, level)

    def row(self, labels: Sequence[str]) -> Row:
        """Return the song's row of a judged predictions.csv."""
        song = self.item.song
        truth = (song.group_value, self.side, self.windows_right)
        columns = zip(TRUTH_COLUMNS, (*truth, self.majority, self.level), strict=True)
        return song_row(self.item, labels) | dict(columns)


@dataclass
class Evaluation:
    """Judged predictions, and the figures made from them, as metrics.json holds them."""

    figures: dict[str, Any]
    judged: Sequence[JudgedSong]
    labels: tuple[str, ...]
    kind: LabelKind = SINGLE_LABEL
    excerpt: Excerpt = field(default_factory=Excerpt)
    space: str = "probability"  # or "logit": of what the song is the mean over its windows

    @property
    def songs(self) -> list[Song]:
        return [one.item.song for one in self.judged]

    @property
    def columns(self) -> list[str]:
        """Columns of a judged predictions.csv; the user's own come last."""
        return with_user_columns([*song_columns(self.labels), *TRUTH_COLUMNS], self.songs)

    @property
    def rows(self) -> list[Row]:
        return [one.row(self.labels) for one in self.judged]

    @property
    def window_rows(self) -> list[Row]:
        return [row for one in self.judged for row in window_rows(one.item, self.labels)]

    def write(self, folder: Path, trained_on: Sequence[Song] = ()) -> None:
        """Write metrics.json, predictions.csv, windows.csv, heard.csv, and audio.csv of files.

        robust.csv is there if the sound of songs was changed. audio.csv says where songs of the
        training are, too.
        """
        songs = (*self.songs, *trained_on)
        sources = {song.id: song.source(self.excerpt) for song in songs if song.path}
        write_recordings(folder, sources)
        write_json(folder / "metrics.json", self.figures)
        write_csv(folder / "predictions.csv", self.rows, self.columns)
        write_csv(folder / "windows.csv", self.window_rows, window_columns(self.labels))
        if not self.kind.multilabel:
            write_csv(folder / "heard.csv", accuracy_curve(self), HEARD_COLUMNS)
        if rows := self.figures.get("robust"):
            write_csv(folder / "robust.csv", rows, list(rows[0]))


def evaluate_model(
    model: Model,
    dataset: SongDataset,
    console: Console,
    everything: bool = False,
    side: str = "unheard",
    robust: bool = False,
) -> Evaluation:
    """Predict the songs of a labelled dataset, and judge those the model was not trained on.

    With ``everything`` those it was trained on are judged as well; ``side`` is the side of the
    others (see `JudgedSong`). With ``robust`` the judged songs are also predicted with their sound
    changed (see `songbag.tasks.robust.measure_robustness`).
    """
    dataset = decided_songs(dataset, console)
    audio = require_audio(dataset) if robust else None
    card, songs = model.card, dataset.everyone()
    require_known_labels(model, songs, dataset.origin)
    trained_on = used_in_training(card, (song.id for song in songs))
    items = console.track(predict(model, dataset), len(songs), "Predicting")
    judged = [
        JudgedSong.of(
            item, card, "training" if known else "chosen" if item.song.chosen_by_model else side
        )
        for item, known in zip(items, trained_on.tolist(), strict=True)
    ]
    counted = [one for one in judged if everything or one.side not in NOT_JUDGED]
    left_out = Counter(one.side for one in judged if not everything)
    if not any(one.item.prediction for one in counted):
        raise SongTableError(
            f"{dataset.origin}: no song is left to judge: {left_out['training']} of {len(judged)} "
            f"were used in training, {left_out['chosen']} were chosen by a model, and the others "
            "could not be read. Evaluate other songs, or add --all to see how well it remembers "
            "these."
        )
    figures = compute_figures(counted, card.labels, card.kind)
    figures["heard_in_training"] = left_out["training"]
    if left_out["chosen"]:
        figures["chosen_by_model"] = left_out["chosen"]
    if card.unknown:
        known = [one.item.prediction for one in counted if one.item.prediction is not None]
        aside = [(one.typicality or 0.0) <= card.unknown for one in known]
        figures["unknown"] = {"level": card.unknown, "set_aside": sum(aside)}
    if card.encoder is not None:
        figures["encoder"] = msgspec.to_builtins(card.encoder)
    if audio is not None:
        readable = [one for one in counted if one.item.prediction is not None]
        figures["robust"] = measure_robustness(
            model, audio, [one.item for one in readable], group_numbers(readable), console
        )
    space = card.space or "probability"
    return Evaluation(figures, judged, card.labels, card.kind, card.recipe.excerpt, space)


def require_known_labels(model: Model, songs: Iterable[Song], origin: str) -> None:
    """Refuse songs without a label, or with one that a model does not know."""
    card, name = model.card, model.path or "the model"
    for song in songs:
        if song.multilabel != card.multilabel:
            theirs = kind_of(song.multilabel).description
            raise SongTableError(f"{origin}: it has {theirs}, {name} {card.kind.description}.")
        unknown = [label for label in song.labels if label not in card.labels]
        if unknown or not (song.labels or song.multilabel):
            where = f", line {song.line}" if song.line else ""
            raise SongTableError(
                f"{origin}{where}: song '{song.id}' has "
                + (f"the label '{unknown[0]}'" if unknown else "no label")
                + f", but {name} knows {', '.join(card.labels)}."
            )


def compute_figures(
    judged: Sequence[JudgedSong], labels: tuple[str, ...], kind: LabelKind = SINGLE_LABEL
) -> dict[str, Any]:
    """Return every figure of an evaluation. Failed songs are counted, not judged."""
    known = [one for one in judged if one.item.prediction is not None]
    predictions = Predictions(labels, [one.item for one in known])
    groups = group_numbers(known)
    y = kind.truths([one.item.song.labels for one in known], labels)
    figures: dict[str, Any] = kind.evaluate(
        y, kind.normalized(predictions.probabilities), labels, predictions.decisions, groups
    )
    windows = int(predictions.window_counts.sum())
    right = sum(float(one.windows_right or 0) for one in known)
    by_baseline: dict[str, float | None] = {}
    for name in ("majority", "level"):
        answers = [getattr(one, name) for one in known]
        hits = [answer == one.item.song.label for answer, one in zip(answers, known, strict=True)]
        by_baseline[name] = float(np.mean(hits)) if answers and all(answers) else None
    return {
        **figures,
        "failed": len(judged) - len(known),
        "window_accuracy": right / windows if windows else None,
        "windows": windows,
        "baselines": by_baseline | figures.get("baselines", {}),
    }


def group_numbers(judged: Sequence[JudgedSong]) -> NDArray[np.int64] | None:
    """Return the number of each song's group, a song without one its own; None if none has.

    Songs of one file are of one group.
    """
    songs = [one.item.song for one in judged]
    names = joined_groups(songs)
    if not any(song.group_value for song in songs) and len(set(names)) == len(songs):
        return None
    return np.unique(names, return_inverse=True)[1]


def accuracy_curve(evaluation: Evaluation) -> list[Row]:
    """Return the accuracy where some windows of each song decide, by their mean.

    They are random ones, the first, or the middle, from one window to all. The mean is that of
    logits or of probabilities, as the model's pooling has it.
    """
    judged = [
        one
        for one in evaluation.judged
        if one.item.prediction is not None and one.side not in NOT_JUDGED
    ]
    predictions = Predictions(evaluation.labels, [one.item for one in judged])
    curve = accuracy_by_windows(
        predictions.window_probabilities,
        np.array([evaluation.labels.index(str(one.item.song.label)) for one in judged]),
        group_numbers(judged),
        _mean_logit if evaluation.space == "logit" else lambda windows: windows.mean(axis=-2),
        np.random.default_rng(0),
        _window_times(predictions),
    )
    rows = []
    for row in curve:
        accuracy = row.pop("accuracy")
        row |= {"accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"]}
        rows.append(row)
    return rows


def _mean_logit(probabilities: Floats) -> Floats:
    """Return the mean over windows of logits (..., classes), up to a constant, of probabilities."""
    logits: Floats = np.log(np.maximum(probabilities, np.finfo(float).tiny)).mean(axis=-2)
    return logits


def _window_times(predictions: Predictions) -> WindowPlan:
    """Return how long windows are and where they begin; those of a table have no times."""
    known = [item.prediction for item in predictions.items if item.prediction is not None]
    starts = [prediction.start_seconds for prediction in known]
    if np.isnan(np.concatenate(starts)).any():
        return WindowPlan()
    lengths = [one.end_seconds - one.start_seconds for one in known]
    return WindowPlan(window_seconds=float(np.median(np.concatenate(lengths))), starts=starts)


_HEADLINES = {"accuracy": "song accuracy", "map": "mean AP"}


def summary(figures: dict[str, Any]) -> str:
    """Return the figures in a few lines for a terminal."""
    kind = kind_of(bool(figures.get("multilabel")))
    value = figures["metrics"][kind.headline]
    interval = ""
    if value["low"] is not None:
        by = f"{figures['groups']} groups" if figures["groups"] else "songs"
        interval = f"  95 % interval {value['low']:.3f} to {value['high']:.3f} (over {by})"
    lines = [f"{_HEADLINES[kind.headline]:<16} {value['value']:.3f}{interval}"]
    if kind.multilabel:
        decided = figures["metrics"]["hamming_accuracy"]["value"]
        lines.append(f"decisions right  {decided:.3f}")
        constant = figures["baselines"]["map"]
        lines.append(f"to be beaten     {constant:.3f}  mean AP of saying nothing")
    if figures["window_accuracy"] is not None:
        lines.append(f"window accuracy  {figures['window_accuracy']:.3f}")
    for name, text in (("majority", "most frequent answer"), ("level", "loudness alone")):
        if figures["baselines"][name] is not None:
            beaten = figures["baselines"][name]
            if value["low"] is not None and value["low"] <= beaten:
                text += "; the interval reaches down to it, so it may not be beaten"
            lines.append(f"to be beaten     {beaten:.3f}  {text}")
    ece = figures["metrics"]["ece"]["value"]
    usual = f"a perfectly calibrated model: below {figures['ece_calibrated_q90']:.3f} (90 %)"
    lines.append(f"calibration      ECE {ece:.3f}; {usual}")
    if "split" in figures and not figures["groups"]:
        lines.append(
            "artists          unknown: songs of one may be on both sides of the split, and the "
            "figures too high. A column artist, or folders label/artist, keep them apart"
        )
    if "unknown" in figures:
        aside, level = figures["unknown"]["set_aside"], figures["unknown"]["level"]
        lines.append(
            f"set aside        {aside} as unknown; expected {level * figures['songs']:.0f}"
        )
    count = f"judged on        {figures['songs']} songs"
    if figures.get("heard_in_training"):
        count += f"; {figures['heard_in_training']} heard in training left out"
    if figures.get("chosen_by_model"):
        count += f"; {figures['chosen_by_model']} that a model chose left out"
    if figures["failed"]:
        count += f"; {figures['failed']} could not be read"
    return "\n".join([*lines, count])
