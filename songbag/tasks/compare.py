"""Which pooling, loss or recipe is better on your songs, and whether that can be told."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from songbag.console import Console
from songbag.data.dataset import BagDataset, SongDataset
from songbag.encoders.choose import NO_ENCODER, choose_recipe
from songbag.errors import SettingsError
from songbag.recipes.load import load_recipe, read
from songbag.settings import Recipe, Training
from songbag.storage.files import write_json
from songbag.tasks.baselines import run_baseline
from songbag.tasks.conclusions import Conclusion, chosen_metric, conclude
from songbag.tasks.cross_validate import cross_validate
from songbag.tasks.train import load_labelled
from songbag.training.checkpoint import dataset_hash
from songbag.training.plan import require_trainable

# What of a recipe says how songs are read.
_READ = ("sound", "windows", "excerpt", "adapt", "augment")
_LIBROSA = {"sound.coefficients": 20, "sound.frame_length": 2048}  # its defaults for MFCC


@dataclass(frozen=True)
class System:
    """One thing to compare: a recipe with its pooling and loss, and a short name.

    Of a ``baseline`` (a name of `songbag.tasks.baselines.BASELINES`) the recipe says what of the
    songs is read.
    """

    name: str
    recipe: Recipe
    baseline: str = ""


def baseline_systems(songs: SongDataset, recipe: Recipe, encoder: str | None) -> list[System]:
    """Return the baselines that make sense for songs; ``recipe`` is one they are compared with.

    Of audio files: the most frequent label, loudness, MFCC with an SVC, an encoder's vectors with
    logistic regression, and the founding network. Of windows and packed frames: the most frequent
    label, and means and deviations with both classifiers.
    """
    names = ["most-frequent", "means-svc", "means-logistic"]
    if isinstance(songs, BagDataset):
        return [System(name, recipe, name) for name in names]
    excerpt: dict[str, Any] = {"excerpt.seconds": recipe.excerpt.seconds}
    excerpt["excerpt.place"] = recipe.excerpt.place
    mfcc = load_recipe("founding", {**_LIBROSA, **excerpt})
    names = ["most-frequent", *([] if songs.multilabel else ["loudness"]), "mfcc-svc"]
    systems = [System(name, mfcc, name) for name in names]
    if encoder != NO_ENCODER:
        hears = choose_recipe("ears", excerpt, encoder)
        systems.append(System("encoder-logistic", hears, "encoder-logistic"))
    return [*systems, System("founding", load_recipe("founding", excerpt))]


def systems_of(
    recipes: Sequence[Recipe],
    poolings: Sequence[str],
    losses: Sequence[str],
    console: Console,
    baselines: Sequence[System] = (),
) -> list[System]:
    """Return every combination that can be trained; an empty list keeps the recipe's own."""
    systems = list(baselines)
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
        raise SettingsError(
            "there is nothing to compare: give two or more --poolings or --losses, or --baselines, "
            "or two .songbag files and SONGS."
        )
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
            wanted = (getattr(system.recipe, name) for name in _READ)
            key = msgspec.json.encode(tuple(wanted))
            if key not in loaded:  # one at a time: a collection may be large
                loaded = {key: load_labelled(songs, system.recipe, console)}
            path = runs / f"{system.name}-seed{seed}"
            _run(system, loaded[key], path, console, count, seed, threads, metric)
    paths = {s.name: [runs / f"{s.name}-seed{seed}" for seed in seeds] for s in systems}
    return conclude(folder, paths, metric)


def _run(
    system: System,
    dataset: BagDataset,
    folder: Path,
    console: Console,
    count: int,
    seed: int,
    threads: int | None,
    metric: str,
) -> None:
    """Cross-validate a system, unless the folder has that run already."""
    parts: tuple[object, ...] = (msgspec.json.encode(system.recipe), seed, count)
    parts += (dataset_hash(dataset), *([system.baseline] if system.baseline else []))
    mark = {"run": hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()}
    file = folder / "run.json"
    if file.exists() and msgspec.json.decode(file.read_bytes()) == mark:
        console.say("done already")
        return
    began, inner = time.monotonic(), Console(console.quiet, brief=True)
    if system.baseline:
        evaluation = run_baseline(system.baseline, dataset, folder, system.recipe, count, seed)
    else:
        evaluation = cross_validate(dataset, folder, system.recipe, inner, count, seed, threads)
    write_json(file, mark)
    value = evaluation.figures["metrics"][metric]["value"]
    name = "song accuracy" if metric == "accuracy" else metric
    console.say(f"{name} {value:.3f}, {time.monotonic() - began:.0f} s")
