"""One side of the training and prediction rows, kept running: Songbag, or Keras on a backend.

python contestant.py ours|keras data.npz model.songbag cache

Both get the same frames, cut at the same starts, standardised by the same numbers.
"""

import sys
import time

import numpy as np
from measuring import serve

EPOCHS, BATCH, SEED = 2, 8, 0


def windows_of(data):
    """Return all windows as Keras takes them, (songs, windows, bands, frames, 1)."""
    length = int(data["length"])
    index = data["starts"][:, None] + np.arange(length)
    cut = data["frames"][:, index]  # (songs, windows, frames, bands)
    return np.ascontiguousarray(cut.swapaxes(2, 3))[..., None]


def keras_side(data, features):
    import keras
    from founding import song_model

    x = windows_of(data)
    np.save(features, x)
    y = np.eye(int(data["y"].max()) + 1, dtype=np.float32)[data["y"]]
    model = song_model(*x.shape[1:4], y.shape[1])
    start = [data[f"weight{n}"] for n in range(len(model.get_weights()))]
    model.set_weights(start)

    def train():
        began = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        return (time.perf_counter() - began) / EPOCHS

    def losses():
        model.set_weights(start)
        model.optimizer = keras.optimizers.RMSprop(1e-3)
        model.compile(model.optimizer, "categorical_crossentropy")
        rng, found = np.random.default_rng(SEED), []
        for _ in range(5):
            order = rng.permutation(len(x))
            fit = model.fit(x[order], y[order], batch_size=BATCH, shuffle=False, verbose=0)
            found.append(float(fit.history["loss"][0]))
        return found

    def predict():
        began = time.perf_counter()
        model.predict(x, verbose=0)
        return time.perf_counter() - began

    def predict_cached():
        began = time.perf_counter()
        model.predict(np.load(features), verbose=0)
        return time.perf_counter() - began

    return {"train": train, "losses": losses, "predict": predict, "cached": predict_cached}


def our_side(data, model, table, cache):
    from pathlib import Path

    from songbag.data.bag import Bag
    from songbag.data.dataset import MemoryDataset
    from songbag.data.open_songs import AudioOptions, open_audio
    from songbag.data.song import Song
    from songbag.inference.model_file import load_model
    from songbag.inference.predict import predict as predict_dataset
    from songbag.settings import Training
    from songbag.training.trainer import train_network

    starts, shape = data["starts"], (int(data["length"]), data["frames"].shape[2])
    samples = int(data["samples"])
    names = [Song(str(number), "") for number in range(len(data["frames"]))]
    bags, raw = (
        MemoryDataset([Bag(s, one, starts, samples=samples) for s, one in zip(names, data[name])])
        for name in ("frames", "raw")
    )
    y = data["y"]
    songs = open_audio(Path(table), AudioOptions(Path(cache)))

    def trained(epochs):
        training = Training(
            network="founding", pooling="mean_probability", optimizer="rmsprop", epochs=epochs,
            schedule="constant", windows_per_song=0, weight_decay=0.0, balance=False, keep="last",
        )  # fmt: skip
        return train_network((bags, y), int(y.max()) + 1, training, shape, SEED).history

    def train():
        began = time.perf_counter()
        trained(EPOCHS)
        return (time.perf_counter() - began) / EPOCHS

    def predict():
        began = time.perf_counter()
        assert all(one.prediction for one in predict_dataset(load_model(model), raw))
        return time.perf_counter() - began

    def predict_cached():
        began = time.perf_counter()
        predictions = list(predict_dataset(load_model(model), songs))
        assert len(predictions) == len(songs.songs)
        return time.perf_counter() - began

    return {
        "train": train,
        "losses": lambda: [row["loss"] for row in trained(5)],
        "predict": predict,
        "cached": predict_cached,
    }


if __name__ == "__main__":
    loaded = np.load(sys.argv[2])
    everything = {name: loaded[name] for name in loaded.files}
    if sys.argv[1] == "keras":
        serve(keras_side(everything, sys.argv[3]))
    else:
        serve(our_side(everything, *sys.argv[3:6]))
