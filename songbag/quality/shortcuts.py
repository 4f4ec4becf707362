"""Shortcuts: single facts about the recordings from which the label can be guessed.

If loudness, length, rate or codec alone tells labels apart, a network may learn that
instead of the music. From every fact a simple classifier is cross-validated by group, and
compared with what it reaches when the labels are permuted, whole groups at a time [1]_.

References
----------
.. [1] Ojala, Garriga (2010), Permutation tests for studying classifier performance, JMLR.
.. [2] Westfall, Young (1993), Resampling-based multiple testing, Wiley.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song, joined_groups, stratification_labels
from songbag.metrics.classification import Ints, fit_level, level_probabilities
from songbag.quality.findings import Finding

_FOLDS = 5
_MOST_SONGS = 2000  # songs that are judged; of more, whole groups are drawn
_REPEATS = 5  # of the cross-validation, with other folds
_PERMUTATIONS = 100
_BINS = 10  # of a number whose size is not bell-shaped
_LIFT = 0.08  # above the most frequent label: less is no matter, however sure

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shortcut:
    """How well a single fact predicts the label.

    ``accuracy`` is the share of songs whose label it predicts, cross-validated by group (mean of
    5 repeats), ``permuted`` the best of 100 permutations of the labels, ``majority`` the share of
    the most frequent label. ``label`` is the one it predicts best, ``recall`` the share of that
    label's songs it finds.
    """

    accuracy: float
    majority: float
    permuted: float
    label: str
    recall: float

    @property
    def significant(self) -> bool:
        """Whether it is above every permutation and well above the most frequent label."""
        return self.accuracy > self.permuted and self.accuracy >= self.majority + _LIFT

    @property
    def strong(self) -> bool:
        """Whether it is more than half of the way from the most frequent label to certainty."""
        return self.significant and self.accuracy - self.majority > (1 - self.majority) / 2


def shortcut_findings(
    songs: Sequence[Song], facts: Mapping[str, Sequence[float | str]]
) -> Iterator[Finding]:
    """Yield the facts about recordings that predict the label without listening.

    ``facts`` has for every fact a value a song; songs without a label, and songs that a model
    chose, which stand for no others, are left out.
    """
    # Read in one pass: a packed collection opens a file for every song that is asked for alone.
    places, labelled = [], []
    for place, song in enumerate(songs):
        if song.label and not song.chosen_by_model:
            places.append(place)
            labelled.append(song)
    labels, groups = stratification_labels(labelled), joined_groups(labelled)
    measured = {
        fact: measure_shortcut(fact, [values[place] for place in places], labels, groups)
        for fact, values in facts.items()
    }
    shortcuts = {fact: shortcut for fact, shortcut in measured.items() if shortcut is not None}
    # Of many facts one is lucky: each must beat what chance reaches with any of them [2]_.
    by_chance = max((shortcut.permuted for shortcut in shortcuts.values()), default=0.0)
    for fact, alone in shortcuts.items():
        shortcut = replace(alone, permuted=by_chance)
        if not shortcut.significant:
            continue
        text = (
            f"{fact} alone tells the label of {100 * shortcut.accuracy:.0f} % of the songs; the "
            f"most frequent label {100 * shortcut.majority:.0f} %, the best of 100 shuffles "
            f"{100 * shortcut.permuted:.0f} %; of {shortcut.label} it finds "
            f"{100 * shortcut.recall:.0f} %"
        )
        yield Finding("giveaway", text, severity="error" if shortcut.strong else "")


def measure_shortcut(
    fact: str, values: Sequence[float | str], labels: Sequence[str], groups: Sequence[str]
) -> Shortcut | None:
    """Return how well a fact (n,) predicts the labels (n,) of songs in groups (n,).

    None where the fact is the same for every song, or there are fewer than two labels or
    fewer groups than folds.
    """
    rng = np.random.default_rng(0)
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(group)
    order = rng.permutation(len(sizes))
    drawn_groups = np.zeros(len(sizes), dtype=np.bool_)
    drawn_groups[order] = np.cumsum(sizes[order]) - sizes[order] < _MOST_SONGS
    drawn = drawn_groups[group]
    group = np.unique(group[drawn], return_inverse=True)[1]
    names, y = np.unique(np.asarray(labels)[drawn], return_inverse=True)
    distinct, numbers = np.unique(np.asarray(values)[drawn], return_inverse=True)
    if len(distinct) < 2 or len(names) < 2 or group.max(initial=-1) + 1 < _FOLDS:
        return None
    classifier = CLASSIFIERS.get(fact, predict_by_value)
    x = (distinct[numbers] if fact in CLASSIFIERS else numbers).astype(np.float64)
    predicted = np.stack([_cross_validate(classifier, x, y, group, rng) for _ in range(_REPEATS)])
    right = predicted == y
    recalls = np.array([right[:, y == label].mean() for label in range(len(names))])
    shares = np.bincount(predicted.ravel(), minlength=len(names)) / right.size
    best = int(np.argmax(recalls - shares))
    permuted = 0.0
    for _ in range(_PERMUTATIONS):
        shuffled = y[_group_permutation(group, rng)]
        by_chance = _cross_validate(classifier, x, shuffled, group, rng) == shuffled
        permuted = max(permuted, float(np.mean(by_chance)))
    majority = float(np.bincount(y).max() / len(y))
    accuracy = float(right.mean())
    return Shortcut(accuracy, majority, permuted, str(names[best]), float(recalls[best]))


def _group_permutation(group: Ints, rng: np.random.Generator) -> Ints:
    """Return a permutation (n,) that gives songs of one group the labels of one group.

    Songs are laid out group by group in two orders, one under the other: labels stay in
    runs as long as the groups, as they are in truth.
    """
    groups = int(group.max()) + 1
    upper, lower = (np.argsort(rng.permutation(groups)[group], kind="stable") for _ in range(2))
    permutation = np.empty_like(upper)
    permutation[upper] = lower
    return permutation


Classifier = Callable[[Values, Ints, Values, int], Ints]


def _cross_validate(
    classifier: Classifier, x: Values, y: Ints, group: Ints, rng: np.random.Generator
) -> Ints:
    """Return the predicted label (n,) of every song, from the other folds."""
    fold, classes = _group_folds(group, y, rng), int(y.max()) + 1
    predicted = np.empty(len(y), dtype=np.int64)
    for number in range(_FOLDS):
        held_out = fold == number
        if held_out.any():
            predicted[held_out] = classifier(x[~held_out], y[~held_out], x[held_out], classes)
    return predicted


def _group_folds(group: Ints, y: Ints, rng: np.random.Generator) -> Ints:
    """Return a fold (n,) for every song: groups whole, labels about even.

    The largest groups go first, each where its labels are rarest. Without even labels a
    fold's own label is rare among the others, and every classifier looks worse than chance.
    """
    songs_of = np.zeros((int(group.max()) + 1, int(y.max()) + 1))
    np.add.at(songs_of, (group, y), 1)
    order = rng.permutation(len(songs_of))
    order = order[np.argsort(-songs_of[order].sum(axis=1), kind="stable")]
    fold_of, filled = np.zeros(len(songs_of), dtype=np.int64), np.zeros((_FOLDS, songs_of.shape[1]))
    for number in order:
        same_labels = filled @ songs_of[number]
        fold_of[number] = int(np.lexsort((filled.sum(axis=1), same_labels))[0])
        filled[fold_of[number]] += songs_of[number]
    return fold_of[group]


def predict_by_level(x: Values, y: Ints, new: Values, classes: int) -> Ints:
    """Return the labels of new values by a Gaussian a label, as the level baseline does."""
    return np.asarray(level_probabilities(fit_level(x, y, classes), new).argmax(axis=1))


def predict_by_bin(x: Values, y: Ints, new: Values, classes: int) -> Ints:
    """Return for new values the most frequent label among songs of about that size."""
    edges = np.unique(np.quantile(x, np.arange(1, _BINS) / _BINS))
    return predict_by_value(np.searchsorted(edges, x), y, np.searchsorted(edges, new), classes)


def predict_by_value(x: Values | Ints, y: Ints, new: Values | Ints, classes: int) -> Ints:
    """Return for new values the most frequent label among songs of the same value."""
    known, asked = np.asarray(x, dtype=np.int64), np.asarray(new, dtype=np.int64)
    table = np.zeros((int(max(known.max(), asked.max())) + 1, classes))
    np.add.at(table, (known, y), 1)
    table += np.bincount(y, minlength=classes) / len(y)  # decides where no song had the value
    return np.asarray(table[asked].argmax(axis=1))


# Facts that are sizes; of all others every value counts by itself.
CLASSIFIERS: dict[str, Classifier] = {"loudness": predict_by_level, "length": predict_by_bin}
