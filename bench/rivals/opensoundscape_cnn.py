"""OpenSoundscape's CNN on spectrograms of 5 s, a song by the mean of its clips.

A resnet18 from random weights: those of ImageNet would be downloaded.
250 steps of 32 clips of 64 x 128 values are about three epochs; its default is 1000 steps of 64.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from opensoundscape import CNN, Audio
from opensoundscape.ml.cnn_architectures import resnet18

STEPS = 250
RATE = 22050


def describe(path, windows):
    target = Path(tempfile.gettempdir(), f"clips-of-{Path(path).stem}.wav")  # clips are read often
    Audio.from_file(path, sample_rate=RATE).save(target)
    return str(target)


def train(songs, labels):
    table = pd.get_dummies(pd.Series(labels, index=pd.Index(songs, name="file"))).astype(float)
    clips = pd.concat(
        table.set_index(
            pd.MultiIndex.from_arrays(
                [table.index, np.full(len(table), start), np.full(len(table), start + 5)],
                names=["file", "start_time", "end_time"],
            )
        )
        for start in range(0, 55, 5)
    )
    network = resnet18(table.shape[1], weights=None, num_channels=1)
    size = {"channels": 1, "height": 64, "width": 128}
    model = CNN(network, list(table.columns), 5.0, RATE, single_target=True, **size)
    model.train(clips, steps=STEPS, batch_size=32)
    return model


def predict(model, songs):
    scores = model.predict(songs, batch_size=32, activation_layer="softmax")
    means = scores.groupby(level="file").mean().loc[songs]
    return list(means.idxmax(axis=1))
