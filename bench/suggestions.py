"""Which songs to label next: accuracy after so many labels, chosen in five ways, on Emotify.

For each seed and fold of artists some songs of the other folds are drawn at random, then more are
chosen and labelled, again and again; a logistic regression on the vectors of songs is trained on
what is labelled, and judged on the fold by the mean of the labels' recalls. First with all songs,
20 to 200 labels; then with labels made rare, each half as frequent as the one before, 10 to 80.
Prints the mean of each way, and its mean difference to random choice with the standard error over
the seeds. Needs the songs of ../shared/data/emotify, or another songs.csv.

    python bench/suggestions.py [songs.csv [first seed, last seed]]
"""

import sys
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from songbag.collection.suggestions import spread_of_doubt
from songbag.console import Console
from songbag.data.open_songs import open_audio
from songbag.data.splits import folds
from songbag.encoders.manifest import load_encoder
from songbag.tasks.similar import index_file, index_songs

SONGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "emotify" / "songs.csv"
FOLDS, RAREST = 4, 5


def at_random(p, x, labelled, count, rng):
    """Return places of songs: the floor."""
    return rng.choice(len(p), count, replace=False)


def least_margin(p, x, labelled, count, rng):
    """Return the songs whose first answer is least above the second (Scheffer et al., 2001)."""
    first = np.sort(p, axis=1)
    return np.argsort(first[:, -1] - first[:, -2], kind="stable")[:count]


def k_centre(p, x, labelled, count, rng):
    """Return songs, each the one farthest from all before and labelled (Sener, Savarese, 2018)."""
    distances, chosen = np.min([((x - one) ** 2).sum(axis=1) for one in labelled], axis=0), []
    for _ in range(count):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def margin_k_centre(p, x, labelled, count, rng):
    """Return centres among the songs of least margin, four times as many (as Zhdanov, 2019)."""
    few = least_margin(p, x, labelled, 4 * count, rng)
    return few[k_centre(p[few], x[few], labelled, count, rng)]


def badge(p, x, labelled, count, rng):
    """Return draws of k-means++ on gradients (Ash et al., 2020): what songbag suggest does."""
    return spread_of_doubt(p, p == p.max(axis=1, keepdims=True), x, count, rng)


WAYS = {
    "random": at_random,
    "margin": least_margin,
    "k-centre": k_centre,
    "margin, k-centre": margin_k_centre,
    "BADGE": badge,
}


def curve(way, x, y, pool, test, counts, seed):
    """Return the mean recall (counts,) on ``test`` while songs of ``pool`` are labelled."""
    rng, step = np.random.default_rng(seed), counts[1] - counts[0]
    labelled = rng.permutation(pool)[: counts[0]]
    recalls = []
    for _ in counts:
        model = LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
        model.fit(x[labelled], y[labelled])
        recalls.append(recall_score(y[test], model.predict(x[test]), average="macro"))
        rest = np.setdiff1d(pool, labelled)
        count = min(step, len(rest))
        chosen = way(model.predict_proba(x[rest]), x[rest], x[labelled], count, rng)
        labelled = np.append(labelled, rest[chosen])
    return recalls


def thinned(pool, y, seed):
    """Return a pool in which each label, in a random order, is half as frequent as the last."""
    rng, kept = np.random.default_rng(seed), []
    for rank, label in enumerate(rng.permutation(np.unique(y))):
        songs = rng.permutation(pool[y[pool] == label])
        kept.extend(songs[: max(RAREST, len(songs) >> rank)])
    return np.sort(kept)


def compare(name, x, y, artists, seeds, counts, rare):
    """Print the curves of all ways."""
    found, began = {way: np.zeros((len(seeds), FOLDS, len(counts))) for way in WAYS}, time.time()
    for place, seed in enumerate(seeds):
        fold_of = folds(y.tolist(), artists.tolist(), FOLDS, seed)
        for fold in range(FOLDS):
            number = 100 * seed + fold
            pool, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            pool = thinned(pool, y, number) if rare else pool
            for way in WAYS:
                found[way][place, fold] = curve(WAYS[way], x, y, pool, test, counts, number)
    print(f"{name}, {len(seeds)} seeds, {time.time() - began:.0f} s")
    print(f"{'labels':18}" + "".join(f"{count:6}" for count in counts) + "   mean - random")
    for way, values in found.items():
        gain = (values - found["random"]).mean(axis=(1, 2))
        numbers = "".join(f"{value:6.3f}" for value in values.mean(axis=(0, 1)))
        error = gain.std(ddof=1) / np.sqrt(len(seeds))
        print(f"{way:18}{numbers}   {gain.mean():+.3f} +- {error:.3f}")


def main() -> None:
    """Print both comparisons."""
    dataset = open_audio(sys.argv[1] if len(sys.argv) > 1 else SONGS)
    encoder = load_encoder("musicnn")
    first, last = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (0, 4)
    heard = index_songs(dataset, encoder, index_file(dataset, encoder), Console())
    y, artists = (np.array([getattr(s, name) for s in heard.songs]) for name in ("label", "group"))
    x = heard.index.song_vectors()
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    x /= np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    seeds = range(first, last + 1)
    compare("all songs", x, y, artists, seeds, range(20, 201, 20), rare=False)
    compare("rare labels", x, y, artists, seeds, range(10, 81, 10), rare=True)


if __name__ == "__main__":
    main()
