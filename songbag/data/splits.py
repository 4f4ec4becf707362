"""Which songs may teach and which may judge: stratified by label, grouped by artist.

A split is made once, written down with a hash (its `Certificate`) and travels inside the
model: nobody has to believe that no artist stood on two sides.
"""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SongTableError, TrainingError
from songbag.settings import Record

_TRIES = 8  # shuffles tried for evenness: the greedy folds of few groups vary a lot


class Certificate(Record, frozen=True):
    """What a split was: enough to check it, and to make it again.

    Attributes
    ----------
    method : str
        In words.
    seed : int or None
        None where the split was given.
    groups : int
        Distinct groups; equals the number of songs when no artist is known.
    counts : dict
        Side to label to number of songs.
    hash : str
        BLAKE2b of the sorted lines "id TAB side".
    """

    method: str
    seed: int | None
    groups: int
    counts: dict[str, dict[str, int]]
    hash: str


def folds(labels: Sequence[str], groups: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """Assign every song to one of ``count`` folds; groups stay whole, labels even.

    Returns
    -------
    ndarray, shape (songs,)
        Fold numbers. Of several shuffles the most even one.

    Raises
    ------
    TrainingError
        Fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

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
    for shuffle in range(_TRIES):
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed * _TRIES + shuffle)
        assigned = np.empty(len(y), dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a label rarer than the folds: allowed
            for number, (_, held_out) in enumerate(splitter.split(y, y, codes)):
                assigned[held_out] = number
        if (uneven := _unevenness(y, assigned, count)) < least:
            best, least = assigned, uneven
    return best


def _unevenness(y: NDArray[np.int64], assigned: NDArray[np.int64], count: int) -> float:
    """Largest distance of a fold's share of a label from an even share."""
    table = np.zeros((count, int(y.max()) + 1))
    np.add.at(table, (assigned, y), 1)
    return float(np.abs(table / table.sum(axis=0) - 1 / count).max())


def hold_out(
    labels: Sequence[str], groups: Sequence[str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark about ``share`` of the songs, whole groups, every label left on the other side.

    The label "" is that of songs with none of several, which may be missing anywhere.

    Raises
    ------
    TrainingError
        A label has a single group, which cannot stand on both sides.
    """
    label_groups: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        label_groups[label].add(group)
    for label, own in label_groups.items():
        if label and len(own) == 1:
            raise TrainingError(
                f"all songs labelled '{label}' belong to one group ({next(iter(own))}), so they "
                "cannot be both learned and tested. Add songs by others, or leave the label out."
            )
    most = max(Counter(labels).values())
    count = max(2, min(round(1 / share), len(set(groups)), most))
    assigned = folds(labels, groups, count, seed)
    names = np.asarray(labels)
    for fold in range(count):
        held: NDArray[np.bool_] = np.equal(assigned, fold)
        if _lost(names, held) == set():
            return held
    return _one_group_each(names, np.asarray(groups))


def _lost(labels: NDArray[np.str_], held: NDArray[np.bool_]) -> set[str]:
    """Return the labels that only songs held out have; no label ("") may be lost."""
    return set(labels.tolist()) - set(labels[~held].tolist()) - {""}


def _one_group_each(labels: NDArray[np.str_], groups: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Hold out the first group whose absence leaves every label on the other side."""
    for group in np.unique(groups):
        held: NDArray[np.bool_] = groups == group
        if _lost(labels, held) == set():
            return held
    raise TrainingError("there are too few songs or artists to hold any out; add songs.")


def split_sides(
    labels: Sequence[str],
    groups: Sequence[str],
    given: Sequence[str | None],
    seed: int,
    test_share: float,
    validation_share: float,
) -> list[str]:
    """Return "train", "validation" or "test" for every song.

    Given sides are honoured; what they leave open is made: without a given test side a
    test part of ``test_share``, without a validation side one of ``validation_share`` of
    the training part.

    Raises
    ------
    SongTableError
        Some songs have a given side and others have none.
    TrainingError
        Too few groups.
    """
    if any(given) and not all(given):
        raise SongTableError(
            f"{sum(side is None for side in given)} of {len(given)} songs have no split while "
            "others do. Fill the column, or empty it to have a split made."
        )
    sides = [side or "train" for side in given]
    for name, share, part in (
        ("test", test_share, hold_out),
        ("validation", validation_share, validation_part),
    ):
        if name in sides or share == 0:
            continue
        rest = [index for index, side in enumerate(sides) if side == "train"]
        held = part([labels[i] for i in rest], [groups[i] for i in rest], share, seed)
        for index in np.asarray(rest)[held]:
            sides[index] = name
    return sides


def validation_part(
    labels: Sequence[str], groups: Sequence[str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark a part of the training songs that chooses the epoch; nothing where too few.

    The only group of a label stays in training: choosing without that label is better
    than never learning it.
    """
    groups_of: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        groups_of[label].add(group)
    needed = {next(iter(own)) for own in groups_of.values() if len(own) == 1}
    spare = [index for index, group in enumerate(groups) if group not in needed]
    held = np.zeros(len(labels), dtype=np.bool_)
    with suppress(TrainingError, ValueError):  # too few songs to spare any
        held[spare] = hold_out([labels[i] for i in spare], [groups[i] for i in spare], share, seed)
    return held


def certify(
    ids: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    sides: Sequence[str],
    method: str,
    seed: int | None,
) -> Certificate:
    """Write a split down, or refuse it.

    Raises
    ------
    TrainingError
        A group stands on two sides.
    """
    side_of: dict[str, str] = {}
    torn_groups: dict[str, set[str]] = {}
    for group, side in zip(groups, sides, strict=True):
        if (first := side_of.setdefault(group, side)) != side:
            torn_groups.setdefault(group, {first}).add(side)
    torn = [f"{group} ({', '.join(sorted(on))})" for group, on in torn_groups.items()]
    if torn:
        raise TrainingError(
            f"{len(torn)} groups stand on two sides of the split: {'; '.join(torn[:5])}. "
            "What is tested would have been heard before. Put each on one side."
        )
    counts = {
        side: dict(
            sorted(Counter(n for n, s in zip(labels, sides, strict=True) if s == side).items())
        )
        for side in sorted(set(sides))
    }
    lines = "\n".join(sorted(f"{id_}\t{side}" for id_, side in zip(ids, sides, strict=True)))
    digest = hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()
    return Certificate(method=method, seed=seed, groups=len(side_of), counts=counts, hash=digest)
