"""How good a model is on songs it has not heard: figures, and the rows they come from."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio.source import Source
from songbag.console import Console
from songbag.data.labels import split_labels
from songbag.data.song_table import Song, SongTable
from songbag.errors import SongTableError
from songbag.inference import tables
from songbag.inference.model_file import Card, are_heard, read_model
from songbag.inference.predict import Answer
from songbag.inference.predictor import Prediction
from songbag.metrics import baselines
from songbag.metrics.label_kinds import kind_of
from songbag.metrics.windows_needed import WindowPlan, accuracy_by_windows
from songbag.report.recordings import write_recordings
from songbag.storage.csv_files import Row, write_csv
from songbag.storage.files import write_json

HEARD_COLUMNS = ["variant", "windows", "shorter", "seconds", "accuracy", "low", "high"]
TRUTH_COLUMNS = ["label", "group", "side", "windows_right", "baseline_majority", "baseline_level"]


@dataclass
class Evaluation:
    """Rows of predictions.csv and windows.csv, and the figures made from them.

    Attributes
    ----------
    figures : dict
        What metrics.json holds.
    rows, window_rows : list of dict
    labels : tuple of str
    columns : list of str
        Of ``rows``, the user's own columns last.
    sources : dict of str to Source
        What was heard of each song, by id; empty for songs without a file.
    """

    figures: dict[str, Any]
    rows: list[Row]
    window_rows: list[Row]
    labels: tuple[str, ...]
    columns: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write metrics.json, predictions.csv, windows.csv, heard.csv, and audio.csv of files.

        heard.csv is for songs with one label each.
        """
        write_recordings(folder, self.sources)
        write_json(folder / "metrics.json", self.figures)
        write_csv(folder / "predictions.csv", self.rows, self.columns)
        write_csv(folder / "windows.csv", self.window_rows, tables.window_columns(self.labels))
        if not self.figures.get("multilabel"):
            write_csv(folder / "heard.csv", heard_rows(self), HEARD_COLUMNS)


def evaluate_model(
    model_path: Path,
    table: SongTable,
    answers: Iterable[Answer],
    console: Console,
    everything: bool = False,
) -> Evaluation:
    """Judge a model's answers on the songs of a labelled table that it has not heard.

    Parameters
    ----------
    answers : iterable of Answer
        One a song, in order: `answer_all` of audio, `answer_bags` of bags.
    everything : bool
        Judge the songs the model was trained on as well.

    Raises
    ------
    SongTableError
        A label the model does not know, no label at all, or nothing left to judge.
    """
    card = read_model(model_path, parts=()).card
    _refuse_labels(card, table)
    heard = are_heard(card, (song.id for song in table.songs)).tolist()
    rows, window_rows = [], []
    tracked = console.track(answers, len(table.songs), "Predicting")
    for song, answer, known in zip(table.songs, tracked, heard, strict=True):
        side = "training" if known else "unheard"
        rows.append(judged_row(song, answer, card, side))
        window_rows += answer.window_rows(card.labels)
    judged = [row for row in rows if everything or row["side"] != "training"]
    if not any(row["status"] == "ok" for row in judged):
        raise SongTableError(
            f"{table.origin}: no song is left to judge: {len(rows) - len(judged)} of {len(rows)} "
            "were used in training and the others could not be read. Evaluate other songs, or "
            "add --all to see how well it remembers these."
        )
    return Evaluation(
        figures(judged, card.labels, card.multilabel)
        | {"heard_in_training": len(rows) - len(judged)},
        rows,
        window_rows,
        card.labels,
        row_columns(card.labels, table.songs),
        {song.id: song.source(card.recipe.excerpt) for song in table.songs if song.path},
    )


def _refuse_labels(card: Card, table: SongTable) -> None:
    if table.multilabel != card.multilabel:
        kinds = {True: "several labels a song (column labels)", False: "one label a song"}
        raise SongTableError(
            f"{table.origin}: it has {kinds[table.multilabel]}, the model {kinds[card.multilabel]}."
        )
    for song in table.songs:
        strange = [label for label in song.labels if label not in card.labels]
        if strange or not (song.labels or song.multilabel):
            where = f", line {song.line}" if song.line else ""
            raise SongTableError(
                f"{table.origin}{where}: song '{song.id}' has "
                + (f"the label '{strange[0]}'" if strange else "no label")
                + f", but the model knows {', '.join(card.labels)}."
            )


def judged_row(song: Song, answer: Answer, card: Card, side: str) -> Row:
    """Return a row of predictions.csv with the truth and the baselines' answers beside it."""
    row = answer.row(card.labels)
    row |= {"label": song.label, "group": song.group_value, "side": side}
    row["baseline_majority"] = card.majority
    if answer.prediction is not None:
        row["windows_right"] = _windows_right(song, answer.prediction, card)
    if card.level is not None and answer.level_db is not None:
        shares = baselines.level_probabilities(card.level, np.array([answer.level_db]))
        row["baseline_level"] = card.labels[int(shares[0].argmax())]
    return tables.with_own(row, song.extra)


def _windows_right(song: Song, prediction: Prediction, card: Card) -> float:
    """Count windows whose own answer is right; of several labels, the share that is."""
    truth = np.isin(card.labels, song.labels)
    if card.multilabel:
        said = prediction.window_probabilities >= np.asarray(card.thresholds)
        return float(np.sum(np.mean(said == truth, axis=1)))
    return int(np.sum(truth[prediction.window_probabilities.argmax(axis=1)]))


