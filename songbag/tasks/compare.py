"""Which pooling, loss or recipe is better on your songs, and whether that can be told."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from songbag.console import Console
from songbag.data.dataset import BagDataset, SongDataset
from songbag.errors import SettingsError
from songbag.recipes import read
from songbag.settings import Recipe, Training
from songbag.storage.files import write_json
from songbag.tasks.conclusions import Conclusion, chosen_metric, conclude
from songbag.tasks.cross_validate import cross_validate
from songbag.tasks.train import load_labelled
from songbag.training.checkpoint import dataset_hash
from songbag.training.plan import require_trainable


@dataclass(frozen=True)
class System:
    """One thing to compare: a recipe with its pooling and loss, and a short name."""

    name: str
    recipe: Recipe


def systems_of(
    recipes: Sequence[Recipe], poolings: Sequence[str], losses: Sequence[str], console: Console
) -> list[System]:
    """Return every combination that can be trained; an empty list keeps the recipe's own."""
    systems: list[System] = []
    for recipe in recipes:
        for pooling in poolings or [recipe.training.pooling]:
            for loss in losses or [recipe.training.loss]:
                values = msgspec.to_builtins(recipe.training)
                values |= {"pooling": pooling, "loss": loss}
                training = read(Training, values, f"recipe {recipe.name}")
                if loss == "song" and not training.pooling_part.differentiable:
                    console.say(f"left out: {pooling} with the loss on the song (no gradient)")
                    continue
                named = msgspec.structs.replace(recipe, training=training)
                systems.append(System(f"{recipe.name}-{pooling}-{loss}", named))
    if len(systems) < 2:
        raise SettingsError("there is nothing to compare: give two or more --poolings or --losses.")
    return systems


def compare(
    songs: SongDataset,
    systems: Sequence[System],
    folder: Path,
    console: Console,
    seeds: Sequence[int] = (0, 1, 2),
    count: int = 5,
    threads: int | None = None,
    runs: Path | None = None,
    metric: str | None = None,
) -> Conclusion:
    """Cross-validate every system on the same folds and seeds, and compare them song by song.

    ``folder`` gets runs/<system>-seedN/ (as `cross_validate` leaves it), runs.csv (a row
    a run and fold), answers.csv (a row a song and run), systems.csv, differences.csv,
    comparison.json and report.html. The same call goes on where it was stopped: with the
    run, and in it with the fold. Several comparisons can share the runs of a folder ``runs``.
    """
    for system in systems:
        require_trainable(system.recipe)
    metric = chosen_metric(metric, songs.kind)
    loaded: dict[bytes, BagDataset] = {}
    runs = runs or folder / "runs"
    for turn, seed in enumerate(seeds, start=1):  # a stop leaves systems that can be compared
        for number, system in enumerate(systems, start=1):
            console.say(
                f"seed {turn} of {len(seeds)}, system {number} of {len(systems)}: {system.name}"
            )
            features = msgspec.structs.replace(system.recipe, training=Training())
            key = msgspec.json.encode(features)
            if key not in loaded:  # one at a time: a collection may be large
                loaded = {key: load_labelled(songs, system.recipe, console)}
            dataset, path = loaded[key], runs / f"{system.name}-seed{seed}"
            parts = (msgspec.json.encode(system.recipe), seed, count, dataset_hash(dataset))
            mark = {"run": hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()}
            file = path / "run.json"
            if file.exists() and msgspec.json.decode(file.read_bytes()) == mark:
                console.say("done already")
                continue
            began, inner = time.monotonic(), Console(console.quiet, brief=True)
            evaluation = cross_validate(dataset, path, system.recipe, inner, count, seed, threads)
            write_json(file, mark)
            value = evaluation.figures["metrics"][metric]["value"]
            name = "song accuracy" if metric == "accuracy" else metric
            console.say(f"{name} {value:.3f}, {time.monotonic() - began:.0f} s")
    paths = {s.name: [runs / f"{s.name}-seed{seed}" for seed in seeds] for s in systems}
    return conclude(folder, paths, metric)
