"""Conclude a comparison from the files its runs left: tables of systems and differences, words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.song import split_labels
from songbag.errors import SettingsError, SongTableError, suggestion
from songbag.inference.predictions import probability_columns
from songbag.metrics import paired
from songbag.metrics.bootstrap import (
    Measure,
    cluster_intervals,
    group_index,
    number_or_none,
    percentile_interval,
    resample_measures,
)
from songbag.metrics.classification import Floats, Scores
from songbag.metrics.label_kinds import LabelKind, kind_of
from songbag.report.write import write_report
from songbag.storage.files import Row, read_csv, write_csv, write_json

_ALPHA = 0.05  # of one false call among all pairs
_RESAMPLES = 2000
_DETECTED = 0.8  # chance to tell the smallest difference apart


@dataclass
class Conclusion:
    """A row a system, the best first; a row a pair of systems; what the songs tell, in words."""

    folder: Path
    systems: list[Row]
    differences: list[Row]
    said: list[str]
    metric: str = "accuracy"


def chosen_metric(metric: str | None, kind: LabelKind) -> str:
    """Return the metric that systems are compared by, the kind's headline where none is named."""
    some = kind.probabilities(np.zeros((1, 2)))
    known = kind.measures(kind.truths([("a",)], ["a", "b"]), some)
    if metric is not None and metric not in known:
        raise SettingsError(
            f"--metric {metric}: no metric of songs with {kind.description}."
            f"{suggestion(metric, known)}"
        )
    return metric or kind.headline


