"""The founding answer's program, in Keras 3: whole songs learned through their windows.

Usage, with a table of the columns path and label (paths relative to the table's folder)::

    python examples/founding_keras.py songs.csv

A window network looks at the MFCC of five seconds; TimeDistributed runs it on all windows
of a song, GlobalAveragePooling1D averages what it says, and the loss compares that average
with the song's label. `song_model` is the model that Songbag's own founding network is
tested against. What the published program got wrong is mended here:

- With two labels the network ends in one sigmoid unit, but the loss was categorical
  cross-entropy. That divides every output by the sum over classes, which is itself: the
  loss is 0, its gradient too. Two labels get binary cross-entropy.
- The check for three labels was an assertion of ``len(labels == 3)``, the length of a
  comparison, true whatever the labels are. Fewer than two labels are refused here.
- SGD with rate 0.01 throws the network off raw MFCC in its first steps. Probabilities pass
  Keras's clip at 1e-7, where the gradient is exactly zero, and two equally frequent labels
  stay at a loss of 8.06 = -ln(1e-7) / 2 (7.97 if it is the other label that wins, as 1 - 1e-7
  has rounded in float32; 10.75 for three). The optimiser here is the asker's: RMSprop, 1e-3.
- RMSprop alone is half the cure: raw MFCC reach some hundreds, and from about every second
  random start the probabilities lie beyond the clip at once or after the first steps, for
  good. Bands are standardised first.
- A song had to last exactly a minute. Longer ones are cut to it, shorter ones repeated.
- ``example_audio_file()`` is gone from librosa, and made eight songs of one file: songs and
  labels come from a table. Its order is kept, so every probability finds its song's id.

The probabilities printed are those of the songs learned from: they show that the program
works, not how well it would do on other songs.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import librosa
from keras import layers

Floats = NDArray[np.float32]

RATE, HOP, BANDS = 22050, 512, 13
SONG = 60 * RATE
WINDOW = 5 * RATE


def window_model(bands: int, frames: int, classes: int) -> keras.Sequential:
    """Build the network of one window, (bands, frames, 1) -> probabilities.

    The convolutions have no activation. Two classes get one sigmoid unit, more a softmax.
    """
    last = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    return keras.Sequential(
        [
            keras.Input((bands, frames, 1)),
            layers.Conv2D(16, 3),
            layers.MaxPooling2D((2, 3)),
            layers.Conv2D(16, 3),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, "relu"),
            layers.Dense(32, "relu"),
            layers.Dense(*last),
        ]
    )


def song_model(windows: int, bands: int, frames: int, classes: int) -> keras.Sequential:
    """Build and compile the network of a song, (windows, bands, frames, 1) -> probabilities."""
    model = keras.Sequential(
        [
            keras.Input((windows, bands, frames, 1)),
            layers.TimeDistributed(window_model(bands, frames, classes)),
            layers.GlobalAveragePooling1D(),
        ]
    )
    loss = "binary_crossentropy" if classes == 2 else "categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.RMSprop(1e-3), loss=loss)
    return model


def song_features(path: Path) -> Floats:
    """Return the MFCC of a song's first minute, (windows, bands, frames, 1)."""
    waveform, _ = librosa.load(path, sr=RATE, duration=SONG / RATE)
    if not len(waveform):
        raise SystemExit(f"{path}: no sound in it")
    cut = librosa.util.frame(np.resize(waveform, SONG), frame_length=WINDOW, hop_length=WINDOW // 2)
    mfcc = [
        librosa.feature.mfcc(y=window, sr=RATE, n_mfcc=BANDS, hop_length=HOP, n_fft=2 * HOP)
        for window in cut.T
    ]
    return np.stack(mfcc)[..., np.newaxis].astype(np.float32)


def standardised(features: Floats) -> Floats:
    """Give every band of (songs, windows, bands, frames, 1) zero mean and unit deviation."""
    mean = features.mean(axis=(0, 1, 3), keepdims=True)
    deviation = features.std(axis=(0, 1, 3), keepdims=True)
    scaled: Floats = (features - mean) / np.maximum(deviation, np.float32(1e-6))
    return scaled


def learn(features: Floats, labels: pd.Series, epochs: int) -> pd.DataFrame:
    """Train on songs; return a row of probabilities a song, a column a label."""
    names = sorted(labels.unique())
    targets = np.stack([labels == name for name in names], axis=1).astype(np.float32)
    if len(names) == 2:
        targets = targets[:, 1:]
    _, windows, bands, frames, _ = features.shape
    model = song_model(windows, bands, frames, len(names))
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(f"{epoch + 1}: {logs['loss']:.4f}", file=sys.stderr)
    )
    model.fit(features, targets, batch_size=8, epochs=epochs, verbose=0, callbacks=[told])
    found = model.predict(features, verbose=0)
    if len(names) == 2:
        found = np.concatenate([1 - found, found], axis=1)
    return pd.DataFrame(found, index=labels.index, columns=names)


def main() -> None:
    """Learn the songs of a table and print their probabilities as CSV."""
    parser = argparse.ArgumentParser(description="Learn songs through their windows, in Keras.")
    parser.add_argument("table", type=Path, help="a CSV file with the columns path and label")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    songs = pd.read_csv(asked.table, dtype=str)
    songs.index = pd.Index(songs["id"] if "id" in songs else songs["path"], name="id")
    if songs["label"].isna().any() or songs["label"].nunique() < 2:
        raise SystemExit(f"{asked.table}: every song needs a label, and there must be two or more")
    features = np.stack([song_features(asked.table.parent / path) for path in songs["path"]])
    keras.utils.set_random_seed(0)
    found = learn(standardised(features), songs["label"], asked.epochs)
    found.to_csv(sys.stdout, float_format="%.4f")


if __name__ == "__main__":
    main()
