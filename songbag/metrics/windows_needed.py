"""Accuracy against the number of windows that are taken of a song."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.bootstrap import group_index, with_intervals
from songbag.metrics.classification import Floats, Ints, weighted_mean

Pool: TypeAlias = Callable[[Floats], Floats]  # (..., windows, classes) to (..., classes)
Places: TypeAlias = NDArray[np.int64]

# windows of the song, windows to take, shuffled windows (draws, windows) to places (draws, count)
VARIANTS: dict[str, Callable[[int, int, Places], Places]] = {
    "random": lambda windows, count, order: order[:, :count],
    "first": lambda windows, count, order: np.arange(count)[None],
    "middle": lambda windows, count, order: (windows - count) // 2 + np.arange(count)[None],
}


@dataclass(frozen=True)
class WindowPlan:
    """Which windows are tried.

    ``counts`` are numbers of windows, each at least 1; larger ones than any song has become all
    windows. ``draws`` says how often windows are drawn at random. With ``window_seconds`` and
    ``starts``, seconds (windows,) of every song, rows say how much of a song the windows cover.
    """

    counts: tuple[int, ...] = (1, 2, 3, 5, 8, 13, 21, 34, 55)
    draws: int = 20
    window_seconds: float | None = None
    starts: Sequence[Floats] | None = None

    def covered_seconds(self, song: int, places: Places) -> float:
        """Return the mean seconds of a song that windows at places (draws, count) cover, or NaN."""
        if self.window_seconds is None or self.starts is None:
            return float("nan")
        gaps = np.diff(np.sort(self.starts[song][places], axis=1), axis=1)
        covered = self.window_seconds + np.minimum(gaps, self.window_seconds).sum(axis=1)
        return float(covered.mean())


def accuracy_by_windows(
    outputs: Sequence[Floats],
    y: Ints,
    groups: Ints | None,
    pool: Pool,
    rng: np.random.Generator,
    plan: WindowPlan | None = None,
) -> list[dict[str, Any]]:
    """Return the accuracy of every variant at every count of windows, one row each.

    ``outputs`` are (windows, classes) of every song, in their order and in the space of ``pool``,
    to which the order must not matter. Rows hold variant, windows (the count), shorter (songs
    with fewer windows, taken whole), accuracy (value, low, high: 95 %, by groups, the same
    resamples in every row) and seconds (covered of a song, on average, overlaps once; None if
    unknown).

    A song's accuracy at random windows is the mean over the draws; windows of a draw are
    without replacement, and a smaller count takes the beginning of a larger one's draw.
    """
    plan = plan or WindowPlan()
    labels, lengths = _checked(outputs, y, plan)
    group = group_index(groups, len(labels))
    counts = sorted({min(count, int(lengths.max())) for count in plan.counts})
    keys = [(variant, count) for variant in VARIANTS for count in counts]
    right, seconds = np.empty((len(keys), len(labels))), np.empty((len(keys), len(labels)))
    for song, (logits, label) in enumerate(zip(outputs, labels, strict=True)):
        order = rng.random((plan.draws, len(logits))).argsort(axis=1)
        for row, (variant, count) in enumerate(keys):
            places = VARIANTS[variant](len(logits), min(count, len(logits)), order)
            places = places[:1] if count >= len(logits) else places
            right[row, song] = (pool(logits[places]).argmax(axis=-1) == label).mean()
            seconds[row, song] = plan.covered_seconds(song, places)
    measures = {f"accuracy {row}": partial(weighted_mean, right[row]) for row in range(len(keys))}
    accuracies = with_intervals(measures, group, rng, shares=tuple(measures))
    return [
        {
            "variant": variant,
            "windows": count,
            "shorter": int((lengths < count).sum()),
            "accuracy": accuracy,
            "seconds": None if np.isnan(covered) else float(covered),
        }
        for (variant, count), accuracy, covered in zip(
            keys, accuracies.values(), seconds.mean(axis=1), strict=True
        )
    ]


def _checked(outputs: Sequence[Floats], y: Ints, plan: WindowPlan) -> tuple[Places, Places]:
    """Return labels (n,) and numbers of windows (n,), or raise ValueError."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(outputs):
        raise ValueError("y must be integers, one for every song of outputs")
    if len(labels) == 0 or any(np.ndim(song) != 2 or len(song) == 0 for song in outputs):
        raise ValueError("outputs must be (windows, classes) for every song, none empty")
    if not plan.counts or min(plan.counts) < 1 or plan.draws < 1:
        raise ValueError("counts and draws must be at least 1")
    return labels.astype(np.int64), np.array([len(song) for song in outputs])
