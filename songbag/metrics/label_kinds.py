"""The two kinds of labelling, each as one object: one label a song, or any number of labels.

All code that depends on the kind asks such an object. Arrays have these shapes:

================  ======================================  =======================================
..                `SINGLE_LABEL`                          `MULTILABEL`
================  ======================================  =======================================
y                 (n,) integers in 0 .. labels - 1        (n, labels) bool, or 0 and 1
probabilities     (n, labels), the sum of a row is 1      (n, labels), each from 0 to 1
thresholds        empty                                   (labels,), each from 0 to 1
================  ======================================  =======================================

>>> SINGLE_LABEL.probabilities(np.array([1.0, 2.0])).round(2)
array([0.27, 0.73])
>>> MULTILABEL.probabilities(np.array([1.0, 2.0])).round(2)
array([0.73, 0.88])
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from songbag.metrics import classification, multilabel
from songbag.metrics.bootstrap import (
    Measure,
    group_index,
    number_or_none,
    records,
    with_intervals,
)
from songbag.metrics.classification import Bools, Floats, Ints

Truths = NDArray[Any]  # (n,) integers, or (n, labels) bool or 0 and 1
Array = NDArray[np.float64]
Thresholds = Sequence[float]
Measures = dict[str, Measure]


@dataclass(frozen=True)
class LabelKind(ABC):
    """What depends on how many labels a song may have.

    ``headline`` is the metric by which models are judged first. ``balances``: songs can be
    weighed by how rare their label is. ``abstains``: a song's confidence is the probability of
    its label being right, so that the precision of the songs above a confidence can be stated.
    """

    name: ClassVar[str]
    multilabel: ClassVar[bool]
    description: ClassVar[str]
    headline: ClassVar[str]
    balances: ClassVar[bool]
    abstains: ClassVar[bool]

    # --- truths ---

    @abstractmethod
    def truths(self, label_sets: Sequence[Sequence[str]], labels: Sequence[str]) -> Truths:
        """Return y of songs with these labels, as int64; ``labels`` names the columns.

        ValueError for an unknown label, and for `SINGLE_LABEL` unless a song has exactly one.
        """

    @abstractmethod
    def targets(self, y: Truths, classes: int) -> Array:
        """Return y as 0 and 1 (n, classes), or raise ValueError if it is not of this kind."""

    @abstractmethod
    def majority(self, y: Truths, labels: Sequence[str]) -> list[str]:
        """Return the most frequent label, or the labels that half of the songs or more have."""

    # --- probabilities ---

    @abstractmethod
    def probabilities(self, logits: Floats, temperature: float = 1.0) -> Array:
        """Return the softmax of logits / temperature over the last axis, or each one's sigmoid.

        Temperature scaling (Guo et al. 2017, On calibration of modern neural networks, section
        4.2) acts on songs only, after pooling: calibrated windows make no calibrated song.
        """

    @abstractmethod
    def logits(self, probabilities: Floats) -> Array:
        """Return logits of which `probabilities` are these; they are held in 1e-12 .. 1."""

    def normalized(self, probabilities: Floats) -> Array:
        """Return probabilities that a file holds rounded; of one label a song with sum 1 again."""
        return np.asarray(probabilities, dtype=np.float64)

    @abstractmethod
    def loss(self, logits: Floats, targets: Floats, inverse: float) -> tuple[float, float]:
        """Return the mean negative log-likelihood at temperature 1 / inverse, and its slope.

        Nats per song, or per label decision; ``targets`` are 0 and 1, both (n, classes). The
        slope is the derivative by ``inverse``.
        """

    # --- decisions ---

    def default_thresholds(self, classes: int) -> tuple[float, ...]:
        """Return the thresholds of an uncalibrated model: none, or 0.5 for every label."""
        return ()

    def best_thresholds(self, y: Truths, probabilities: Floats) -> tuple[float, ...]:
        """Return the thresholds that fit these songs best: none, or those of greatest F1."""
        return ()

    @abstractmethod
    def decisions(self, probabilities: Floats, thresholds: Thresholds = ()) -> Bools:
        """Return which labels songs are given (..., labels).

        The most probable label, the first on ties; or all that reach their threshold.
        """

    def decide(self, probabilities: Floats, thresholds: Thresholds = ()) -> list[int]:
        """Return the indices of the labels that one song (labels,) is given."""
        indices: list[int] = np.flatnonzero(self.decisions(probabilities, thresholds)).tolist()
        return indices

    @abstractmethod
    def confidence(self, probabilities: Floats, thresholds: Thresholds = ()) -> float:
        """Return the probability of one song's label, or of its least certain decision."""

    @abstractmethod
    def shares_right(self, probabilities: Floats, y: Truths, thresholds: Thresholds = ()) -> Array:
        """Return of every row (n, labels) the share of decisions that are right, (n,).

        0 or 1 for `SINGLE_LABEL`. y may also be the truth of one song, for all rows.
        """

    # --- metrics ---

    @abstractmethod
    def measures(
        self, y: Truths, probabilities: Floats, decisions: Bools | None = None
    ) -> Measures:
        """Return every metric of these songs by name, as a function of weights alone."""

    def evaluate(
        self,
        y: Truths,
        probabilities: Floats,
        labels: Sequence[str],
        decisions: Bools | None = None,
        groups: Ints | None = None,
        seed: int = 0,
        resamples: int = 2000,
    ) -> dict[str, object]:
        """Return every metric, with intervals of 95 %, as one dictionary that JSON can hold.

        ``labels`` names the columns of probabilities. ``decisions`` (n, labels), for `MULTILABEL`
        only, says which labels each song was given, by thresholds that need not be the same for
        all songs (0.5 if left out). Songs of one of the ``groups`` (n,) are resampled together.
        """
        rng, measures = np.random.default_rng(seed), self.measures(y, probabilities, decisions)
        return {
            **({"multilabel": True} if self.multilabel else {}),
            "songs": len(y),
            "groups": None if groups is None else len(np.unique(groups)),
            "metrics": with_intervals(measures, group_index(groups, len(y)), rng, resamples),
            **self.tables(y, probabilities, labels, decisions, rng),
        }

    @abstractmethod
    def tables(
        self,
        y: Truths,
        probabilities: Floats,
        labels: Sequence[str],
        decisions: Bools | None,
        rng: "np.random.Generator",
    ) -> dict[str, object]:
        """Return what `evaluate` reports beside the metrics: by label, by bin, baselines."""


