"""How many decisions change with the sound, of models and of baselines.

Models: five folds by artist, seed 0, each fold's model asked by `songbag evaluate --robust` about
the songs it was not trained on, so each song is counted once. Prints one row a change: decisions
that change, their share, and song accuracy. With ``--baselines`` instead: those of `songbag compare
--baselines`, fitted on the training side of one split by artist and asked about the other.

    python bench/robustness.py [--songs FILE] [--cache FOLDER] [--baselines] [model ...]
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

import songbag
from songbag.audio.changes import CHANGES
from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.encoders.choose import choose_recipe
from songbag.tasks.baselines import BASELINES
from songbag.tasks.compare import baseline_systems
from songbag.tasks.train import split_dataset

ROOT = Path(__file__).resolve().parents[1]
MODELS = {
    "auto": {},
    "auto --augment 0": {"augment": 0},
    "founding": {"recipe": "founding", "encoder": "none"},
}


def judge_model(name: str, songs: Path, cache: Path) -> None:
    """Cross-validate a model, ask each fold's about its songs, and print the sums."""
    folder, sums = cache / name.replace(" ", ""), defaultdict(lambda: np.zeros(3))
    options = {"cache": cache, "quiet": True}
    songbag.crossval(songs, folder, keep_models=True, **MODELS[name], **options)
    for model in sorted(folder.glob("models/*.songbag")):
        judged = songbag.evaluate(model, songs, robust=True, **options)
        for row in judged.metrics["robust"]:
            sums[row["change"]] += row["changed"], row["songs"], row["accuracy"] * row["songs"]
    for change, (changed, count, right) in sums.items():
        share = f"{int(changed):3} of {int(count)} {changed / count:5.0%}"
        print(f"{name:18} {change:22} {share}  {right / count:.3f}", flush=True)


def judge_baselines(table: Path, cache: Path) -> None:
    """Fit each baseline on one side of a split, and print how it fares on the other."""
    songs = open_audio(table, AudioOptions(cache, allow_outside=True))
    console, hears = Console(), choose_recipe("ears")
    systems = [one for one in baseline_systems(songs, hears, None) if one.baseline]
    sides = None
    for system in systems:
        baseline, recipe = BASELINES[system.baseline], system.recipe
        everything = songs.load(recipe, console.track)
        if sides is None:
            sides = split_dataset(everything, hears, seed=0).sides
        trained_on, tested = everything.subset(sides != "test"), everything.subset(sides == "test")
        kind, labels = everything.kind, everything.labels
        y = kind.truths([song.labels for song in trained_on.songs], labels)
        truth = kind.truths([song.labels for song in tested.songs], labels)
        x, unchanged = baseline.values(trained_on, recipe), None
        for change in ("", *CHANGES):
            files = compress(everything.songs, sides == "test")
            changed = songs.with_songs([replace(song, change=change) for song in files])
            values = baseline.values(changed.load(recipe, console.track), recipe)
            answers = baseline.classify(x, y, values, kind).argmax(axis=1)
            unchanged = answers if unchanged is None else unchanged
            share, right = np.mean(answers != unchanged), np.mean(answers == truth)
            print(f"{system.name:18} {change or 'none':22} {share:5.0%} {right:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--cache", type=Path, default=Path("build/robustness"))
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("models", nargs="*", default=[*MODELS])
    options = parser.parse_args()
    if options.baselines:
        judge_baselines(options.songs, options.cache)
    for name in () if options.baselines else options.models:
        judge_model(name, options.songs, options.cache)


if __name__ == "__main__":
    main()
