"""How many windows it takes: accuracy against the number of windows heard of a song."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.bootstrap import Measure, cluster_intervals, group_index, judged
from songbag.metrics.classification import Floats, Ints, Scores, checked_weights, mean_song

Pool: TypeAlias = Callable[[Floats], Floats]  # (windows, classes) to (classes,)
Places: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Hearing:
    """What is tried.

    Attributes
    ----------
    counts : tuple of int
        Numbers of windows, each at least 1; larger ones than any song has become all windows.
    variants : tuple of str
        Of `VARIANTS`.
    draws : int
        How often windows are drawn at random.
    window_seconds, hop_seconds : float or None
        With both, rows say how many seconds of a song were heard.
    """

    counts: tuple[int, ...] = (1, 2, 3, 5, 8, 13, 21, 34, 55)
    variants: tuple[str, ...] = ("random", "first", "middle")
    draws: int = 20
    window_seconds: float | None = None
    hop_seconds: float | None = None


def _random(windows: int, count: int, order: Places) -> Places:
    return order[:, :count]


def _first(windows: int, count: int, order: Places) -> Places:
    return np.arange(count)[None]


def _middle(windows: int, count: int, order: Places) -> Places:
    return (windows - count) // 2 + np.arange(count)[None]


# windows of the song, windows to hear, shuffled windows (draws, windows) to places (draws, count)
VARIANTS: dict[str, Callable[[int, int, Places], Places]] = {
    "random": _random,
    "first": _first,
    "middle": _middle,
}


def accuracy_by_windows(
    outputs: Sequence[Floats],
    y: Ints,
    groups: Ints | None,
    pool: Pool,
    rng: np.random.Generator,
    hearing: Hearing | None = None,
) -> list[dict[str, Any]]:
    """Return the accuracy of every variant at every count of windows, one row each.

    Parameters
    ----------
    outputs : sequence of (windows, classes)
        What the windows of every song say, in their order and in the space that ``pool`` takes.
    y : (n,) integers
    pool : callable
        (windows, classes) to (classes,); the answer is its argmax, the first on ties. The
        order of the windows must not matter to it.

    Returns
    -------
    list of dict
        variant, windows (the count), shorter (songs with fewer windows, heard whole), accuracy
        (value, low, high: 95 %, by groups, the same resamples in every row) and seconds
        (heard of a song, on average, overlaps once; None if unknown).

    A song's accuracy at random windows is the mean over the draws; windows of a draw
    are without replacement, and a smaller count hears the beginning of a larger one's draw.
    """
    hearing = hearing or Hearing()
    labels, lengths = _checked(outputs, y, hearing)
    group = group_index(groups, len(labels))
    counts = sorted({min(count, int(lengths.max())) for count in hearing.counts})
    keys = [(variant, count) for variant in hearing.variants for count in counts]
    right, seconds = np.empty((len(keys), len(labels))), np.empty((len(keys), len(labels)))
    for song, (logits, label) in enumerate(zip(outputs, labels, strict=True)):
        order = rng.random((hearing.draws, len(logits))).argsort(axis=1)
        for row, (variant, count) in enumerate(keys):
            places = VARIANTS[variant](len(logits), min(count, len(logits)), order)
            places = places[:1] if count >= len(logits) else places
            right[row, song] = np.mean([pool(logits[at]).argmax() == label for at in places])
            seconds[row, song] = _seconds(places, hearing)
    measures = {f"accuracy {row}": _mean(right[row]) for row in range(len(keys))}
    intervals = cluster_intervals(measures, group, rng, shares=tuple(measures))
    return [
        {
            "variant": variant,
            "windows": count,
            "shorter": int((lengths < count).sum()),
            "accuracy": found,
            "seconds": None if np.isnan(heard) else float(heard),
        }
        for (variant, count), found, heard in zip(
            keys, judged(measures, intervals).values(), seconds.mean(axis=1), strict=True
        )
    ]


def _checked(outputs: Sequence[Floats], y: Ints, hearing: Hearing) -> tuple[Places, Places]:
    """Return labels (n,) and numbers of windows (n,), or refuse what was given."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(outputs):
        raise ValueError("y must be integers, one for every song of outputs")
    if len(labels) == 0 or any(np.ndim(song) != 2 or len(song) == 0 for song in outputs):
        raise ValueError("outputs must be (windows, classes) for every song, none empty")
    if not hearing.counts or min(hearing.counts) < 1 or hearing.draws < 1:
        raise ValueError("counts and draws must be at least 1")
    if unknown := set(hearing.variants) - set(VARIANTS):
        raise ValueError(f"unknown variants {sorted(unknown)}, there are {', '.join(VARIANTS)}")
    return labels.astype(np.int64), np.array([len(song) for song in outputs])


def _seconds(places: Places, hearing: Hearing) -> float:
    """Return the mean seconds that windows at these places (draws, count) cover."""
    if hearing.window_seconds is None or hearing.hop_seconds is None:
        return float("nan")
    gaps = np.diff(np.sort(places, axis=1), axis=1) * hearing.hop_seconds
    covered = hearing.window_seconds + np.minimum(gaps, hearing.window_seconds).sum(axis=1)
    return float(covered.mean())


def _mean(right: Floats) -> Measure:
    return partial(_mean_right, right)


def _mean_right(right: Floats, weights: Floats | None) -> Scores:
    return mean_song(right, checked_weights(weights, len(right)))
