"""What the runs of a comparison say: tables of systems and of their differences, in words too.

Everything is read from the files the runs left, so it can be done again without them being
run again, or by other means.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongTableError
from songbag.inference.tables import probability_columns
from songbag.metrics import classification, paired
from songbag.metrics.bootstrap import cluster_intervals, group_index, number_or_none
from songbag.report import write_report
from songbag.storage.csv_files import Row, read_csv, write_csv
from songbag.storage.files import write_json

Floats = NDArray[np.float64]

RUN_COLUMNS = ["system", "seed", "fold", "songs", "right", "accuracy", "nll", "epochs", "seconds"]
SYSTEM_COLUMNS = [
    *("system", "accuracy", "accuracy_low", "accuracy_high", "least_seed", "most_seed"),
    *("window_accuracy", "nll", "nll_low", "nll_high", "macro_f1", "ece", "seconds"),
]
DIFFERENCE_COLUMNS = [
    *("a", "b", "accuracy_a", "accuracy_b", "difference", "low", "high", "seed_error"),
    *("p", "p_adjusted", "only_a_right", "only_b_right", "p_mcnemar", "p_mcnemar_adjusted"),
    *("smallest", "told_apart"),
]
_ALPHA = 0.05  # of one false call among all pairs


@dataclass
class Verdict:
    """What a comparison found; ``said`` tells in words what the songs can and cannot tell."""

    folder: Path
    systems: list[Row]
    differences: list[Row]
    said: list[str]


@dataclass(frozen=True)
class _Run:
    """One run's predictions, songs sorted by id."""

    ids: list[str]
    y: NDArray[np.int64]
    groups: list[str]
    folds: list[str]
    probabilities: Floats
    window_accuracy: float
    history: list[dict[str, str]]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which songs were answered right, the first of tied labels being the answer."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.y)


def conclude(folder: Path, runs: Mapping[str, Sequence[Path]]) -> Verdict:
    """Compare finished runs and write the tables and the report of a comparison.

    Parameters
    ----------
    runs : mapping
        System to the folders of its runs, one a seed, in the same order for all.
    """
    read = {name: [_read_run(path) for path in paths] for name, paths in runs.items()}
    first = next(iter(read.values()))[0]
    for name, ours in read.items():
        if any(run.ids != first.ids for run in ours):
            raise SongTableError(f"{folder}: the songs of {name} are not those of the others.")
    known = len(set(first.groups)) < len(first.ids)
    groups = np.unique(first.groups, return_inverse=True)[1] if known else None
    systems = _system_rows(read, group_index(groups, len(first.ids)))
    pairs = _difference_rows(read, groups)
    said = _sentences(systems, pairs, len(first.ids), len(set(first.groups)) if known else None)
    write_csv(folder / "systems.csv", systems, SYSTEM_COLUMNS)
    write_csv(folder / "differences.csv", pairs, DIFFERENCE_COLUMNS)
    write_csv(folder / "runs.csv", _fold_rows(read), RUN_COLUMNS)
    answers = _answer_rows(read)
    write_csv(folder / "answers.csv", answers, list(answers[0]))
    found = {
        "songs": len(first.ids),
        "groups": len(set(first.groups)),
        "seeds": len(next(iter(read.values()))),
        "systems": systems,
        "differences": pairs,
        "said": said,
        "curves": {name: _curve(ours) for name, ours in read.items()},
    }
    write_json(folder / "comparison.json", found)
    write_report(folder)
    return Verdict(folder, systems, pairs, said)


def _read_run(folder: Path) -> _Run:
    figures = msgspec.json.decode((folder / "metrics.json").read_bytes())
    labels = figures["labels"]
    rows = [row for row in read_csv(folder / "predictions.csv") if row["status"] == "ok"]
    rows.sort(key=lambda row: row["id"])
    shares = np.array([[float(row[name]) for name in probability_columns(labels)] for row in rows])
    return _Run(
        [row["id"] for row in rows],
        np.array([labels.index(row["label"]) for row in rows]),
        [row["group"] or row["id"] for row in rows],
        [row["side"].removeprefix("fold ") for row in rows],
        shares / shares.sum(axis=1, keepdims=True),
        figures["window_accuracy"],
        read_csv(folder / "history.csv"),
    )


_MEASURES = {
    "accuracy": classification.accuracy,
    "nll": classification.negative_log_likelihood,
    "macro_f1": classification.macro_f1,
    "ece": classification.expected_calibration_error,
}


def _mean_over_seeds(name: str, runs: Sequence[_Run], weights: Floats | None) -> Floats:
    found = [_MEASURES[name](run.y, run.probabilities, weights) for run in runs]
    return np.asarray(np.mean(found, axis=0))


def _system_rows(read: Mapping[str, Sequence[_Run]], group: NDArray[np.int64]) -> list[Row]:
    """One row a system: means over seeds, intervals over groups of the mean over seeds."""
    measures = {
        f"{system} {name}": partial(_mean_over_seeds, name, runs)
        for system, runs in read.items()
        for name in ("accuracy", "nll")
    }
    limits = cluster_intervals(measures, group, np.random.default_rng(0))
    rows: list[Row] = []
    for system, runs in read.items():
        row: Row = {"system": system}
        row |= {name: float(_mean_over_seeds(name, runs, None)) for name in _MEASURES}
        for name in ("accuracy", "nll"):
            row[f"{name}_low"], row[f"{name}_high"] = map(
                number_or_none, limits[f"{system} {name}"]
            )
        each = [float(run.right.mean()) for run in runs]
        row |= {"least_seed": min(each), "most_seed": max(each)}
        row["window_accuracy"] = float(np.mean([run.window_accuracy for run in runs]))
        row["seconds"] = float(np.mean([_seconds(run.history) for run in runs]))
        rows.append(row)
    return sorted(rows, key=lambda row: -row["accuracy"])


