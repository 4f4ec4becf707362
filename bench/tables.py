"""Recipe ``windows`` on tables of 57 features, beside what ten lines of scikit-learn do.

Makes tables of windows with librosa (means and variances of chroma, energy, shape of the
spectrum, harmonic and percussive part, 20 MFCC, and the tempo) of 3 and 5 s, from Emotify and
from generated songs. Then, on the folds of ``songbag crossval``: logistic regression, SVC(C=10)
and an MLP of 64 units on standardised windows, a song's answer being the mean over its windows.
Prints accuracy per song and window, what Songbag gains with its interval over artists, and the
median seconds of five folds in one process that has imported everything: of Songbag with reading
the table, evidence, calibration and report, of the others with scaling and answers.

    python bench/tables.py [--songs FILE] [--out FOLDER] [--seeds 3] [--first-seed 3] [recipe ...]
"""

import argparse
import csv
import shutil
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import librosa
import numpy as np
import pandas
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import songbag
from songbag.metrics.paired import accuracy_difference
from songbag.storage.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
SECONDS = (3, 5)
ABOUT = ["name", "label", "artist"]
RIVALS = {
    "logistic": lambda seed: LogisticRegression(max_iter=500),
    "SVC(C=10)": lambda seed: SVC(C=10),
    "MLP(64)": lambda seed: MLPClassifier((64,), random_state=seed),
}


def window_features(y, harmonic, percussive, rate):
    """Return the 57 features of a window by name."""
    spectrum = np.abs(librosa.stft(y))
    decibels = librosa.power_to_db(librosa.feature.melspectrogram(S=spectrum**2, sr=rate))
    parts = {
        "chroma_stft": librosa.feature.chroma_stft(S=spectrum**2, sr=rate),
        "rms": librosa.feature.rms(y=y),
        "spectral_centroid": librosa.feature.spectral_centroid(S=spectrum, sr=rate),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=rate),
        "rolloff": librosa.feature.spectral_rolloff(S=spectrum, sr=rate),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y),
        "harmony": harmonic,
        "perceptr": percussive,
    }
    for number, row in enumerate(librosa.feature.mfcc(S=decibels, n_mfcc=20), start=1):
        parts[f"mfcc{number}"] = row
    values = {}
    for name, part in parts.items():
        values |= {f"{name}_mean": float(part.mean()), f"{name}_var": float(part.var())}
    onsets = librosa.onset.onset_strength(S=decibels, sr=rate)
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=rate)
    return values | {"tempo": float(np.atleast_1d(tempo)[0])}


def song_rows(job):
    """Return the rows of one song by window length."""
    warnings.simplefilter("ignore")
    folder, row = job
    y, rate = librosa.load(folder / row["path"], sr=22050)
    parts = [librosa.istft(part, length=len(y)) for part in librosa.decompose.hpss(librosa.stft(y))]
    about = {"name": row.get("id") or row["path"], "label": row["label"], "artist": row["artist"]}
    rows = {}
    for seconds in SECONDS:
        size = seconds * rate
        starts = range(0, len(y) - size + 1, size)
        cut = [[each[at : at + size] for each in (y, *parts)] for at in starts]
        rows[seconds] = [about | window_features(*window, rate) for window in cut]
    return rows


def make_tables(songs: Path, out: Path, name: str) -> list[Path]:
    """Write the tables of songs, unless they are there."""
    paths = [out / f"{name}-{seconds}s.csv" for seconds in SECONDS]
    if all(path.exists() for path in paths):
        return paths
    jobs = [(songs.parent, row) for row in read_csv(songs)]
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(song_rows, jobs))
    for seconds, path in zip(SECONDS, paths, strict=True):
        rows = [row for song in done for row in song[seconds]]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return paths


def crossval(table: Path, folder: Path, recipe: str, seed: int) -> float:
    """Cross-validate with Songbag, reading and reports included; return the seconds."""
    began = time.perf_counter()
    bags = songbag.bags_from_table(table, "name", "label")
    songbag.crossval(bags, folder, recipe=recipe, seed=seed, quiet=True)
    return time.perf_counter() - began


