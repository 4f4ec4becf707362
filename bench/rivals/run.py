"""Cross-validate one adapter in its own environment; only the standard library and NumPy.

python run.py ADAPTER songs.csv windows.npz answers.json

songs.csv has id, path, label and fold; windows.npz each song's vectors (windows, values).
"""

import csv
import importlib
import json
import resource
import sys

import numpy as np


def core_seconds() -> float:
    """Return the seconds that this process and its children have kept cores busy."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    name, songs, vectors, output = sys.argv[1:]
    with open(songs, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with np.load(vectors) as arrays:
        windows = [arrays[row["id"]] for row in rows]
    adapter = importlib.import_module(name)
    began = core_seconds()
    pairs = zip(rows, windows, strict=True)
    x = [adapter.describe(row["path"], vectors) for row, vectors in pairs]
    seconds = {"describe": core_seconds() - began, "train": 0.0, "predict": 0.0}
    answers = {}
    for fold in sorted({row["fold"] for row in rows}):
        rest = [place for place, row in enumerate(rows) if row["fold"] != fold]
        test = [place for place, row in enumerate(rows) if row["fold"] == fold]
        began = core_seconds()
        model = adapter.train([x[place] for place in rest], [rows[p]["label"] for p in rest])
        middle = core_seconds()
        found = adapter.predict(model, [x[place] for place in test])
        seconds["train"] += middle - began
        seconds["predict"] += core_seconds() - middle
        answers |= {rows[p]["id"]: str(label) for p, label in zip(test, found, strict=True)}
    used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in used)
    with open(output, "w", encoding="utf-8") as file:
        json.dump({"answers": answers, "seconds": seconds, "peak_mb": peak / 1024}, file)


if __name__ == "__main__":
    main()
