"""Assign songs to folds and to training, validation and test: stratified, groups kept together.

Artists (or another column) are groups: no group stands on two sides. A split is recorded as
a `Certificate` with a hash, which is stored in the model.
"""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongTableError, TrainingError
from songbag.settings import Record

NOT_JUDGED = ("training", "chosen")  # sides of songs that a figure leaves out
_SHUFFLES = 8  # tried, because the greedy folds of few groups vary a lot in their balance
_MANY_GROUPS = 2000  # are balanced by any shuffle, and each takes a minute for 100,000


class Certificate(Record, frozen=True):
    """A record of a split, enough to check it and to repeat it."""

    method: str  # in words
    seed: int | None  # None where the user's table contains the split
    groups: int  # as many as songs where no artist is known
    counts: dict[str, dict[str, int]]  # side to label to number of songs
    hash: str  # BLAKE2b of the sorted lines "id TAB side"


def folds(labels: Sequence[str], groups: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """Return a fold from 0 for every song, with whole groups and balanced labels.

    Of several shuffles of scikit-learn's ``StratifiedGroupKFold`` the one in which the shares of
    the labels differ least between folds; where every song is its own group, one of
    ``StratifiedKFold``, in which they cannot differ less.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if len(set(groups)) < count:
        raise TrainingError(
            f"{count} folds need at least {count} groups (artists, or songs where no artist "
            f"is given); there are {len(set(groups))}. Use fewer folds or add songs."
        )
    if max(Counter(labels).values()) < count:
        raise TrainingError(
            f"{count} folds need a label with at least {count} songs; the most frequent one has "
            f"{max(Counter(labels).values())}. Use fewer folds or add songs."
        )
    y = np.unique(np.asarray(labels), return_inverse=True)[1]
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    best, least = np.zeros(len(y), dtype=np.int64), np.inf
    alone = len(set(groups)) == len(groups)
    splitters = StratifiedKFold if alone else StratifiedGroupKFold
    for shuffle in range(1 if alone or codes.max() >= _MANY_GROUPS else _SHUFFLES):
        splitter = splitters(count, shuffle=True, random_state=seed * _SHUFFLES + shuffle)
        assigned = np.empty(len(y), dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a label may be rarer than the folds
            for number, (_, test) in enumerate(splitter.split(y, y, codes)):
                assigned[test] = number
        songs = np.zeros((count, int(y.max()) + 1))
        np.add.at(songs, (assigned, y), 1)
        imbalance = float(np.abs(songs / songs.sum(axis=0) - 1 / count).max())
        if imbalance < least:
            best, least = assigned, imbalance
    return best


def hold_out(
    labels: Sequence[str],
    groups: Sequence[str],
    share: float,
    seed: int,
    learned: Collection[str] = (),
) -> NDArray[np.bool_]:
    """Mark about ``share`` of the songs, in whole groups; every label keeps some other songs.

    The label "" is that of songs with none of several labels; it may be missing anywhere, and so
    may those that other songs have, ``learned``.
    """
    anywhere = {"", *learned}
    for label, members in _values_by_key(labels, groups).items():
        if label not in anywhere and len(members) == 1:
            raise TrainingError(
                f"all songs labelled '{label}' belong to one group ({next(iter(members))}), so "
                "they cannot be both learned and tested. Add songs by others, or leave the label "
                "out."
            )
    count = max(2, min(round(1 / share), len(set(groups)), max(Counter(labels).values())))
    names, codes = np.asarray(labels), np.asarray(groups)
    assigned = folds(labels, groups, count, seed)
    by_fold = (assigned == fold for fold in range(count))
    by_group = (codes == group for group in np.unique(codes))  # where no fold is possible
    part: NDArray[np.bool_]
    for part in chain(by_fold, by_group):
        lost = set(names.tolist()) - set(names[~part].tolist()) - anywhere
        if not lost:
            return part
    raise TrainingError("there are too few songs or artists to hold any out; add songs.")


def spare_part(
    labels: Sequence[str], groups: Sequence[str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark a part of the songs, for choosing the epoch say; none where there are too few.

    The only group of a label stays in training: an epoch chosen without a label is better
    than a label that is never learned.
    """
    groups_of = _values_by_key(labels, groups).values()
    needed = {next(iter(members)) for members in groups_of if len(members) == 1}
    spare = [index for index, group in enumerate(groups) if group not in needed]
    part = np.zeros(len(labels), dtype=np.bool_)
    with suppress(TrainingError, ValueError):  # too few songs to hold any out
        part[spare] = hold_out([labels[i] for i in spare], [groups[i] for i in spare], share, seed)
    return part


def split_sides(
    labels: Sequence[str],
    groups: Sequence[str],
    fixed: Sequence[str | None],
    seed: int,
    test_share: float,
    validation_share: float,
    only_trained: Sequence[bool] = (),
) -> list[str]:
    """Return "train", "validation" or "test" for every song.

    ``fixed`` are the sides in the user's table. Where there is no test side, a part of
    ``test_share`` is held out; where there is no validation side, one of ``validation_share`` of
    the rest. ``only_trained`` marks songs that are never held out.
    """
    if any(fixed) and not all(fixed):
        raise SongTableError(
            f"{sum(side is None for side in fixed)} of {len(fixed)} songs have no split while "
            "others do. Fill the column, or empty it to have a split made."
        )
    sides = [side or "train" for side in fixed]
    never_tested = {index for index, only in enumerate(only_trained) if only}
    learned = {labels[index] for index in never_tested}
    for name, share, part in (
        ("test", test_share, partial(hold_out, learned=learned)),
        ("validation", validation_share, spare_part),
    ):
        if name in sides or share == 0:
            continue
        rest = [
            index
            for index, side in enumerate(sides)
            if side == "train" and index not in never_tested
        ]
        marked = part([labels[i] for i in rest], [groups[i] for i in rest], share, seed)
        for index in np.asarray(rest, dtype=np.int64)[marked]:
            sides[index] = name
    return sides


def certify(
    ids: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    sides: Sequence[str],
    method: str,
    seed: int | None,
) -> Certificate:
    """Return the certificate of a split, or refuse one in which a group stands on two sides."""
    sides_of = _values_by_key(groups, sides)
    torn = [group for group, on in sides_of.items() if len(on) > 1]
    if torn:
        some = ", ".join(
            f"{id_} ({side})"
            for id_, group, side in zip(ids, groups, sides, strict=True)
            if group == torn[0]
        )
        raise TrainingError(
            f"{len(torn)} groups stand on two sides of the split: {'; '.join(torn[:5])}. Of "
            f"{torn[0]} are {some[:300]}. The test would use what was trained on. Put each group "
            "on one side; --allow-crossing goes on, but never divides a file."
        )
    counts: dict[str, dict[str, int]] = {}
    for side in sorted(set(sides)):
        labels_of = (label for label, on in zip(labels, sides, strict=True) if on == side)
        counts[side] = dict(sorted(Counter(labels_of).items()))
    digest = split_hash(ids, sides)
    return Certificate(method=method, seed=seed, groups=len(sides_of), counts=counts, hash=digest)


def split_hash(ids: Sequence[str], sides: Sequence[str]) -> str:
    """Return the hash by which a certificate knows its split."""
    lines = "\n".join(sorted(f"{id_}\t{side}" for id_, side in zip(ids, sides, strict=True)))
    return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()


def _values_by_key(keys: Sequence[str], values: Sequence[str]) -> dict[str, set[str]]:
    by_key: dict[str, set[str]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        by_key[key].add(value)
    return by_key
