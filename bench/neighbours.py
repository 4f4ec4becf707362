"""How often the nearest songs share label and artist on Emotify, and what questions and maps cost.

Prints, for the five nearest songs: the share with the label of the asked song, its artist's own
songs left out, and the share by the same artist, for artists of several songs; of Songbag, of means
and deviations of 20 MFCC, of the nearest on a map, and chance. Then the seconds of a question to
100,000 songs of 20 random pieces, and of maps of 20,000 and 100,000 random songs. Needs the songs
of ../shared/data/emotify.

    python bench/neighbours.py [songs.csv]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from songbag.collection import plane
from songbag.collection.plane import on_a_plane
from songbag.collection.vectors import Neighbours, VectorIndex
from songbag.console import Console
from songbag.data.open_songs import open_audio
from songbag.encoders.manifest import load_encoder
from songbag.recipes.load import load_recipe
from songbag.tasks.similar import index_songs

SONGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "emotify" / "songs.csv"
NEAREST = 5


def shares(name, vectors, labels, artists):
    """Print the shares of labels and artists among the nearest of each song."""
    index = VectorIndex.empty("e", vectors.shape[1])
    index = index.added([str(n) for n in range(len(labels))], list(vectors[:, None]))
    neighbours, of_label, of_artist = Neighbours(index), [], []
    for place, vector in enumerate(vectors):
        found = [p for p, _ in neighbours.nearest(vector[None], len(labels), without=place)]
        if (artists == artists[place]).sum() > 1:
            of_artist.append(np.mean(artists[found[:NEAREST]] == artists[place]))
        others = [p for p in found if artists[p] != artists[place]][:NEAREST]
        of_label.append(np.mean(labels[others] == labels[place]))
    print(f"{name:24} label {np.mean(of_label):.3f}  artist {np.mean(of_artist):.3f}")


def shares_on_a_map(name, points, labels, artists):
    """Print the share of labels among the points nearest to each song's."""
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    distances[artists[:, None] == artists] = np.inf
    nearest = distances.argsort(axis=1)[:, :NEAREST]
    print(f"{name:24} label {np.mean(labels[nearest] == labels[:, None]):.3f}")


def main() -> None:
    """Print the shares, then the seconds."""
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else SONGS
    dataset, console = open_audio(table), Console()
    with tempfile.TemporaryDirectory() as folder:
        collection = index_songs(dataset, load_encoder("musicnn"), Path(folder) / "v", console)
    labels = np.array([song.label for song in collection.songs])
    artists = np.array([song.group for song in collection.songs])
    shares("songbag", collection.index.song_vectors(), labels, artists)
    directions = Neighbours(collection.index).directions
    shares_on_a_map("map, t-SNE", on_a_plane(directions), labels, artists)
    most, plane.MOST_TSNE = plane.MOST_TSNE, 0
    shares_on_a_map("map, principal components", on_a_plane(directions), labels, artists)
    plane.MOST_TSNE = most
    settings = {"sound.feature": "mfcc", "sound.coefficients": 20}
    frames = [bag.features for bag in dataset.load(load_recipe("founding", settings))]
    statistics_of = [np.concatenate([of.mean(axis=0), of.std(axis=0)]) for of in frames]
    shares("means and deviations, MFCC", np.array(statistics_of, np.float32), labels, artists)
    counts = np.unique(labels, return_counts=True)[1] / len(labels)
    print(f"{'chance':24} label {np.sum(counts**2):.3f}")
    rng = np.random.default_rng(0)
    pieces = rng.standard_normal((2_000_000, 200), dtype=np.float32).astype(np.float16)
    keys = tuple(map(str, range(100_000)))
    large = Neighbours(VectorIndex("e", keys, pieces, np.full(100_000, 20)))
    taken = []
    for song in range(9):
        asked, began = large.index.song_pieces(song), time.perf_counter()
        for place, _ in large.nearest(asked, 20, without=song):
            large.moment(asked, place)
        taken.append(time.perf_counter() - began)
    print(f"100,000 songs, 20 nearest with their moments: {statistics.median(taken) * 1000:.0f} ms")
    for songs in (plane.MOST_TSNE, 100_000):
        began = time.perf_counter()
        on_a_plane(large.directions[:songs])
        print(f"a map of {songs:,} songs: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
