"""How many decisions of the baselines change with the sound, as `songbag evaluate --robust` counts.

One split by artist, seed 0, as `songbag train` makes it: the baselines of `songbag compare
--baselines` are fitted on the training side, and asked about the test side as it is and with each
change. Prints one row a change: share of decisions that change, and song accuracy.

    python bench/robustness.py [--songs FILE] [--cache FOLDER]
"""

import argparse
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

from songbag.audio.changes import CHANGES
from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.encoders.choose import choose_recipe
from songbag.tasks.baselines import BASELINES
from songbag.tasks.compare import baseline_systems
from songbag.tasks.train import split_dataset

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--cache", type=Path, default=Path("build/robustness"))
    options = parser.parse_args()
    songs = open_audio(options.songs, AudioOptions(options.cache, allow_outside=True))
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


if __name__ == "__main__":
    main()
