"""Song accuracy of the recipes on a labelled table: k grouped folds, several seeds.

Prints one line a run and a table at the end: mean over seeds of song and window accuracy,
the range over seeds, and the pooled interval over groups. Runs go through the command
line, two at a time on one thread each, and a run that is already there is not repeated.

    python bench/accuracy.py [--songs songs.csv] [--out folder] [--seeds 3] [recipe ...]
"""

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

RUNS = {
    "window-vote": ["--recipe", "founding", "--loss", "window", "--pooling", "hard_vote"],
    "song-mean": ["--recipe", "founding"],
    "cnn": ["--recipe", "cnn"],
}


def run(songs: Path, out: Path, name: str, seed: int) -> dict:
    folder = out / f"{name}-{seed}"
    if not (folder / "metrics.json").exists():
        command = [sys.executable, "-m", "songbag", "crossval", str(songs), "-o", str(folder)]
        command += [*RUNS[name], "--seed", str(seed), "--threads", "1", "--quiet"]
        command += ["--cache", str(out / "cache"), "--workers", "1"]
        subprocess.run(command, check=True)
    figures = json.loads((folder / "metrics.json").read_text())
    with open(folder / "predictions.csv", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    with open(songs, newline="") as file:
        wanted = [row.get("id") or row["path"] for row in csv.DictReader(file)]
    assert sorted(ids) == sorted(wanted), "every id exactly once"
    value = figures["metrics"]["accuracy"]
    print(
        f"{name:12} seed {seed}  song {value['value']:.3f} "
        f"({value['low']:.3f} to {value['high']:.3f})  window {figures['window_accuracy']:.3f}",
        flush=True,
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = Path(__file__).resolve().parents[2] / "shared/data/emotify/songs.csv"
    parser.add_argument("--songs", type=Path, default=default)
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("recipes", nargs="*", default=list(RUNS))
    options = parser.parse_args()
    if not options.songs.exists():
        sys.exit(f"{options.songs}: no such table; name one with --songs")
    jobs = [(name, seed) for name in options.recipes for seed in range(options.seeds)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: run(options.songs, options.out, *job), jobs))
    print(f"\n{'recipe':12}  song accuracy (range)    window   loudness  majority")
    for name in options.recipes:
        mine = [figures for (job, _), figures in zip(jobs, found, strict=True) if job == name]
        song = [figures["metrics"]["accuracy"]["value"] for figures in mine]
        window = np.mean([figures["window_accuracy"] for figures in mine])
        level = np.mean([figures["baselines"]["level"] for figures in mine])
        majority = np.mean([figures["baselines"]["majority"] for figures in mine])
        spread = f"{np.mean(song):.3f} ({min(song):.3f} to {max(song):.3f})"
        print(f"{name:12}  {spread:23}  {window:.3f}    {level:.3f}     {majority:.3f}")


if __name__ == "__main__":
    main()
