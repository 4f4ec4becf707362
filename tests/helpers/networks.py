"""Networks and bags in small, for tests of models and training."""

import numpy as np

from songbag.audio.windows import window_starts
from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.models.song_network import SongPooling
from songbag.parts import poolings
from songbag.recipes.load import load_recipe
from songbag.settings import Sound, Training, Windows

# The shape of a window that each network takes in tests.
SHAPES = {
    "founding": (216, 13),
    "cnn": (108, 64),
    "cnn1d": (108, 64),
    "linear": (40, 13),
    "mlp": (40, 13),
    "statistics": (108, 64),
}
SOUND, CUT = Sound(feature="mfcc", mel_bands=40), Windows(seconds=1.0, hop_seconds=0.5)
BANDS = 64
LBFGS = Training(network="statistics", optimizer="lbfgs", weight_decay=1.0)
RECIPE = load_recipe("auto", {"adapt.below_songs": 0, "training.epochs": 2, "training.folds": 2})


def mean_logit(classes, kind=SINGLE_LABEL):
    """The mean of logits for a number of classes."""
    return SongPooling(poolings()["mean_logit"], classes, kind)


def frame_bags(count, classes=2, seconds=(0.4, 1.0, 3.0), seed=0):
    """Songs of several lengths whose class is the mean of one band, in some windows only."""
    rng = np.random.default_rng(seed)
    bags = []
    for number in range(count):
        samples = int(22050 * seconds[number % len(seconds)])
        frames = rng.standard_normal((1 + samples // 512, 13)).astype(np.float32)
        frames[: len(frames) // 2, number % classes] += 3
        starts = window_starts(samples, SOUND, CUT)
        bags.append(
            Bag(Song(str(number), "", f"label{number % classes}"), frames, starts, samples=samples)
        )
    return bags, np.arange(count) % classes


def noise_songs(count, labels="abc", seconds=12.0, seed=0, artists=None):
    """Songs of noise in dB whose spectrum, or whose rate of swinging, tells the label."""
    rng, sound = np.random.default_rng(seed), RECIPE.sound
    samples = int(seconds * sound.sample_rate)
    bags = []
    for number in range(count):
        label = labels[number % len(labels)]
        frames = rng.normal(-40, 3, (1 + samples // sound.hop_length, BANDS)) + rng.normal(0, 6)
        which = labels.index(label)
        frames[:, 5 * which : 5 * which + 5] += rng.normal(3, 2)
        starts = window_starts(samples, sound, RECIPE.windows)
        artist = f"artist {number // len(labels) % artists}" if artists else f"artist {number}"
        name = f"song {number}"
        song = Song(id=name, path=f"{name}.wav", label=label, artist=artist)
        bags.append(Bag(song, frames.astype(np.float32), starts, -20.0, samples))
    return MemoryDataset(bags, "made")
