"""The study of poolings: founding network and small CNN, every pooling, loss on song or window.

Both networks' systems run side by side on one thread each, into one folder; then all are
put together: systems.csv, differences.csv, comparison.json, report.html. Stopped and
started again it goes on.

    python bench/poolings.py [--songs songs.csv] [--out build/poolings] [--seeds 1]
"""

import argparse
import subprocess
import sys
from pathlib import Path

from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.recipes.load import load_recipe
from songbag.tasks.compare import System, compare, systems_of

SONG_LOSS = (
    *("mean_logit", "mean_probability", "vote", "attention", "top_k", "linear_softmax", "max"),
    *("power", "conjunctive", "autopool", "gated_attention", "log_mean_exp", "noisy_or"),
)
WINDOW_LOSS = ("mean_logit", "mean_probability", "vote", "hard_vote")
# Fewer epochs than the recipe's 30: the same for all poolings, and two thirds of the time.
RECIPES = {"founding": {}, "cnn": {"training.epochs": 20}}


def systems(recipes: list[str], console: Console) -> list[System]:
    chosen = [load_recipe(name, RECIPES[name]) for name in recipes]
    by_song = systems_of(chosen, SONG_LOSS, ["song"], console)
    by_window = systems_of(chosen, WINDOW_LOSS, ["window"], console)
    return by_song[:4] + by_window + by_song[4:]  # a stop leaves what matters most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = Path(__file__).resolve().parents[2] / "shared/data/emotify/songs.csv"
    parser.add_argument("--songs", type=Path, default=default)
    parser.add_argument("--out", type=Path, default=Path("build/poolings"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipe", choices=RECIPES, help="only this one's systems")
    options = parser.parse_args()
    if not options.songs.exists():
        sys.exit(f"{options.songs}: no such table; name one with --songs")
    if options.recipe is None:  # both networks at once, each in a process of one thread
        parts = [[sys.executable, *sys.argv, "--recipe", name] for name in RECIPES]
        processes = [subprocess.Popen(part) for part in parts]
        if any(process.wait() for process in processes):
            sys.exit("a part failed; its message is above")
    console = Console()
    audio = AudioOptions(options.out / "cache", workers=1, allow_outside=True)
    chosen = [options.recipe] if options.recipe else list(RECIPES)
    out = options.out / options.recipe if options.recipe else options.out
    compare(
        open_audio(options.songs, audio),
        systems(chosen, console),
        out,
        console,
        range(options.seeds),
        threads=1,
        runs=options.out / "runs",
    )


if __name__ == "__main__":
    main()