def rival(make, table, folds, seed):
    """Return answers by song, the share of windows right, and the seconds of all folds."""
    x = table.drop(columns=ABOUT).to_numpy()
    y, fold_of, began = table["label"].to_numpy(), table["name"].map(folds).to_numpy(), 0.0
    answers, right = {}, 0
    for fold in np.unique(fold_of):
        test, start = fold_of == fold, time.perf_counter()
        scaler = StandardScaler().fit(x[~test])
        model = make(seed).fit(scaler.transform(x[~test]), y[~test])
        decide = getattr(model, "predict_proba", None) or model.decision_function
        scores = decide(scaler.transform(x[test]))
        scores = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        songs = pandas.DataFrame(scores).groupby(table["name"].to_numpy()[test]).mean()
        answers |= dict(zip(songs.index, model.classes_[songs.to_numpy().argmax(axis=1)]))
        right += (model.classes_[scores.argmax(axis=1)] == y[test]).sum()
        began += time.perf_counter() - start
    return answers, right / len(table), began


def compare(path: Path, out: Path, recipes: list[str], seeds: range) -> None:
    """Print the rows of one table."""
    table = pandas.read_csv(path, dtype=dict.fromkeys(ABOUT, str), keep_default_na=False)
    found: dict[str, list] = {name: [] for name in [*recipes, *RIVALS]}
    for seed in seeds:
        for recipe in recipes:
            folder = out / "runs" / f"{path.stem}-{recipe}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            seconds = crossval(path, folder, recipe, seed)
            rows = read_csv(folder / "predictions.csv")
            folds = {row["id"]: row["side"] for row in rows}
            windows = read_csv(folder / "windows.csv")
            truth = {row["id"]: row["label"] for row in rows}
            names = sorted(set(truth.values()))
            right = np.mean([
                max(names, key=lambda name: float(row[f"p_{name}"])) == truth[row["id"]]
                for row in windows
            ])  # fmt: skip
            answers = {row["id"]: row["predicted"] for row in rows}
            found[recipe].append((answers, right, seconds))
        for name, make in RIVALS.items():
            answers, right, seconds = rival(make, table, folds, seed)
            found[name].append((answers, right, seconds))
    songs = table.drop_duplicates("name").set_index("name")
    artists = songs["artist"].where(songs["artist"] != "", songs.index)
    groups = np.unique(artists, return_inverse=True)[1]
    right = {
        name: np.array([[answers[song] == label for song, label in songs["label"].items()]
                        for answers, *_ in runs])
        for name, runs in found.items()
    }  # fmt: skip
    print(
        f"\n{path.name}: {len(songs)} songs, {len(table)} windows, seeds {seeds[0]} to {seeds[-1]}"
    )
    ours = recipes[0]
    for name, runs in found.items():
        _, windows, seconds = (np.array([run[k] for run in runs], object) for k in range(3))
        gain = ""
        if name != ours:
            gap = accuracy_difference(right[ours], right[name], groups, np.random.default_rng(0))
            value, low, high = (100 * gap[key] for key in ("value", "low", "high"))
            gain = f"  {ours} {value:+.1f} ({low:+.1f} to {high:+.1f})"
        print(
            f"{name:12} songs {right[name].mean():.3f}  windows {np.mean(windows):.3f}  "
            f"{np.median(seconds):5.1f} s{gain}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--out", type=Path, default=Path("build/tables"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=3, help="The search took 0 to 2.")
    parser.add_argument("recipes", nargs="*", default=["windows"])
    options = parser.parse_args()
    out = options.out
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    demo = out / "songs"
    if not (demo / "songs.csv").exists():
        call = [sys.executable, "-m", "songbag", "demo", "--only-songs", "-o", str(demo)]
        subprocess.run(call, check=True)
    tables = make_tables(demo / "songs.csv", out, "generated")
    if options.songs.exists():
        tables = make_tables(options.songs, out, options.songs.parent.name) + tables
    else:
        print(f"{options.songs}: no such table; only generated songs. Name one with --songs")
    for recipe in options.recipes:  # imports, and the graph that torch makes once
        crossval(tables[-1], out / "runs" / "first", recipe, 0)
    for path in tables:
        compare(path, out, options.recipes, seeds)


if __name__ == "__main__":
    main()
