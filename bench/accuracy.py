"""Song accuracy of the recipes on a labelled table: k grouped folds, several seeds.

Prints one line a run; then per recipe the mean over seeds of song and window accuracy, the
range over seeds, NLL, calibration; then what ``auto`` gains on each other recipe, song by
song on the same folds, with its interval over artists. ``--pair`` does the same on the
songs of two labels. Recipes with members choose and calibrate inside each outer fold, so
these figures are nested. Runs go through the command line, two at a time on one thread
each; a run that is already there is not repeated, a stopped one goes on with its members.

    python bench/accuracy.py [--songs FILE] [--out FOLDER] [--seeds 3] [--first-seed 3]
        [--pair a,b] [recipe ...]
"""

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from songbag.data.open_songs import AudioOptions, open_songs
from songbag.encoders.choose import choose_recipe
from songbag.encoders.encoder import pooled
from songbag.metrics.paired import accuracy_difference
from songbag.storage.files import read_csv, write_csv

ROOT = Path(__file__).resolve().parents[1]
RUNS = {
    "window-vote": ["--recipe", "founding", "--loss", "window", "--pooling", "hard_vote"],
    "song-mean": ["--recipe", "founding"],
    "cnn": ["--recipe", "cnn"],
    "fast": ["--recipe", "fast"],
    "auto-none": ["--recipe", "auto", "--encoder", "none"],
    "auto": ["--recipe", "auto"],
}
RIVAL = "logistic"  # regression on the songs' mean vectors, scaled, C by inner folds


