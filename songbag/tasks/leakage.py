"""How much of a figure is leakage: the same model judged under better and worse splits.

Songs of one artist share a studio, a voice and a mastering; windows of one song share
everything. A model that met them in training recognises them, and a figure that lets it is
too good. `ARMS` lists the splits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_frames
from songbag.console import Console
from songbag.data.batches import cut_windows
from songbag.data.chosen_songs import only_trained_on
from songbag.data.dataset import BagDataset, MemoryDataset, SongDataset
from songbag.data.song import joined_groups
from songbag.errors import TrainingError
from songbag.inference.predict import predict_all
from songbag.report.write import write_report
from songbag.settings import Recipe
from songbag.storage.files import Row, write_csv, write_json
from songbag.tasks.cross_validate import UNTESTED, cross_validate
from songbag.tasks.train import load_labelled
from songbag.training.fit import fit
from songbag.training.plan import TrainingPlan

COLUMNS = ["split", "accuracy", "low", "high", "window_accuracy", "what"]


@dataclass(frozen=True)
class Arm:
    """One way to split: what is done to the songs, and what its figure means."""

    change: Callable[[MemoryDataset, np.random.Generator], MemoryDataset]
    by_window: bool
    what: str


def measure_leakage(
    songs: SongDataset,
    folder: Path,
    recipe: Recipe,
    console: Console,
    count: int = 5,
    seed: int = 0,
) -> list[Row]:
    """Cross-validate a recipe under every split; write leakage.csv, leakage.json, report.html."""
    dataset = load_labelled(songs, recipe, console)
    if dataset.multilabel:
        raise TrainingError("leakage is measured on songs with one label each; these have several.")
    windows = as_windows(dataset, recipe)
    rows: list[Row] = []
    for name, arm in ARMS.items():
        console.say(f"split by {name.replace('_', ' ')}: {arm.what}")
        changed = arm.change(windows, np.random.default_rng(seed))
        if arm.by_window:
            figures = hold_out_windows(changed, recipe, console, count, seed)
        else:
            path = folder / name
            figures = cross_validate(changed, path, recipe, console, count, seed).figures
        accuracy = figures["metrics"]["accuracy"]
        row: Row = {"split": name, "accuracy": accuracy["value"]}
        row |= {"low": accuracy["low"], "high": accuracy["high"]}
        rows.append(row | {"window_accuracy": figures["window_accuracy"], "what": arm.what})
    write_csv(folder / "leakage.csv", rows, COLUMNS)
    write_json(folder / "leakage.json", {"rows": rows, "said": sentences(rows)})
    write_report(folder)
    return rows


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return in words what the figures mean."""
    accuracy = {row["split"]: row["accuracy"] for row in rows}
    points = {name: 100 * (accuracy[name] - accuracy["group"]) for name in ("song", "window")}
    return [
        f"{accuracy['group']:.3f} is the figure to report: no artist on two sides.",
        f"Songs of one artist on both sides make it look {points['song']:+.1f} points better.",
        f"Windows of one song on both sides make it look {points['window']:+.1f} points better.",
        f"With labels that mean nothing, that split still gives {accuracy['permuted_window']:.3f} "
        f"(the right one {accuracy['permuted']:.3f}): it measures memory, not genre.",
    ]


def as_windows(dataset: BagDataset, recipe: Recipe) -> MemoryDataset:
    """Return the songs as bags of cut windows (windows, bands, frames), the same for all splits."""
    length = window_frames(recipe.sound, recipe.windows)
    bags = []
    for bag, song in zip(dataset, dataset.songs, strict=True):
        features = bag.features
        if bag.starts is not None:
            features = cut_windows(bag, bag.starts, length).transpose(0, 2, 1).copy()
        bags.append(replace(bag, song=song, features=features, starts=None))
    return MemoryDataset(bags, dataset.origin, dataset.failures)


def _without_groups(dataset: MemoryDataset, rng: np.random.Generator) -> MemoryDataset:
    songs = [replace(song, artist=None, group_by="artist") for song in dataset.songs]
    return dataset.with_songs(songs)


def permute_labels(dataset: MemoryDataset, rng: np.random.Generator) -> MemoryDataset:
    """Permute the songs' labels, keeping counts and, as far as they fit, groups together."""
    songs, group_of = dataset.songs, joined_groups(dataset.songs)
    # Labels in the order of groups go to the songs in another order of groups.
    places = sorted(range(len(songs)), key=lambda k: group_of[k])
    labels = [songs[k].label for k in places]
    groups = sorted(set(group_of))
    rank = dict(zip(rng.permutation(groups).tolist(), range(len(groups)), strict=True))
    shuffled = sorted(places, key=lambda k: rank[group_of[k]])
    assigned = dict(zip(shuffled, labels, strict=True))
    return dataset.with_songs([replace(song, label=assigned[k]) for k, song in enumerate(songs)])


def _unchanged(dataset: MemoryDataset, rng: np.random.Generator) -> MemoryDataset:
    return dataset


ARMS: dict[str, Arm] = {
    "group": Arm(_unchanged, False, "whole artists held out: the figure to report"),
    "song": Arm(_without_groups, False, "whole songs held out, artists on both sides"),
    "window": Arm(_unchanged, True, "WRONG, as a warning: songs on both sides"),
    "permuted": Arm(permute_labels, False, "labels dealt out anew among artists: chance"),
    "permuted_window": Arm(permute_labels, True, "WRONG, labels dealt out anew: all leakage"),
}


def hold_out_windows(
    dataset: MemoryDataset, recipe: Recipe, console: Console, count: int, seed: int
) -> dict[str, Any]:
    """Cross-validate with windows held out; a song's prediction is the mean over the folds.

    Of songs that no split tests (see `only_trained_on`) no window is held out.
    """
    plan = TrainingPlan.of(dataset, recipe, console, seed)
    rng, tested = np.random.default_rng(seed), ~np.array(only_trained_on(dataset.songs))
    fold_of = [
        rng.permutation(bag.window_count) % count if test else np.full(bag.window_count, UNTESTED)
        for bag, test in zip(dataset, tested, strict=True)
    ]
    shares = np.zeros((len(dataset), len(plan.labels)))
    models, right = np.zeros(len(dataset)), 0
    y = plan.truths(dataset.songs)
    for fold in range(count):
        console.say(f"fold {fold + 1} of {count}")
        model = fit(_windows_of(dataset, [folds != fold for folds in fold_of]), plan).model
        test = [k for k, folds in enumerate(fold_of) if (folds == fold).any()]
        held_out = _windows_of(dataset, [folds == fold for folds in fold_of])
        predictions = predict_all(model, held_out)
        shares[test] += predictions.probabilities
        models[test] += 1
        for song, windows in zip(test, predictions.window_probabilities, strict=True):
            right += int(np.sum(windows.argmax(axis=1) == y[song]))
    groups = np.unique(joined_groups(dataset.songs), return_inverse=True)[1]
    shares = shares[tested] / models[tested, None]
    figures = plan.kind.evaluate(y[tested], shares, plan.labels, groups=groups[tested])
    held = sum(int((folds != UNTESTED).sum()) for folds in fold_of)
    return figures | {"window_accuracy": right / held}


def _windows_of(dataset: MemoryDataset, selected: Sequence[NDArray[np.bool_]]) -> MemoryDataset:
    """Return the selected windows, and the songs that have any."""
    pairs = zip(dataset, selected, strict=True)
    bags = [replace(bag, features=bag.features[keep]) for bag, keep in pairs if keep.any()]
    return replace(dataset, bags=bags, failures=())
