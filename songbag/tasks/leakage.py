"""How much of a figure is leakage: the same model judged under better and worse splits.

Songs of one artist share a studio, a voice and a mastering; windows of one song share
everything. A model that met them in training recognises them, and a figure that lets it is
too good. Here one recipe is cross-validated four ways, each on the same windows:

=====================  =================================================================
``group``              whole artists held out: the figure to report
``song``               whole songs held out, artists on both sides
``window``             single windows held out, songs on both sides: wrong, as a warning
``permuted``           labels dealt out anew among artists, artists held out: chance
``permuted_window``    the same with single windows held out: whatever it gets is leakage
=====================  =================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from songbag.audio.windows import window_frames
from songbag.console import Console
from songbag.data.dataset import SongBags
from songbag.data.song_table import require_labels
from songbag.errors import TrainingError
from songbag.inference.predict import answer_bags
from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.report import write_report
from songbag.settings import Recipe
from songbag.storage.csv_files import Row, write_csv
from songbag.storage.files import write_json
from songbag.tasks.cross_validate import crossvalidate_bags
from songbag.training.checkpoint import forget_states
from songbag.training.fit import Learning, require_trainable, save
from songbag.training.members import learn

COLUMNS = ["split", "accuracy", "low", "high", "window_accuracy", "what"]


@dataclass(frozen=True)
class _Arm:
    """One way to split: what is done to the songs, and what its figure means."""

    change: Callable[[SongBags, np.random.Generator], SongBags]
    by_window: bool
    what: str


def measure_leakage(
    heard: SongBags, folder: Path, recipe: Recipe, console: Console, count: int = 5, seed: int = 0
) -> list[Row]:
    """Cross-validate a recipe under every split; write leakage.csv, leakage.json, report.html.

    Raises
    ------
    SongTableError, TrainingError
    """
    require_trainable(recipe)
    require_labels(heard.table())
    if heard.table().multilabel:
        raise TrainingError("leakage is measured on songs with one label each; these have several.")
    windows = as_windows(heard, recipe)
    rows: list[Row] = []
    for name, arm in ARMS.items():
        console.say(f"split by {name.replace('_', ' ')}: {arm.what}")
        songs = arm.change(windows, np.random.default_rng(seed))
        judge = _judge_by_window if arm.by_window else _judge_by_song
        found = judge(songs, folder / name, recipe, console, count, seed)
        rows.append({"split": name, **_figures(found), "what": arm.what})
    write_csv(folder / "leakage.csv", rows, COLUMNS)
    write_json(folder / "leakage.json", {"rows": rows, "said": sentences(rows)})
    write_report(folder)
    return rows


def sentences(rows: Sequence[Row]) -> list[str]:
    """Say in words what the figures mean."""
    of = {row["split"]: row["accuracy"] for row in rows}
    points = {name: 100 * (of[name] - of["group"]) for name in ("song", "window")}
    return [
        f"{of['group']:.3f} is the figure to report: no artist on two sides.",
        f"Songs of one artist on both sides make it look {points['song']:+.1f} points better.",
        f"Windows of one song on both sides make it look {points['window']:+.1f} points better.",
        f"With labels that mean nothing, that split still gives {of['permuted_window']:.3f} "
        f"(the right one {of['permuted']:.3f}): it measures memory, not genre.",
    ]


def as_windows(heard: SongBags, recipe: Recipe) -> SongBags:
    """Return the songs as bags of cut windows (windows, bands, frames).

    So all splits, by song or by window, train and judge on the very same ones.
    """
    from songbag.data.batches import cut_windows

    length = window_frames(recipe.sound, recipe.windows)
    bags = [
        bag
        if bag.starts is None
        else replace(
            bag,
            features=cut_windows(bag, bag.starts, length).transpose(0, 2, 1).copy(),
            starts=None,
        )
        for bag in heard.bags
    ]
    return replace(heard, bags=bags)


# --- the splits -------------------------------------------------------------------------


def _as_they_are(heard: SongBags, rng: np.random.Generator) -> SongBags:
    return heard


def _without_groups(heard: SongBags, rng: np.random.Generator) -> SongBags:
    songs = [replace(song, artist=None, group_by="artist") for song in heard.songs]
    return replace(heard, songs=songs)


def _permuted(heard: SongBags, rng: np.random.Generator) -> SongBags:
    """Deal the songs' labels out anew, keeping counts and, as far as they fit, groups together.

    Labels in the order of groups are given to the songs in another order of groups.
    """
    places = sorted(range(len(heard)), key=lambda k: heard.songs[k].group)
    labels = [heard.songs[k].label for k in places]
    groups = sorted({song.group for song in heard.songs})
    turn = dict(zip(rng.permutation(groups).tolist(), range(len(groups)), strict=True))
    shuffled = sorted(places, key=lambda k: turn[heard.songs[k].group])
    dealt = dict(zip(shuffled, labels, strict=True))
    songs = [replace(song, label=dealt[k]) for k, song in enumerate(heard.songs)]
    bags = [replace(bag, label=dealt[k]) for k, bag in enumerate(heard.bags)]
    return replace(heard, songs=songs, bags=bags)


ARMS: dict[str, _Arm] = {
    "group": _Arm(_as_they_are, False, "whole artists held out: the figure to report"),
    "song": _Arm(_without_groups, False, "whole songs held out, artists on both sides"),
    "window": _Arm(_as_they_are, True, "WRONG, as a warning: songs on both sides"),
    "permuted": _Arm(_permuted, False, "labels dealt out anew among artists: chance"),
    "permuted_window": _Arm(_permuted, True, "WRONG, labels dealt out anew: all leakage"),
}


def _judge_by_song(
    songs: SongBags, folder: Path, recipe: Recipe, console: Console, count: int, seed: int
) -> dict[str, Any]:
    return crossvalidate_bags(songs, folder, recipe, console, count, seed).evaluation.figures


def _judge_by_window(
    songs: SongBags, folder: Path, recipe: Recipe, console: Console, count: int, seed: int
) -> dict[str, Any]:
    """Hold out windows, not songs.

    A song's answer is the mean over folds of what models say that learned its other windows.
    """
    learning = Learning.of(songs.table(), recipe, console, seed, None, None)
    rng = np.random.default_rng(seed)
    fold_of = [rng.permutation(bag.window_count) % count for bag in songs.bags]
    shares = np.zeros((len(songs), len(learning.labels)))
    asked, right = np.zeros(len(songs)), 0
    y = learning.truths(songs.bags)
    for fold in range(count):
        console.say(f"fold {fold + 1} of {count}")
        path = folder / f"fold{fold + 1}.songbag"
        taught = _part(songs, fold_of, fold, held=False)
        fit, card = learn(taught, np.zeros(len(taught), dtype=np.bool_), learning, path, False)
        save(fit, card, path)
        forget_states(path)
        held = [k for k, on in enumerate(fold_of) if (on == fold).any()]
        answers = answer_bags(_part(songs, fold_of, fold, held=True), path)
        for song, answer in zip(held, answers, strict=True):
            assert answer.prediction is not None  # windows of a table always have an answer
            shares[song] += answer.prediction.probabilities
            asked[song] += 1
            said = answer.prediction.window_probabilities.argmax(axis=1)
            right += int(np.sum(said == y[song]))
    groups = np.unique([song.group for song in songs.songs], return_inverse=True)[1]
    found = SINGLE_LABEL.evaluate(y, shares / asked[:, None], learning.labels, groups=groups)
    return found | {"window_accuracy": right / sum(map(len, fold_of))}


def _part(songs: SongBags, fold_of: Sequence[Any], fold: int, held: bool) -> SongBags:
    """Return the windows of a fold, or all others, and the songs that have any."""
    keeps = [(on == fold) == held for on in fold_of]
    some = songs.part([keep.any() for keep in keeps])
    kept = zip(some.bags, filter(np.any, keeps), strict=True)
    return replace(some, bags=[replace(bag, features=bag.features[keep]) for bag, keep in kept])


def _figures(found: dict[str, Any]) -> Row:
    value = found["metrics"]["accuracy"]
    return {
        "accuracy": value["value"],
        "low": value["low"],
        "high": value["high"],
        "window_accuracy": found["window_accuracy"],
    }