def row_columns(labels: Sequence[str], songs: Sequence[Song]) -> list[str]:
    """Return the columns of a judged predictions.csv; the user's own come last."""
    columns = tables.song_columns(labels) + TRUTH_COLUMNS
    own = dict.fromkeys(name for song in songs for name in song.extra)
    return columns + [name for name in own if name not in columns]


def figures(rows: Sequence[Row], labels: Sequence[str], multilabel: bool = False) -> dict[str, Any]:
    """Return every figure of an evaluation, from the rows of predictions.csv alone.

    Parameters
    ----------
    rows
        With id, status, label, group, predicted, p_<label>, windows, windows_right and
        the baselines' answers. Failed songs are counted, not judged.
    """
    answered = [row for row in rows if row["status"] == "ok"]
    columns = tables.probability_columns(labels)
    probabilities = np.array([[float(row[name]) for name in columns] for row in answered])
    groups = known_groups(answered)
    kind = kind_of(multilabel)

    def names(cell: str | None) -> tuple[str, ...]:
        return split_labels(cell or "") if multilabel else (cell or "",)

    y, predicted = (
        kind.truths([names(row[column]) for row in answered], labels)
        for column in ("label", "predicted")
    )
    found = kind.evaluate(y, kind.normalized(probabilities), labels, predicted > 0, groups)
    windows = sum(int(row["windows"]) for row in answered)
    right = sum(float(row["windows_right"]) for row in answered)
    told: Any = found.get("baselines", {})
    baselines_found = {name: _share(answered, f"baseline_{name}") for name in ("majority", "level")}
    return {
        **found,
        "failed": len(rows) - len(answered),
        "window_accuracy": right / windows if windows else None,
        "windows": windows,
        "baselines": baselines_found | told,
    }


def known_groups(rows: Sequence[Row]) -> NDArray[np.int64] | None:
    """Return the number of each row's group (n,), a song without one its own; None if none."""
    known = [row.get("group") or None for row in rows]
    names = [group or row["id"] for group, row in zip(known, rows, strict=True)]
    return np.unique(names, return_inverse=True)[1] if any(known) else None


def _share(rows: Sequence[Row], column: str) -> float | None:
    if not rows or any(not row.get(column) for row in rows):
        return None
    return float(np.mean([row[column] == row["label"] for row in rows]))


def heard_rows(evaluation: Evaluation) -> list[Row]:
    """Return the accuracy against the number of windows heard, from the windows' answers.

    Of every song judged, some windows are heard: random ones, the first, the middle; their
    mean probability answers.
    """
    judged = {
        r["id"]: r for r in evaluation.rows if r["status"] == "ok" and r["side"] != "training"
    }
    columns = tables.probability_columns(evaluation.labels)
    shares: dict[str, list[list[float]]] = defaultdict(list)
    spans: list[tuple[float, float]] = []
    for row in evaluation.window_rows:
        if row["id"] in judged:
            shares[row["id"]].append([row[name] for name in columns])
            if row["start"] is not None:
                spans.append((row["start"], row["end"]))
    rows = list(judged.values())
    found = accuracy_by_windows(
        [np.array(shares[row["id"]]) for row in rows],
        np.array([evaluation.labels.index(row["label"]) for row in rows]),
        known_groups(rows),
        lambda windows: windows.mean(axis=0),
        np.random.default_rng(0),
        _hearing(spans),
    )
    told = [(row, row.pop("accuracy")) for row in found]
    return [
        row | {"accuracy": it["value"], "low": it["low"], "high": it["high"]} for row, it in told
    ]


def _hearing(spans: Sequence[tuple[float, float]]) -> WindowPlan:
    """Return how long windows are and how far apart, as the windows of songs themselves say."""
    steps = np.diff([start for start, _ in spans])
    steps = steps[steps > 0]
    if len(steps) == 0:  # windows of a table have no times; songs of one window no distance
        return WindowPlan()
    length = float(np.median([end - start for start, end in spans]))
    return WindowPlan(window_seconds=length, hop_seconds=float(np.median(steps)))


def summary(found: dict[str, Any]) -> str:
    """Return the figures in a few lines for a terminal."""
    headline, name = (
        ("map", "mean AP") if found.get("multilabel") else ("accuracy", "song accuracy")
    )
    value = found["metrics"][headline]
    interval = ""
    if value["low"] is not None:
        by = f"{found['groups']} groups" if found["groups"] else "songs"
        interval = f"  95 % interval {value['low']:.3f} to {value['high']:.3f} (over {by})"
    lines = [f"{name:<16} {value['value']:.3f}{interval}"]
    if found.get("multilabel"):
        decided = found["metrics"]["hamming_accuracy"]["value"]
        lines.append(f"decisions right  {decided:.3f}")
        lines.append(f"to be beaten     {found['baselines']['map']:.3f}  mean AP of saying nothing")
    if found["window_accuracy"] is not None:
        lines.append(f"window accuracy  {found['window_accuracy']:.3f}")
    for name, text in (("majority", "most frequent answer"), ("level", "loudness alone")):
        if found["baselines"][name] is not None:
            lines.append(f"to be beaten     {found['baselines'][name]:.3f}  {text}")
    ece = found["metrics"]["ece"]["value"]
    usual = f"a perfectly calibrated model: below {found['ece_calibrated_q90']:.3f} (90 %)"
    lines.append(f"calibration      ECE {ece:.3f}; {usual}")
    judged = f"judged on        {found['songs']} songs"
    if found.get("heard_in_training"):
        judged += f"; {found['heard_in_training']} heard in training left out"
    if found["failed"]:
        judged += f"; {found['failed']} could not be read"
    return "\n".join([*lines, judged])
