"""How well a single fact about the recording tells the label, when no sound is heard.

If loudness, length, rate or codec alone tells labels apart, a network may learn that
instead of the music. Every fact is cross-validated by group and compared with what it
reaches when the labels are dealt out anew, whole groups at a time [1]_.

References
----------
.. [1] Ojala, Garriga (2010), Permutation tests for studying classifier performance, JMLR.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.baselines import fit_level, level_probabilities
from songbag.metrics.classification import Ints

_FOLDS = 5
_ENOUGH = 2000  # songs that are judged; of more, whole groups are drawn
_DRAWS = 5  # of folds
_SHUFFLES = 100
_BINS = 10  # of a number whose size is not bell-shaped
_LIFT = 0.08  # above the most frequent label: less is no matter, however sure

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Giveaway:
    """What one fact alone reaches.

    Attributes
    ----------
    accuracy : float
        Share of songs whose label it tells, cross-validated by group (mean of 5 draws).
    majority : float
        Share of the most frequent label.
    shuffled : float
        The best of 100 shuffles of the labels.
    tells : str
        Label it tells best, and ``recall`` the share of that label's songs it finds.
    """

    fact: str
    accuracy: float
    majority: float
    shuffled: float
    tells: str
    recall: float

    @property
    def found(self) -> bool:
        """Whether it is above every shuffle and well above the most frequent label."""
        return self.accuracy > self.shuffled and self.accuracy >= self.majority + _LIFT

    @property
    def strong(self) -> bool:
        """Whether it is more than half of the way from the most frequent label to certainty."""
        return self.found and self.accuracy - self.majority > (1 - self.majority) / 2


def giveaway(
    fact: str, values: Sequence[float | str], labels: Sequence[str], groups: Sequence[str]
) -> Giveaway | None:
    """Judge one fact (n,) by labels (n,) and groups (n,); None where it cannot be judged.

    That is where it is the same for every song, or there are fewer than two labels or
    fewer groups than folds.
    """
    rng = np.random.default_rng(0)
    drawn = _drawn(np.unique(np.asarray(groups), return_inverse=True)[1], rng)
    codes = np.unique(np.asarray(groups)[drawn], return_inverse=True)[1]
    names, y = np.unique(np.asarray(labels)[drawn], return_inverse=True)
    distinct, numbers = np.unique(np.asarray(values)[drawn], return_inverse=True)
    if len(distinct) < 2 or len(names) < 2 or codes.max(initial=-1) + 1 < _FOLDS:
        return None
    tell = TELLERS.get(fact, _counted)
    x = (distinct[numbers] if fact in TELLERS else numbers).astype(np.float64)
    answers = np.stack([_out_of_fold(tell, x, y, codes, rng) for _ in range(_DRAWS)])
    right = answers == y
    recalls = np.array([right[:, y == k].mean() for k in range(len(names))])
    best = int(np.argmax(recalls - np.bincount(answers.ravel(), minlength=len(names)) / right.size))
    shuffled = 0.0
    for _ in range(_SHUFFLES):
        other = y[_dealt(codes, rng)]
        told = _out_of_fold(tell, x, other, codes, rng)
        shuffled = max(shuffled, float(np.mean(told == other)))
    majority = float(np.bincount(y).max() / len(y))
    accuracy = float(right.mean())
    return Giveaway(fact, accuracy, majority, shuffled, str(names[best]), float(recalls[best]))


def _drawn(codes: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark the songs (n,) of as many whole groups as make enough songs."""
    sizes = np.bincount(codes)
    order = rng.permutation(len(sizes))
    kept = np.zeros(len(sizes), dtype=np.bool_)
    kept[order] = np.cumsum(sizes[order]) - sizes[order] < _ENOUGH
    return kept[codes]


def _group_folds(codes: Ints, y: Ints, rng: np.random.Generator) -> Ints:
    """Return a fold (n,) for every song: groups whole, labels about even.

    The largest groups go first, each where its labels are rarest. Without even labels a
    fold's own label is rare among the others, and every baseline looks worse than chance.
    """
    songs_of = np.zeros((int(codes.max()) + 1, int(y.max()) + 1))
    np.add.at(songs_of, (codes, y), 1)
    order = rng.permutation(len(songs_of))
    order = order[np.argsort(-songs_of[order].sum(axis=1), kind="stable")]
    fold_of, filled = np.zeros(len(songs_of), dtype=np.int64), np.zeros((_FOLDS, songs_of.shape[1]))
    for group in order:
        there = filled @ songs_of[group]
        fold_of[group] = int(np.lexsort((filled.sum(axis=1), there))[0])
        filled[fold_of[group]] += songs_of[group]
    return fold_of[codes]


def _dealt(codes: Ints, rng: np.random.Generator) -> Ints:
    """Return a permutation (n,) that gives songs of one group labels of one group.

    Songs are laid out group by group in two orders, one under the other: labels stay in
    runs as long as the groups, as they are in truth.
    """
    groups = int(codes.max()) + 1
    one, other = (np.argsort(rng.permutation(groups)[codes], kind="stable") for _ in range(2))
    dealt = np.empty_like(one)
    dealt[one] = other
    return dealt


Teller = Callable[[Values, Ints, Values, int], Ints]


def _out_of_fold(tell: Teller, x: Values, y: Ints, codes: Ints, rng: np.random.Generator) -> Ints:
    fold, classes = _group_folds(codes, y, rng), int(y.max()) + 1
    answers = np.empty(len(y), dtype=np.int64)
    for number in range(_FOLDS):
        held = fold == number
        if held.any():
            answers[held] = tell(x[~held], y[~held], x[held], classes)
    return answers


def _bell_shaped(x: Values, y: Ints, asked: Values, classes: int) -> Ints:
    """Answer by one Gaussian a label, as the report's "loudness alone" does."""
    shares = level_probabilities(fit_level(x, y, classes), asked)
    return np.asarray(shares.argmax(axis=1))


def _binned(x: Values, y: Ints, asked: Values, classes: int) -> Ints:
    """Answer with the most frequent label among songs of about that size."""
    edges = np.unique(np.quantile(x, np.arange(1, _BINS) / _BINS))
    return _counted(np.searchsorted(edges, x), y, np.searchsorted(edges, asked), classes)


def _counted(x: Values | Ints, y: Ints, asked: Values | Ints, classes: int) -> Ints:
    """Answer with the most frequent label among songs of that value."""
    here, there = np.asarray(x, dtype=np.int64), np.asarray(asked, dtype=np.int64)
    table = np.zeros((int(max(here.max(), there.max())) + 1, classes))
    np.add.at(table, (here, y), 1)
    table += np.bincount(y, minlength=classes) / len(y)  # decides for values never met
    return np.asarray(table[there].argmax(axis=1))


# Facts that are sizes; all others are counted value by value.
TELLERS: dict[str, Teller] = {"loudness": _bell_shaped, "length": _binned}
