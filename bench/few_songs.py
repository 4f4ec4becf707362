"""How many songs a label needs: accuracy with 5, 10, 20 and all songs of each label, on Emotify.

For each seed a quarter of the songs is held out by artist; of the others so many of each label are
drawn, and a model is trained on them. Rows: the default recipe, ``fast`` without an encoder (its
own statistics), and scikit-learn's logistic regression on the encoder's song vectors, C by inner
folds. Printed are the mean accuracy of the songs held out, and the default's mean difference to
each, with its standard error over seeds. Needs the songs of ../shared/data/emotify, or a table.

    python bench/few_songs.py [--songs FILE] [--cache FOLDER] [--seeds 6]
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import songbag
from songbag.data.splits import folds
from songbag.storage.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (5, 10, 20, None)  # songs of a label; None: all that are not held out
RECIPES = {"auto": {}, "fast, no encoder": {"recipe": "fast", "encoder": "none"}}
RIVAL = "logistic regression"


def logistic(x, y, tested, seed):
    """Return answers of scikit-learn's logistic regression for vectors (songs, values)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    grid = {"logisticregression__C": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
    inner = StratifiedKFold(min(5, min(np.bincount(y))), shuffle=True, random_state=seed)
    return GridSearchCV(model, grid, cv=inner, scoring="neg_log_loss").fit(x, y).predict(tested)


def trained(rows, trains, tested, folder, options, seed):
    """Return the accuracy of a model of Songbag, its split given by the table."""
    table = folder / "songs.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        writer.writerows(rows[k] | {"split": "train"} for k in trains)
        writer.writerows(rows[k] | {"split": "test"} for k in tested)
    result = songbag.train(table, folder / "model.songbag", seed=seed, quiet=True, **options)
    assert len(result.predictions) == len(tested)
    return float((result.predictions["label"] == result.predictions["predicted"]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=ROOT.parent / "shared/data/emotify/songs.csv")
    parser.add_argument("--cache", type=Path, default=Path("build/few-songs"))
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    rows = [
        row | {"path": str(options.songs.parent / row["path"])} for row in read_csv(options.songs)
    ]
    vectors = songbag.embed(options.songs, cache=options.cache)
    values = vectors[[name for name in vectors.columns if name[1:].isdigit()]].to_numpy()
    by_id = dict(zip(vectors.index, values, strict=True))
    x = np.array([by_id[row["id"]] for row in rows])
    names = [row["label"] for row in rows]
    y = np.unique(names, return_inverse=True)[1]
    scores = {(count, name): [] for count in COUNTS for name in (*RECIPES, RIVAL)}
    for seed in range(options.seeds):
        fold_of = folds(names, [row["artist"] for row in rows], 4, seed)
        rng = np.random.default_rng(seed)
        tested, rest = np.flatnonzero(fold_of == 0), rng.permutation(np.flatnonzero(fold_of != 0))
        for count in COUNTS:
            trains = np.concatenate([rest[y[rest] == k][:count] for k in np.unique(y)])
            answers = logistic(x[trains], y[trains], x[tested], seed)
            scores[count, RIVAL].append(np.mean(answers == y[tested]))
            for name, ways in RECIPES.items():
                with tempfile.TemporaryDirectory() as folder:
                    ways = {**ways, "cache": options.cache}
                    score = trained(rows, trains, tested, Path(folder), ways, seed)
                scores[count, name].append(score)
            shown = "  ".join(f"{name} {scores[count, name][-1]:.3f}" for name in (*RECIPES, RIVAL))
            print(f"seed {seed}, {count or 'all'} songs a label: {shown}", flush=True)
    print("\nsongs a label " + "".join(f"{name:>22}" for name in (*RECIPES, RIVAL)))
    for count in COUNTS:
        ours, line = np.array(scores[count, "auto"]), f"{count or 'all':13} "
        for name in (*RECIPES, RIVAL):
            other = np.array(scores[count, name])
            line += f"{other.mean():22.3f}"
            if name != "auto":
                gain = ours - other
                error = gain.std(ddof=1) / len(gain) ** 0.5
                line += f" ({gain.mean():+.3f} ± {error:.3f})"
        print(line)


if __name__ == "__main__":
    main()
