"""Which songs to label next: accuracy after 20 to 200 labels, chosen in five ways, on Emotify.

For each of five seeds and four folds of artists: twenty songs of the other folds are drawn at
random, then twenty more are chosen and labelled, again and again; a logistic regression on the
vectors of songs is trained on what is labelled, and judged on the fold. Prints the mean accuracy of
each way after so many labels, and its mean difference to random choice with the standard error over
the seeds. Needs the songs of ../shared/data/emotify, or another songs.csv.

    python bench/suggestions.py [songs.csv]
"""

import sys
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from songbag.collection.suggestions import spread_of_doubt
from songbag.console import Console
from songbag.data.open_songs import open_audio
from songbag.data.splits import folds
from songbag.encoders.manifest import load_encoder
from songbag.tasks.similar import index_file, index_songs

SONGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "emotify" / "songs.csv"
COUNTS = range(20, 201, 20)
STEP, SEEDS, FOLDS = 20, 5, 4


def at_random(p, x, labelled, count, rng):
    return rng.choice(len(p), count, replace=False)


def least_margin(p, x, labelled, count, rng):
    best = np.sort(p, axis=1)
    return np.argsort(best[:, -1] - best[:, -2], kind="stable")[:count]


def k_centre(p, x, labelled, count, rng):
    distance = np.min([((x - one) ** 2).sum(axis=1) for one in labelled], axis=0)
    chosen = []
    for _ in range(count):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


def badge(p, x, labelled, count, rng):
    return spread_of_doubt(p, p == p.max(axis=1, keepdims=True), x, count, rng)


def margin_then_centres(p, x, labelled, count, rng):
    doubtful = least_margin(p, x, labelled, 4 * count, rng)
    return doubtful[k_centre(p, x[doubtful], labelled, count, rng)]


WAYS = {
    "random": at_random,
    "margin": least_margin,
    "k-centre": k_centre,
    "margin, then k-centre": margin_then_centres,
    "BADGE": badge,
}


def curve(way, x, y, pool, test, seed):
    """Return the accuracy (counts,) on ``test`` while songs of ``pool`` are labelled."""
    rng = np.random.default_rng(seed)
    labelled = rng.permutation(pool)[: COUNTS[0]]
    accuracy = []
    for _ in COUNTS:
        model = LogisticRegression(C=0.01, max_iter=500).fit(x[labelled], y[labelled])
        accuracy.append(model.score(x[test], y[test]))
        rest = np.setdiff1d(pool, labelled)
        p = model.predict_proba(x[rest])
        count = min(STEP, len(rest))
        labelled = np.append(labelled, rest[way(p, x[rest], x[labelled], count, rng)])
    return accuracy


def main() -> None:
    """Print the curves."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SONGS
    dataset = open_audio(path)
    encoder = load_encoder("musicnn")
    collection = index_songs(dataset, encoder, index_file(dataset, encoder), Console())
    songs = collection.songs
    y, artists = np.array([s.label for s in songs]), np.array([s.group for s in songs])
    x = collection.index.song_vectors()
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    found, began = {name: np.zeros((SEEDS, FOLDS, len(COUNTS))) for name in WAYS}, time.time()
    for seed in range(SEEDS):
        fold_of = folds(y.tolist(), artists.tolist(), FOLDS, seed)
        for fold in range(FOLDS):
            pool, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            for name, way in WAYS.items():
                found[name][seed, fold] = curve(way, x, y, pool, test, 100 * seed + fold)
    print(f"{len(songs)} songs, {len(set(artists))} artists, {time.time() - began:.0f} s")
    print(f"{'labels':22}" + "".join(f"{count:7}" for count in COUNTS) + "   mean - random")
    for name, values in found.items():
        gain = (values - found["random"]).mean(axis=(1, 2))
        numbers = "".join(f"{value:7.3f}" for value in values.mean(axis=(0, 1)))
        error = gain.std(ddof=1) / np.sqrt(SEEDS)
        print(f"{name:22}{numbers}   {gain.mean():+.3f} +- {error:.3f}")


if __name__ == "__main__":
    main()