def logistic(songs: Path, out: Path, seed: int) -> dict:
    """Cross-validate scikit-learn's logistic regression on the folds of ``auto``."""
    recipe, folder = choose_recipe("ears"), out / f"{RIVAL}-{seed}"
    options = AudioOptions(out.parent / "cache", workers=1, allow_outside=True)
    dataset = open_songs(songs, options).load(recipe)
    cells = recipe.windows.seconds * recipe.sound.sample_rate // recipe.sound.step + 1
    vectors = []
    for bag in dataset:
        windows = [bag.features[start : start + int(cells)] for start in bag.starts]
        vectors.append(np.mean([pooled(rows, recipe.sound.encoding) for rows in windows], axis=0))
    rows = {row["id"]: row for row in read_csv(out / f"auto-{seed}" / "predictions.csv")}
    x, ids = np.array(vectors), [song.id for song in dataset.songs]
    y, side = (np.array([rows[i][name] for i in ids]) for name in ("label", "side"))
    groups = np.array([rows[i]["group"] or i for i in ids])
    answers = {}
    for fold in np.unique(side):
        rest = side != fold
        inner = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        inner = list(inner.split(x[rest], y[rest], groups[rest]))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        grid = {"logisticregression__C": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
        search = GridSearchCV(model, grid, cv=inner, scoring="neg_log_loss", n_jobs=1)
        found = search.fit(x[rest], y[rest])
        answers |= dict(zip(np.array(ids)[~rest], found.predict(x[~rest]), strict=True))
    right = np.array([answers[i] == rows[i]["label"] for i in rows])
    print(f"{RIVAL:12} seed {seed}  song {right.mean():.3f}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    told = [row | {"predicted": answers[row["id"]]} for row in rows.values()]
    write_csv(folder / "predictions.csv", told, list(told[0]))
    return {}


def run(songs: Path, out: Path, name: str, seed: int) -> dict:
    if name == RIVAL:
        return logistic(songs, out, seed)
    folder = out / f"{name}-{seed}"
    if not (folder / "metrics.json").exists():
        command = [sys.executable, "-m", "songbag", "crossval", str(songs), "-o", str(folder)]
        command += [*RUNS[name], "--seed", str(seed), "--threads", "1", "--quiet"]
        command += ["--cache", str(out.parent / "cache"), "--workers", "1", "--allow-outside"]
        subprocess.run(command, check=True)
    figures = json.loads((folder / "metrics.json").read_text())
    rows = read_csv(folder / "predictions.csv")
    wanted = [row.get("id") or row["path"] for row in read_csv(songs)]
    assert sorted(row["id"] for row in rows) == sorted(wanted), "every id exactly once"
    value, ece = figures["metrics"]["accuracy"], figures["metrics"]["ece"]["value"]
    before = nll_before(rows, figures["calibration"]["temperatures"])
    print(
        f"{name:12} seed {seed}  song {value['value']:.3f} "
        f"({value['low']:.3f} to {value['high']:.3f})  window {figures['window_accuracy']:.3f}  "
        f"nll {figures['metrics']['nll']['value']:.3f} (uncalibrated {before:.3f})  ece {ece:.3f} "
        f"(below {figures['ece_calibrated_q90']:.3f})",
        flush=True,
    )
    return figures


def nll_before(rows: list[dict], temperatures: list[float]) -> float:
    """Return the NLL with every fold's temperature taken back: p^T, made to sum to one."""
    labels = [name for name in rows[0] if name.startswith("p_")]
    heat = np.array([temperatures[int(row["side"].split()[1]) - 1] for row in rows])
    p = np.array([[float(row[name]) for name in labels] for row in rows]).clip(1e-12)
    raw = p ** heat[:, None]
    raw /= raw.sum(axis=1, keepdims=True)
    said = [labels.index(f"p_{row['label']}") for row in rows]
    return float(-np.log(raw[np.arange(len(rows)), said]).mean())


def pair_of(songs: Path, labels: str, out: Path) -> Path:
    """Write the table of the songs of two labels, and return it."""
    rows = [row for row in read_csv(songs) if row["label"] in labels.split(",")]
    path = out / "songs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(row | {"path": songs.parent / row["path"]} for row in rows)
    return path


def table(found: dict[str, list[dict]]) -> None:
    print(f"\n{'recipe':12}  song accuracy (range)    window  nll    ece    loudness  majority")
    for name, mine in found.items():
        if name == RIVAL:
            continue  # it has no windows and no intervals of its own: see its line of gains
        song = [figures["metrics"]["accuracy"]["value"] for figures in mine]
        means = [
            np.mean([figures["window_accuracy"] for figures in mine]),
            *(np.mean([f["metrics"][key]["value"] for f in mine]) for key in ("nll", "ece")),
            *(np.mean([f["baselines"][key] for f in mine]) for key in ("level", "majority")),
        ]
        spread = f"{np.mean(song):.3f} ({min(song):.3f} to {max(song):.3f})"
        window, nll, ece, level, majority = means
        print(
            f"{name:12}  {spread:23}  {window:.3f}   {nll:.3f}  {ece:.3f}  {level:.3f}     "
            f"{majority:.3f}"
        )


def gains(out: Path, names: list[str], seeds: range) -> None:
    """Print what ``auto`` gains on every other recipe, paired by song."""
    right, groups = {}, np.zeros(0)
    for name in names:
        tables = [read_csv(out / f"{name}-{seed}" / "predictions.csv") for seed in seeds]
        right[name] = np.array([[r["predicted"] == r["label"] for r in rows] for rows in tables])
        groups = np.unique([r["group"] or r["id"] for r in tables[0]], return_inverse=True)[1]
    for name in names:
        if name != "auto":
            found = accuracy_difference(
                right["auto"], right[name], groups, np.random.default_rng(0)
            )
            print(
                f"auto - {name:12} {100 * found['value']:+.1f} points "
                f"({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=3, help="The search took 0 to 2.")
    parser.add_argument("--pair", help="Two labels with a comma: only their songs.")
    parser.add_argument("recipes", nargs="*", default=[*RUNS, RIVAL])
    options = parser.parse_args()
    if not options.songs.exists():
        sys.exit(f"{options.songs}: no such table; name one with --songs")
    out, songs = options.out / (options.pair or "all").replace(",", "-"), options.songs
    if options.pair:
        songs = pair_of(songs, options.pair, out)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [(name, seed) for seed in seeds for name in options.recipes]
    first = [job for job in jobs if job[0] != RIVAL]  # the rival takes the folds of auto
    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(first, pool.map(lambda job: run(songs, out, *job), first), strict=True))
    done |= {job: run(songs, out, *job) for job in jobs if job[0] == RIVAL}
    found = {
        name: [figures for (job, _), figures in done.items() if job == name]
        for name in options.recipes
    }
    table(found)
    if "auto" in options.recipes:
        gains(out, options.recipes, seeds)


if __name__ == "__main__":
    main()