class SingleLabel(LabelKind):
    """Every song has exactly one label."""

    name = "single label"
    multilabel = False
    description = "one label a song"
    headline = "accuracy"
    balances = True
    abstains = True

    def truths(self, label_sets: Sequence[Sequence[str]], labels: Sequence[str]) -> Truths:
        if wrong := [names for names in label_sets if len(names) != 1]:
            raise ValueError(f"a song needs exactly one label, not {len(wrong[0])}")
        return np.array([_place(names[0], labels) for names in label_sets], dtype=np.int64)

    def targets(self, y: Truths, classes: int) -> Array:
        return np.eye(classes)[classification.checked_labels(y, classes)]

    def majority(self, y: Truths, labels: Sequence[str]) -> list[str]:
        return [labels[int(self.targets(y, len(labels)).sum(axis=0).argmax())]]

    def probabilities(self, logits: Floats, temperature: float = 1.0) -> Array:
        scaled = np.asarray(logits, dtype=np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        shares: Array = powers / powers.sum(axis=-1, keepdims=True)
        return shares

    def logits(self, probabilities: Floats) -> Array:
        return np.asarray(np.log(np.clip(probabilities, 1e-12, 1 - 1e-12)))

    def normalized(self, probabilities: Floats) -> Array:
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def loss(self, logits: Floats, targets: Floats, inverse: float) -> tuple[float, float]:
        scaled = logits * inverse
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        slope = (self.probabilities(logits, 1 / inverse) - targets) * logits
        value = (total - (targets * scaled).sum(axis=1)).mean()
        return float(value), float(slope.sum(axis=1).mean())

    def decisions(self, probabilities: Floats, thresholds: Thresholds = ()) -> Bools:
        table = np.asarray(probabilities)
        return np.asarray(np.eye(table.shape[-1], dtype=np.bool_)[table.argmax(axis=-1)])

    def confidence(self, probabilities: Floats, thresholds: Thresholds = ()) -> float:
        return float(np.max(probabilities))

    def shares_right(self, probabilities: Floats, y: Truths, thresholds: Thresholds = ()) -> Array:
        return np.asarray(np.argmax(probabilities, axis=-1) == y, dtype=np.float64)

    def measures(
        self, y: Truths, probabilities: Floats, decisions: Bools | None = None
    ) -> Measures:
        metrics = classification.METRICS.items()
        return {name: partial(metric, y, probabilities) for name, metric in metrics}

    def tables(
        self,
        y: Truths,
        probabilities: Floats,
        labels: Sequence[str],
        decisions: Bools | None,
        rng: "np.random.Generator",
    ) -> dict[str, object]:
        per_label = classification.per_label(y, probabilities)
        confidence = np.asarray(probabilities, dtype=np.float64).max(axis=1)
        right = probabilities.argmax(axis=1) == y
        return {
            "ece_calibrated_q90": classification.calibrated_ece_quantile(confidence, rng),
            "confusion": classification.confusion_matrix(y, probabilities).tolist(),
            "labels": list(labels),
            "per_label": records(per_label, labels),
            "reliability": records(classification.reliability(confidence, right)),
        }


class Multilabel(LabelKind):
    """A song has any number of the labels, each with a probability of its own."""

    name = "multilabel"
    multilabel = True
    description = "several labels a song (column labels)"
    headline = "map"
    balances = False
    abstains = False

    def truths(self, label_sets: Sequence[Sequence[str]], labels: Sequence[str]) -> Truths:
        y = np.zeros((len(label_sets), len(labels)), dtype=np.int64)
        for row, names in zip(y, label_sets, strict=True):
            row[[_place(name, labels) for name in names]] = 1
        return y

    def targets(self, y: Truths, classes: int) -> Array:
        truth = multilabel.checked_truth(y)
        if truth.shape[1] != classes:
            raise ValueError(f"y has {truth.shape[1]} labels, not {classes}")
        return truth.astype(np.float64)

    def majority(self, y: Truths, labels: Sequence[str]) -> list[str]:
        often = np.mean(y, axis=0) >= 0.5
        return [name for name, is_often in zip(labels, often, strict=True) if is_often]

    def probabilities(self, logits: Floats, temperature: float = 1.0) -> Array:
        scaled = np.asarray(logits, dtype=np.float64) / temperature
        return np.asarray(np.exp(-np.logaddexp(0, -scaled)))

    def logits(self, probabilities: Floats) -> Array:
        p = np.clip(probabilities, 1e-12, 1 - 1e-12)
        return np.asarray(np.log(p) - np.log1p(-p))

    def loss(self, logits: Floats, targets: Floats, inverse: float) -> tuple[float, float]:
        scaled = logits * inverse
        slope = (self.probabilities(logits, 1 / inverse) - targets) * logits
        value = (np.logaddexp(0, scaled) - targets * scaled).mean()
        return float(value), float(slope.mean())

    def default_thresholds(self, classes: int) -> tuple[float, ...]:
        return (0.5,) * classes

    def best_thresholds(self, y: Truths, probabilities: Floats) -> tuple[float, ...]:
        return tuple(multilabel.best_thresholds(y, probabilities).tolist())

    def decisions(self, probabilities: Floats, thresholds: Thresholds = ()) -> Bools:
        return multilabel.decide(probabilities, thresholds)

    def confidence(self, probabilities: Floats, thresholds: Thresholds = ()) -> float:
        yes = self.decisions(probabilities, thresholds)
        return float(np.where(yes, probabilities, 1 - probabilities).min())

    def shares_right(self, probabilities: Floats, y: Truths, thresholds: Thresholds = ()) -> Array:
        return np.asarray(np.mean(self.decisions(probabilities, thresholds) == y, axis=-1))

    def measures(
        self, y: Truths, probabilities: Floats, decisions: Bools | None = None
    ) -> Measures:
        decisions = self.decisions(probabilities) if decisions is None else decisions
        scored, decided = multilabel.METRICS.items(), multilabel.DECISION_METRICS.items()
        measures: dict[str, Measure] = {}
        measures |= {name: partial(metric, y, probabilities) for name, metric in scored}
        measures |= {name: partial(metric, y, decisions) for name, metric in decided}
        return measures

    def tables(
        self,
        y: Truths,
        probabilities: Floats,
        labels: Sequence[str],
        decisions: Bools | None,
        rng: "np.random.Generator",
    ) -> dict[str, object]:
        per_label = multilabel.per_label(y, probabilities, decisions)
        # Labels of a song are drawn independently. Where labels go together, the error of a
        # calibrated model spreads more than this.
        chance = np.ravel(probabilities).astype(np.float64)
        quantile = classification.calibrated_ece_quantile(chance, rng)
        return {
            "baselines": {"map": number_or_none(multilabel.base_rate_precision(y))},
            "ece_calibrated_q90": quantile,
            "labels": list(labels),
            "per_label": records(per_label, labels),
            "reliability": records(classification.reliability(chance, np.ravel(y) > 0)),
        }


SINGLE_LABEL = SingleLabel()
MULTILABEL = Multilabel()


def kind_of(multilabel: bool) -> LabelKind:
    """Return `MULTILABEL` or `SINGLE_LABEL`."""
    return MULTILABEL if multilabel else SINGLE_LABEL


def _place(label: str, labels: Sequence[str]) -> int:
    try:
        return labels.index(label)
    except ValueError:
        raise ValueError(f"'{label}' is none of the labels {', '.join(labels)}") from None
