"""A Keras model of one window, trained on songs by Songbag (Keras on its torch backend)."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
from made_windows import made_windows

import songbag

network = keras.Sequential(
    [
        keras.layers.Input((13, 60, 1)),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.MaxPooling2D((1, 8)),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
bags = songbag.bags_from_table(
    made_windows(shape=(13, 60, 1)), song="name", label="label", song_pattern=r"(.+)_frame(\d+)"
)
result = songbag.train(bags, network=network, epochs=20, quiet=True)
model = songbag.load(result.save("own_keras.songbag").path)
print(model.predict(bags)[["predicted", "confidence"]].head())