@dataclass(frozen=True)
class _Run:
    """One run's predictions, songs sorted by id; ``y`` is the truth as ``kind`` has it."""

    kind: LabelKind
    ids: list[str]
    y: NDArray[np.int64]
    groups: list[str]
    folds: list[str]
    probabilities: Floats
    decisions: NDArray[np.bool_]
    window_accuracy: float | None  # None: windows have no answers of their own
    history: list[dict[str, str]]

    @classmethod
    def read(cls, folder: Path) -> "_Run":
        """Read the run that a cross-validation, or a model's evaluation, left in a folder."""
        figures = msgspec.json.decode((folder / "metrics.json").read_bytes())
        labels, kind = figures["labels"], kind_of(bool(figures.get("multilabel")))
        rows = [row for row in read_csv(folder / "predictions.csv") if row["status"] == "ok"]
        history = folder / "history.csv"
        rows.sort(key=lambda row: row["id"])
        columns = probability_columns(labels)
        shares = np.array([[float(row[name]) for name in columns] for row in rows])
        truths: list[tuple[str, ...]] = [(row["label"],) for row in rows]
        decisions = kind.decisions(shares)
        if kind.multilabel:
            truths = [split_labels(row["label"]) for row in rows]
            decided = [split_labels(row["predicted"]) for row in rows]
            decisions = kind.truths(decided, labels) > 0  # each fold has its own thresholds
        return cls(
            kind,
            [row["id"] for row in rows],
            kind.truths(truths, labels),
            [row["group"] or row["id"] for row in rows],
            [row["side"].removeprefix("fold ") for row in rows],
            kind.normalized(shares),
            decisions,
            figures["window_accuracy"],
            read_csv(history) if history.exists() else [],
        )

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which songs were predicted right, several labels all of them."""
        targets = self.kind.targets(self.y, self.probabilities.shape[1])
        return np.asarray((self.decisions == targets).all(axis=1))

    @cached_property
    def measures(self) -> dict[str, Measure]:
        return self.kind.measures(self.y, self.probabilities, self.decisions)


Runs: TypeAlias = Mapping[str, Sequence[_Run]]  # system to its runs, one a seed


def conclude(
    folder: Path,
    paths: Mapping[str, Sequence[Path]],
    metric: str = "accuracy",
    remarks: Sequence[str] = (),
    models: Mapping[str, int] | None = None,
) -> Conclusion:
    """Compare finished runs and write the tables and the report of a comparison.

    ``paths`` has for every system the folders of its runs, one a seed, in the same order. Of
    two trained models, in their order, ``models`` counts the songs of their trainings, which were
    set aside; ``remarks`` are more sentences.
    """
    runs = {name: [_Run.read(path) for path in of_system] for name, of_system in paths.items()}
    first = next(iter(runs.values()))[0]
    for name, of_system in runs.items():
        if any(run.ids != first.ids for run in of_system):
            raise SongTableError(f"{folder}: the songs of {name} are not those of the others.")
    grouped = len(set(first.groups)) < len(first.ids)
    groups = np.unique(first.groups, return_inverse=True)[1] if grouped else None
    group_count = len(set(first.groups)) if grouped else None
    systems = _system_rows(runs, group_index(groups, len(first.ids)), metric)
    pairs = _differences(runs, groups, metric)
    tables = {"systems": systems, "differences": pairs}
    tables["answers"] = _answer_rows(runs)
    if models is None:
        tables["runs"] = _fold_rows(runs, metric)
    for name, rows in tables.items():
        write_csv(folder / f"{name}.csv", rows, list(rows[0]))
    said = [*_sentences(systems, pairs, len(first.ids), group_count, metric), *remarks]
    comparison = {
        "metric": metric,
        "songs": len(first.ids),
        "groups": len(set(first.groups)),
        "seeds": len(next(iter(runs.values()))),
        "models": models,
        "systems": systems,
        "differences": pairs,
        "said": said,
        "curves": {name: _curve(of_system) for name, of_system in runs.items()},
    }
    write_json(folder / "comparison.json", comparison)
    write_report(folder)
    return Conclusion(folder, systems, pairs, said, metric)


def _mean_over_seeds(name: str, runs: Sequence[_Run], weights: Floats | None) -> Scores:
    return np.asarray(np.mean([run.measures[name](weights) for run in runs], axis=0))


def _system_rows(runs: Runs, group: NDArray[np.int64], metric: str) -> list[Row]:
    """One row a system: means over seeds, intervals over groups of the mean over seeds."""
    measures = {
        f"{system} {name}": partial(_mean_over_seeds, name, of_system)
        for system, of_system in runs.items()
        for name in dict.fromkeys((metric, "nll"))
    }
    limits = cluster_intervals(measures, group, np.random.default_rng(0))

    def with_interval(system: str, name: str) -> Row:
        measure = f"{system} {name}"
        low, high = map(number_or_none, limits[measure])
        return {name: float(measures[measure](None)), f"{name}_low": low, f"{name}_high": high}

    rows: list[Row] = []
    for system, of_system in runs.items():
        of_seeds = [float(run.measures[metric](None)) for run in of_system]
        row: Row = {"system": system} | with_interval(system, metric)
        row |= {"least_seed": min(of_seeds), "most_seed": max(of_seeds)}
        of_windows = [run.window_accuracy for run in of_system if run.window_accuracy is not None]
        row["window_accuracy"] = float(np.mean(of_windows)) if of_windows else None
        row |= with_interval(system, "nll")
        for name in ("macro_f1", "ece"):
            row[name] = float(_mean_over_seeds(name, of_system, None))
        row["seconds"] = None  # of a model whose training is elsewhere
        if all(run.history for run in of_system):
            row["seconds"] = float(np.mean([_seconds(run.history) for run in of_system]))
        rows.append(row)
    return sorted(rows, key=lambda row: -_goodness(metric) * row[metric])


def _goodness(metric: str) -> int:
    """Return 1 for a metric of which more is better, else -1."""
    return -1 if metric in ("nll", "brier", "ece") else 1


def _seconds(history: Sequence[Mapping[str, str]]) -> float:
    return sum(float(row["seconds"]) for row in history)


def _fold_rows(runs: Runs, metric: str) -> list[Row]:
    """One row a run and fold, with counts from which all else can be computed again."""
    rows: list[Row] = []
    for system, of_system in runs.items():
        for seed, run in enumerate(of_system):
            for fold in sorted(set(run.folds), key=int):
                here = np.array([number == fold for number in run.folds])
                epochs = [row for row in run.history if float(row["fold"]) == float(fold)]
                row: Row = {"system": system, "seed": seed, "fold": fold}
                row |= {"songs": int(here.sum()), "right": int(run.right[here].sum())}
                for name in (metric, "nll"):
                    row[name] = number_or_none(run.measures[name](here.astype(np.float64)))
                row |= {"epochs": len(epochs), "seconds": _seconds(epochs)}
                rows.append(row)
    return rows


def _answer_rows(runs: Runs) -> list[Row]:
    """One row a song: its group, and for every run whether it was predicted right."""
    first = next(iter(runs.values()))[0]
    rows: list[Row] = [
        {"id": song, "group": group} for song, group in zip(first.ids, first.groups, strict=True)
    ]
    for system, of_system in runs.items():
        for seed, run in enumerate(of_system):
            for row, right in zip(rows, run.right, strict=True):
                row[f"{system} seed {seed}"] = int(right)
    return rows


def _curve(runs: Sequence[_Run]) -> dict[str, list[float]]:
    """Mean losses by epoch over folds and seeds, as far as any of them went."""
    losses: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in (row for run in runs for row in run.history):
        for name in ("loss", "validation_loss"):
            if row.get(name):
                losses[name][int(float(row["epoch"]))].append(float(row[name]))
    return {name: [float(np.mean(by[e])) for e in sorted(by)] for name, by in losses.items()}


def _differences(runs: Runs, groups: NDArray[np.int64] | None, metric: str) -> list[Row]:
    """One row a pair of systems: the metric of a less that of b, the surest first.

    The interval and ``p`` take whole groups together and the mean over seeds; ``p_mcnemar`` is
    exact for the majority of an odd number of seeds, counts songs predicted right and takes
    them as independent. Both are corrected for the number of pairs (Holm).
    """
    right = {name: np.stack([run.right for run in of_system]) for name, of_system in runs.items()}
    if metric == "accuracy":
        pairs = paired.compare(right, groups, np.random.default_rng(0))
    else:
        pairs = [
            _metric_difference(a, b, runs, group_index(groups, len(right[a][0])), metric)
            for a, b in combinations(runs, 2)
        ]
    rows: list[Row] = []
    for pair in pairs:
        a, b = right[pair["a"]], right[pair["b"]]
        odd = len(a) - 1 + len(a) % 2
        counts = paired.mcnemar_exact(
            paired.majority_right(a[:odd]), paired.majority_right(b[:odd])
        )
        row: Row = {"a": pair["a"], "b": pair["b"]}
        for side in ("a", "b"):
            row[f"{metric}_{side}"] = float(_mean_over_seeds(metric, runs[pair[side]], None))
        row["difference"] = pair["value"]
        row |= {name: pair[name] for name in ("low", "high", "seed_error", "p")}
        row |= {"p_adjusted": None, "only_a_right": counts["only_a"]}
        row |= {"only_b_right": counts["only_b"], "p_mcnemar": counts["p"]}
        rows.append(row | {"p_mcnemar_adjusted": None, "smallest": pair["smallest"]})
    for plain, adjusted in (("p", "p_adjusted"), ("p_mcnemar", "p_mcnemar_adjusted")):
        known = [1.0 if row[plain] is None else row[plain] for row in rows]
        for row, p in zip(rows, paired.holm(known).tolist(), strict=True):
            row[adjusted] = p
    for row in rows:
        row["told_apart"] = row["p_adjusted"] < _ALPHA
    return sorted(rows, key=lambda row: (row["p_adjusted"], -abs(row["difference"])))


def _metric_difference(
    a: str, b: str, runs: Runs, group: NDArray[np.int64], metric: str
) -> dict[str, Any]:
    """Return a row as `paired.compare` does for accuracy, by the paired bootstrap over groups."""

    def difference(weights: Floats | None) -> Scores:
        ours, theirs = (_mean_over_seeds(metric, runs[name], weights) for name in (a, b))
        return np.asarray(ours - theirs)

    pair: dict[str, Any] = {"a": a, "b": b, "value": float(difference(None))}
    values = [[float(run.measures[metric](None)) for run in runs[name]] for name in (a, b)]
    seeds = min(map(len, values))
    errors = [np.var(of_system, ddof=1) / seeds for of_system in values if seeds > 1]
    pair["seed_error"] = float(np.sqrt(sum(errors))) if errors else None
    if len(set(group.tolist())) < 2:
        return pair | {"low": None, "high": None, "p": None, "smallest": 1.0}
    rng = np.random.default_rng(0)
    draws = resample_measures({metric: difference}, group, rng, _RESAMPLES)[metric]
    draws = draws[~np.isnan(draws)]
    low, high = percentile_interval(draws, 1 - _ALPHA)
    tail = 1 + min((draws <= 0).sum(), (draws >= 0).sum())
    z = NormalDist().inv_cdf(1 - _ALPHA / 2) + NormalDist().inv_cdf(_DETECTED)
    p = min(1.0, 2 * float(tail) / (len(draws) + 1))
    return pair | {"low": low, "high": high, "p": p, "smallest": z * float(draws.std())}


def _sentences(
    systems: Sequence[Row], pairs: Sequence[Row], songs: int, groups: int | None, metric: str
) -> list[str]:
    """Return in words what these songs can tell, and what they cannot."""
    best = systems[0]
    order = "Highest" if _goodness(metric) > 0 else "Lowest"
    name = "" if metric == "accuracy" else f" {metric}"
    said = [f"{order}{name}: {best['system']} with {best[metric]:.3f}."]
    apart = [pair for pair in pairs if pair["told_apart"]]
    for pair in apart[:5]:
        a_is_better = _goodness(metric) * pair["difference"] > 0
        better, worse = (pair["a"], pair["b"]) if a_is_better else (pair["b"], pair["a"])
        points = 100 * abs(pair["difference"])
        said.append(f"{better} is better than {worse} by {points:.1f} points.")
    if len(apart) > 5:
        said.append(f"{len(apart) - 5} other pairs are told apart too.")
    rest = len(pairs) - len(apart)
    if rest:
        which = f"{rest} of {len(pairs)} pairs cannot" if apart else "No two systems can"
        said.append(f"{which} be told apart: their order may be chance.")
    smallest = float(np.median([pair["smallest"] for pair in pairs]))
    said.append(paired.sentence(smallest, songs, groups))
    return said
