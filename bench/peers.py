"""Songbag beside other ways to classify songs: the same folds by artist, one seed, same songs.

Songbag is cross-validated first; the others take its folds. Each has an environment of its own
under .venv-peers/NAME, made here, and a small adapter in bench/rivals, whose lines are what a
user writes. One that cannot be installed or run is a row with its error. What has answered is not
run again. Writes rivals.csv:
accuracy, its difference from Songbag's with an interval over artists, core seconds (of features of
all songs, of training and of predicting over all folds; Songbag trains and predicts in one run),
peak memory.

    python bench/peers.py [--songs FILE] [--out FOLDER] [--recipe auto] [--minutes 60] [rival ...]
"""

import argparse
import ast
import json
import resource
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

from songbag.console import Console
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.encoders.manifest import load_encoder
from songbag.metrics.paired import accuracy_difference
from songbag.storage.files import read_csv, write_csv
from songbag.tasks.embed import encode_songs

ROOT = Path(__file__).resolve().parents[1]
RIVALS = {
    "vectors_logistic": ["scikit-learn"],
    "librosa_forest": ["librosa", "scikit-learn"],
    "opensmile_svm": ["opensmile", "scikit-learn", "soundfile"],
    "torchmil_attention": ["torch", "torchmil"],
    "pyaudioanalysis_svm": [
        *("pyAudioAnalysis", "soundfile", "scikit-learn", "eyed3", "pydub", "hmmlearn"),
        *("plotly", "imblearn", "tqdm", "matplotlib"),
    ],
    "essentia_svm": ["essentia", "scikit-learn"],
    "opensoundscape_cnn": ["opensoundscape", "torch", "torchvision"],
}
COLUMNS = [
    *("system", "songs", "accuracy", "difference", "low", "high", "describe_seconds"),
    *("train_seconds", "predict_seconds", "peak_mb", "lines", "error"),
]


def songbag_row(songs: Path, out: Path, recipe: str) -> tuple[dict, list[dict]]:
    """Cross-validate Songbag; return its row and its predictions, which hold the folds."""
    folder, program = out / "songbag", [sys.executable, "-m", "songbag"]
    given = ["--recipe", recipe, "--cache", out / "cache", "--allow-outside", "--quiet"]
    seconds = {}
    for step, command in (("describe", "extract"), ("train", "crossval")):
        before = core_seconds()
        output = ["-o", folder] if command == "crossval" else []
        step_command = [*program, command, songs, *output, *given]
        subprocess.run(step_command, stdout=subprocess.DEVNULL, check=True)
        seconds[f"{step}_seconds"] = core_seconds() - before
    rows = read_csv(folder / "predictions.csv")
    right = [row["predicted"] == row["label"] for row in rows]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    row = {"system": f"songbag {recipe}", "songs": len(rows), "accuracy": float(np.mean(right))}
    return row | seconds | {"peak_mb": peak, "lines": 1}, rows


def core_seconds() -> float:
    """Return the seconds that processes started here, and ended, have kept cores busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_inputs(songs: Path, out: Path, rows: list[dict]) -> None:
    """Write songs.csv with the folds, and windows.npz with the encoder's vectors."""
    options = AudioOptions(out / "cache", allow_outside=True)
    dataset, fold_of = open_audio(songs, options), {row["id"]: row["side"] for row in rows}
    encoder = load_encoder("musicnn")
    encoded = Console().track(
        encode_songs(dataset, encoder, tags=False, pieces=True), len(dataset.songs), "Encoding"
    )
    vectors = {one.song.id: one.values for one in encoded if not one.reason}
    np.savez(out / "windows.npz", **vectors)
    table = [
        {"id": s.id, "path": s.path, "label": s.label, "fold": fold_of[s.id]}
        for s in dataset.songs
        if s.id in vectors
    ]
    write_csv(out / "songs.csv", table, ["id", "path", "label", "fold"])


def rival_row(name: str, out: Path, rows: list[dict], minutes: float) -> dict:
    """Install and cross-validate a rival; its row, or one with the error."""
    row = {"system": name, "lines": code_lines(ROOT / "bench" / "rivals" / f"{name}.py")}
    environment, answers = ROOT / ".venv-peers" / name, out / f"{name}.json"
    python = environment / "bin" / "python"
    adapter = ["nice", "-n", "19", python, ROOT / "bench" / "rivals" / "run.py", name]
    steps = [
        [python, "-m", "pip", "install", "-qq", "numpy", *RIVALS[name]],
        [*adapter, out / "songs.csv", out / "windows.npz", answers],
    ]
    try:
        if not python.exists():
            venv.create(environment, with_pip=True)
        for step in steps:
            done = subprocess.run(
                step, capture_output=True, text=True, timeout=60 * minutes, check=False
            )
            if done.returncode:
                last = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
                return row | {"error": last[-1][:200]}
    except subprocess.TimeoutExpired:
        return row | {"error": f"stopped after {minutes:g} minutes"}
    found = json.loads(answers.read_text())
    judged = [each for each in rows if each["id"] in found["answers"]]
    theirs = np.array([found["answers"][each["id"]] == each["label"] for each in judged])
    ours = np.array([each["predicted"] == each["label"] for each in judged])
    groups = np.unique([each["group"] or each["id"] for each in judged], return_inverse=True)[1]
    gain = accuracy_difference(theirs, ours, groups, np.random.default_rng(0))
    seconds = {f"{step}_seconds": value for step, value in found["seconds"].items()}
    figures = {"songs": len(judged), "accuracy": float(theirs.mean()), "peak_mb": found["peak_mb"]}
    interval = {"difference": gain["value"], "low": gain["low"], "high": gain["high"]}
    return row | figures | seconds | interval


def code_lines(path: Path) -> int:
    """Count the lines of a file that hold code, without docstrings, comments and empty lines."""
    tree = ast.parse(path.read_text())
    tree.body = tree.body[1:]
    text = ast.unparse(tree)
    return sum(bool(line.strip()) for line in text.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--out", type=Path, default=Path("build/peers"))
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--minutes", type=float, default=60, help="Most of an installation or run.")
    parser.add_argument("rivals", nargs="*", default=[*RIVALS])
    options = parser.parse_args()
    if not options.songs.exists():
        sys.exit(f"{options.songs}: no such table; name one with --songs")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    written = read_csv(out / "rivals.csv") if (out / "rivals.csv").exists() else []
    table = [row for row in written if not row["error"]]
    if table:
        rows = read_csv(out / "songbag" / "predictions.csv")
    else:
        row, rows = songbag_row(options.songs, out, options.recipe)
        table = [row]
        write_inputs(options.songs, out, rows)
    for name in options.rivals:
        if any(row["system"] == name for row in table):
            continue
        table.append(rival_row(name, out, rows, options.minutes))
        print(table[-1], flush=True)
        write_csv(out / "rivals.csv", table, COLUMNS)


if __name__ == "__main__":
    main()
