"""The founding program, the rival: librosa's MFCC of every window, Keras on whole songs.

Written after the founding question and its answer, with the mends of
examples/founding_keras.py (two labels, standardised bands, RMSprop). As a program::

    python founding.py train songs.csv model.keras --epochs 20     # trains, prints accuracy
    python founding.py predict model.keras song.mp3                # prints probabilities
    python founding.py features songs.csv --processes 2            # only makes the windows

The environment variable KERAS_BACKEND chooses the backend.
"""

import argparse
import csv
import json
import os
from multiprocessing import Pool
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RATE, HOP, BANDS = 22050, 512, 13
SONG, WINDOW = 60 * RATE, 5 * RATE


def song_model(windows, bands, frames, classes):
    """Build and compile the song's network: TimeDistributed and a mean, as in the answer."""
    import keras
    from keras import layers

    window = keras.Sequential(
        [
            keras.Input((bands, frames, 1)),
            layers.Conv2D(16, 3),
            layers.MaxPooling2D((2, 3)),
            layers.Conv2D(16, 3),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, "relu"),
            layers.Dense(32, "relu"),
            layers.Dense(classes, "softmax"),
        ]
    )
    model = keras.Sequential(
        [
            keras.Input((windows, bands, frames, 1)),
            layers.TimeDistributed(window),
            layers.GlobalAveragePooling1D(),
        ]
    )
    model.compile(keras.optimizers.RMSprop(1e-3), "categorical_crossentropy", metrics=["acc"])
    return model


def song_features(path):
    """Return the MFCC of a song's first minute, (windows, bands, frames, 1)."""
    import librosa

    waveform, _ = librosa.load(path, sr=RATE, duration=SONG / RATE)
    waveform = np.resize(waveform, SONG)
    cut = librosa.util.frame(waveform, frame_length=WINDOW, hop_length=WINDOW // 2)
    mfcc = [
        librosa.feature.mfcc(y=one, sr=RATE, n_mfcc=BANDS, hop_length=HOP, n_fft=2 * HOP)
        for one in cut.T
    ]
    return np.stack(mfcc)[..., np.newaxis].astype(np.float32)


def all_features(paths, processes):
    """Return the features of all songs, (songs, windows, bands, frames, 1)."""
    if processes == 1:
        return np.stack([song_features(path) for path in paths])
    with Pool(processes) as pool:
        return np.stack(pool.map(song_features, paths, chunksize=1))


def read_table(path):
    """Return paths, labels and sides of a table."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folder = Path(path).parent
    return (
        [str(folder / row["path"]) for row in rows],
        np.array([row["label"] for row in rows]),
        np.array([row["split"] for row in rows]),
    )


def train(asked):
    """Train on the table's songs that are not for testing; print the others' accuracy."""
    import keras

    paths, labels, sides = read_table(asked.table)
    x = all_features(paths, asked.processes)
    names = sorted(set(labels))
    y = np.stack([labels == name for name in names], axis=1).astype(np.float32)
    test = sides == "test"
    mean = x[~test].mean(axis=(0, 1, 3), keepdims=True)
    deviation = x[~test].std(axis=(0, 1, 3), keepdims=True)
    x = (x - mean) / deviation
    keras.utils.set_random_seed(0)
    model = song_model(*x.shape[1:4], len(names))
    model.fit(x[~test], y[~test], batch_size=8, epochs=asked.epochs, verbose=0)
    _, accuracy = model.evaluate(x[test], y[test], verbose=0)
    model.save(asked.model)
    Path(asked.model).with_suffix(".json").write_text(
        json.dumps(
            {"names": names, "mean": mean.ravel().tolist(), "std": deviation.ravel().tolist()}
        )
    )
    print(json.dumps({"accuracy": float(accuracy), "songs": int(test.sum())}))


def predict(asked):
    """Print the probabilities of one song."""
    import keras

    about = json.loads(Path(asked.model).with_suffix(".json").read_text())
    shape = (1, 1, BANDS, 1, 1)
    mean, deviation = (np.reshape(about[name], shape).astype("f4") for name in ("mean", "std"))
    x = (song_features(asked.song)[None] - mean) / deviation
    found = keras.saving.load_model(asked.model).predict(x, verbose=0)[0]
    print(dict(zip(about["names"], found.round(4).tolist(), strict=True)))


def features(asked):
    """Make the windows of a table's songs and say how many."""
    print(all_features(read_table(asked.table)[0], asked.processes).shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("table")
    one.add_argument("model")
    one.add_argument("--epochs", type=int, default=20)
    one.add_argument("--processes", type=int, default=1)
    one.set_defaults(run=train)
    one = commands.add_parser("predict")
    one.add_argument("model")
    one.add_argument("song")
    one.set_defaults(run=predict)
    one = commands.add_parser("features")
    one.add_argument("table")
    one.add_argument("--processes", type=int, default=1)
    one.set_defaults(run=features)
    asked = parser.parse_args()
    asked.run(asked)


if __name__ == "__main__":
    main()