def _seconds(history: Sequence[Mapping[str, str]]) -> float:
    return sum(float(row["seconds"]) for row in history)


def _fold_rows(read: Mapping[str, Sequence[_Run]]) -> list[Row]:
    """One row a run and fold, with counts from which all else can be computed again."""
    rows: list[Row] = []
    for system, runs in read.items():
        for seed, run in enumerate(runs):
            losses = -np.log(np.clip(run.probabilities[np.arange(len(run.y)), run.y], 1e-15, 1))
            for fold in sorted(set(run.folds), key=int):
                here = np.array([on == fold for on in run.folds])
                past = [row for row in run.history if float(row["fold"]) == float(fold)]
                row: Row = {"system": system, "seed": seed, "fold": fold}
                row |= {"songs": int(here.sum()), "right": int(run.right[here].sum())}
                row |= {
                    "accuracy": float(run.right[here].mean()),
                    "nll": float(losses[here].mean()),
                }
                row |= {"epochs": len(past), "seconds": _seconds(past)}
                rows.append(row)
    return rows


def _answer_rows(read: Mapping[str, Sequence[_Run]]) -> list[Row]:
    """One row a song: its group, and for every run whether it was answered right."""
    first = next(iter(read.values()))[0]
    rows: list[Row] = [
        {"id": song, "group": group} for song, group in zip(first.ids, first.groups, strict=True)
    ]
    for system, runs in read.items():
        for seed, run in enumerate(runs):
            for row, right in zip(rows, run.right, strict=True):
                row[f"{system} seed {seed}"] = int(right)
    return rows


def _curve(runs: Sequence[_Run]) -> dict[str, list[float]]:
    """Mean losses by epoch over folds and seeds, as far as any of them went."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in (row for run in runs for row in run.history):
        for name in ("loss", "validation_loss"):
            if row.get(name):
                found[name][int(float(row["epoch"]))].append(float(row[name]))
    return {name: [float(np.mean(by[e])) for e in sorted(by)] for name, by in found.items()}


def _difference_rows(
    read: Mapping[str, Sequence[_Run]], groups: NDArray[np.int64] | None
) -> list[Row]:
    """One row a pair of systems: accuracy of a less that of b, the surest first.

    The interval and ``p`` take whole groups together and the mean over seeds of every song;
    ``p_mcnemar`` is exact for the majority of an odd number of seeds and takes songs as
    independent. Both are corrected for the number of pairs (Holm).
    """
    right = {name: np.stack([run.right for run in runs]) for name, runs in read.items()}
    found = paired.compare(right, groups, np.random.default_rng(0))
    rows: list[Row] = []
    for pair in found:
        a, b = right[pair["a"]], right[pair["b"]]
        odd = len(a) - 1 + len(a) % 2
        counts = paired.mcnemar_exact(
            paired.majority_right(a[:odd]), paired.majority_right(b[:odd])
        )
        row: Row = {"a": pair["a"], "b": pair["b"], "difference": pair["value"]}
        row |= {"accuracy_a": float(a.mean()), "accuracy_b": float(b.mean())}
        row |= {"only_a_right": counts["only_a"], "only_b_right": counts["only_b"]}
        row |= {"p_mcnemar": counts["p"], "p_adjusted": pair["p_holm"]}
        row |= {name: pair[name] for name in ("low", "high", "p", "seed_error", "smallest")}
        rows.append(row | {"told_apart": pair["p_holm"] < _ALPHA})
    adjusted = paired.holm([row["p_mcnemar"] for row in rows])
    for row, p in zip(rows, adjusted.tolist(), strict=True):
        row["p_mcnemar_adjusted"] = p
    return sorted(rows, key=lambda row: (row["p"], -abs(row["difference"])))


def _sentences(
    systems: Sequence[Row], pairs: Sequence[Row], songs: int, groups: int | None
) -> list[str]:
    """Say in words what these songs can tell, and what they cannot."""
    best = systems[0]
    said = [f"Highest: {best['system']} with {best['accuracy']:.3f}."]
    told = [pair for pair in pairs if pair["told_apart"]]
    for pair in told[:5]:
        better, worse = (pair["a"], pair["b"]) if pair["difference"] > 0 else (pair["b"], pair["a"])
        points = 100 * abs(pair["difference"])
        said.append(f"{better} is better than {worse} by {points:.1f} points.")
    if len(told) > 5:
        said.append(f"{len(told) - 5} other pairs are told apart too.")
    rest = len(pairs) - len(told)
    if rest:
        which = f"{rest} of {len(pairs)} pairs cannot" if told else "No two systems can"
        said.append(f"{which} be told apart: their order may be chance.")
    smallest = float(np.median([pair["smallest"] for pair in pairs]))
    said.append(paired.sentence(smallest, songs, groups))
    return said
