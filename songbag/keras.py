"""The door for people who stay in Keras: a window model becomes a song model.

    window_model = keras.Sequential([..., keras.layers.Dense(1, activation="sigmoid")])
    model = SongModel(window_model)
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])  # a loss on the song
    songs = SongDataset(bags, batch_size=8, shuffle=True)
    model.fit(songs, shuffle=False, epochs=20)  # SongDataset shuffles by itself
    predict_songs(model, new_bags, songs.labels)  # a table, one row a song, by id

JAX compiles a training step for every number of windows: set ``windows_per_song`` there.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from keras import ops
from numpy.typing import NDArray

from songbag.audio.windows import repeat_frames
from songbag.data.bag import Bag
from songbag.data.song import Song

Array = NDArray[np.float32]
Tensor = Any  # of the backend Keras runs on
Operator = Callable[[Tensor], Tensor]
BLOCK = 256  # most windows a prediction holds in memory; a power of two


def mean_probability(logits: Tensor) -> Tensor:
    """Logarithm of the mean probability: the sum's, and log_softmax divides by windows."""
    return ops.log_softmax(ops.logsumexp(ops.log_softmax(logits), axis=1))


def mean_logit(logits: Tensor) -> Tensor:
    """Mean of the windows' logits, centred over classes."""
    return ops.mean(logits - ops.mean(logits, axis=-1, keepdims=True), axis=1)


# Window logits (songs, windows, classes) -> song logits (songs, classes).
POOLINGS: dict[str, Operator] = {"mean_probability": mean_probability, "mean_logit": mean_logit}


@keras.saving.register_keras_serializable(package="songbag")
class SongModel(keras.Model):  # type: ignore[misc]
    """A window model, run on every window of a song, and a pooling.

    Takes songs (songs, windows, *window_shape) with equally many windows and returns
    probabilities (songs, columns), with as many columns as the window model. One is the
    sigmoid of the second of two labels and wants ``binary_crossentropy``; more are a
    softmax and want ``sparse_categorical_crossentropy``. Anything else is a ValueError.

    Parameters
    ----------
    window_model : keras.Model
        Takes windows (windows, *window_shape), returns (windows, columns). It shares its
        weights with this model, and can be saved by itself.
    pooling : str or callable
        A name in `POOLINGS`, or a function of window logits (songs, windows, classes) that
        returns song logits (songs, classes); a sigmoid comes as two classes, (-z/2, z/2).
        Loading needs the function in custom_objects.
    from_logits : bool
        Whether the window model returns logits, which lose nothing. Probabilities are
        clipped to [1e-7, 1 - 1e-7] before their logarithm, as in Keras's losses.
    """

    def __init__(
        self,
        window_model: Any,
        pooling: str | Operator = "mean_probability",
        from_logits: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not isinstance(window_model, keras.Model):
            raise ValueError(f"Pass a keras.Model of one window; found {window_model!r}.")
        if not callable(pooling) and pooling not in POOLINGS:
            raise ValueError(f"Pass one of {sorted(POOLINGS)} or a function; found {pooling!r}.")
        self.window_model, self.pooling, self.from_logits = window_model, pooling, from_logits
        self.window_shape: tuple[Any, ...] = ()  # known once built

    def build(self, input_shape: Sequence[int | None]) -> None:
        if len(input_shape) < 3:
            raise ValueError(f"Songs are (songs, windows, *window_shape); found {input_shape}.")
        self.window_shape, model = tuple(input_shape[2:]), self.window_model
        outputs = model(keras.KerasTensor((None, *self.window_shape)))
        shape: tuple[Any, ...] = getattr(outputs, "shape", ())
        if len(shape) != 2:
            raise ValueError(f"A window model must return (windows, columns); found {shape}.")
        steps = model.layers if isinstance(model, keras.Sequential) else None
        last = (steps or getattr(model, "operations", [None]))[-1]
        found = getattr(getattr(last, "activation", None), "__name__", "")
        wanted = "linear" if self.from_logits else "sigmoid" if shape[1] == 1 else "softmax"
        if found in ("linear", "sigmoid", "softmax") and found != wanted:
            asked = f"With from_logits={self.from_logits} and {shape[1]} columns"
            raise ValueError(f"{asked} a window model must end in {wanted!r}; found {found!r}.")

    def call(self, songs: Tensor) -> Tensor:
        # Once for all windows: Keras's TimeDistributed is 12 times slower on torch, and its
        # ONNX export is wrong beyond one window.
        outputs = self.window_model(ops.reshape(songs, (-1, *songs.shape[2:])))
        logits = self.window_logits(outputs)
        logits = ops.reshape(logits, (-1, ops.shape(songs)[1], logits.shape[-1]))
        return self.song_probabilities(logits)[:, -outputs.shape[-1] :]

    def window_logits(self, outputs: Tensor) -> Tensor:
        """Return outputs (windows, columns) as logits (windows, classes), float32 or more."""
        z = ops.cast(outputs, keras.backend.result_type(outputs.dtype, "float32"))
        if not self.from_logits:
            p = ops.clip(z, keras.config.epsilon(), 1 - keras.config.epsilon())
            z = ops.log(p) - ops.log1p(-p) if p.shape[-1] == 1 else ops.log(p)
        return ops.concatenate([-z / 2, z / 2], axis=-1) if z.shape[-1] == 1 else z

    def song_probabilities(self, logits: Tensor) -> Tensor:
        """Pool logits (songs, windows, classes) to probabilities (songs, classes)."""
        pool = self.pooling if callable(self.pooling) else POOLINGS[self.pooling]
        return ops.softmax(pool(logits))

    def get_config(self) -> dict[str, Any]:
        save, own = keras.saving.serialize_keras_object, ("window_model", "pooling", "from_logits")
        return {**super().get_config(), **{name: save(getattr(self, name)) for name in own}}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SongModel":
        load, own = keras.saving.deserialize_keras_object, ("window_model", "pooling")
        return cls(**{**config, **{name: load(config[name], custom_objects) for name in own}})


class SongDataset(keras.utils.PyDataset):  # type: ignore[misc]
    """Bags as batches of songs with equally many windows: nothing is padded.

    A batch is (x, y), or (x,) where no bag has a label. x (songs, windows, *window_shape)
    is float32; windows cut from frames are (window_frames, bands). y is the label's place
    in ``labels``: int32 (songs,), or float32 (songs, 1) for two: ``binary_crossentropy``.
    A ValueError names ids that come twice, songs without windows, labels out of order.

    Parameters
    ----------
    bags : iterable of Bag
    labels : sequence of str, optional
        All names, sorted; default: those of the bags. For validation: those of training.
    batch_size, seed : int
        Most songs in a batch. What is random depends on the seed and the epoch alone.
    shuffle : bool
        Whether songs come in a new order each epoch. Then pass ``shuffle=False`` to
        ``fit``, which else shuffles the batches again, with Python's global generator.
    windows_per_song : int, optional
        Draw so many windows of a song, new each epoch, none twice before all came once;
        cut from frames, they begin anywhere. Default: all the bag's own windows.
    window_frames : int, optional
        Length of a window; needed where bags have starts.
    """

    def __init__(
        self,
        bags: Iterable[Bag],
        labels: Sequence[str] | None = None,
        batch_size: int = 8,
        shuffle: bool = False,
        seed: int = 0,
        *,
        windows_per_song: int | None = None,
        window_frames: int | None = None,
        **workers: Any,
    ) -> None:
        super().__init__(**workers)
        if batch_size < 1 or (windows_per_song is not None and windows_per_song < 1):
            raise ValueError(f"Pass 1 or more; found {batch_size=} and {windows_per_song=}.")
        self.bags = list(bags)
        twice = [name for name, n in Counter(bag.id for bag in self.bags).items() if n > 1]
        empty = [bag.id for bag in self.bags if bag.window_count == 0]
        if not self.bags or twice or empty:
            found = f"{len(self.bags)} songs, twice {twice}, without windows {empty}"
            raise ValueError(f"Give songs with windows, every id once; found {found}.")
        if window_frames is None and any(bag.starts is not None for bag in self.bags):
            raise ValueError("Bags with starts need window_frames, the length of a window.")
        truths = {bag.label for bag in self.bags}
        known = sorted(truth for truth in truths if truth is not None)
        self.labels = known if labels is None else list(labels)
        names = self.labels
        if names and (len(names) < 2 or names != sorted(set(names))):
            raise ValueError(f"labels must be two names or more, sorted, each once; found {names}.")
        if known and not truths <= set(names):
            raise ValueError(f"Label all songs or none among {names}; found {truths - set(names)}.")
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0
        self.windows_per_song, self.window_frames = windows_per_song, window_frames
        self._batches = self._planned()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        songs = self._batches[index]
        x = np.stack([self._windows(song) for song in songs])
        if self.bags[0].label is None:
            return (x,)
        y = np.array([self.labels.index(str(self.bags[song].label)) for song in songs], np.int32)
        return x, y[:, None].astype(np.float32) if len(self.labels) == 2 else y

    @property
    def ids(self) -> list[str]:
        """Song ids as this epoch's batches hold them; `predict_songs` keeps bags' order."""
        return [self.bags[song].id for batch in self._batches for song in batch]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._batches = self._planned()

    def _planned(self) -> list[list[int]]:
        """Return the songs of every batch, as indices into bags."""
        rng, size = np.random.default_rng([self.seed, self.epoch]), self.batch_size
        by_count: dict[int, list[int]] = defaultdict(list)
        for song in rng.permutation(len(self.bags)) if self.shuffle else range(len(self.bags)):
            by_count[self.windows_per_song or self.bags[song].window_count].append(int(song))
        plan = [s[at : at + size] for s in by_count.values() for at in range(0, len(s), size)]
        return [plan[batch] for batch in rng.permutation(len(plan))] if self.shuffle else plan

    def _windows(self, song: int) -> Array:
        """Return a song's windows of this epoch, the same whoever asks and how often."""
        views, places = _cut(self.bags[song], self.window_frames)
        if count := self.windows_per_song:
            rng = np.random.default_rng([self.seed, self.epoch, song + 1])
            rounds = [rng.permutation(len(views)) for _ in range(-(-count // len(views)))]
            places = np.concatenate(rounds)[:count]
        return np.asarray(views[places], np.float32)


def _cut(bag: Bag, window_frames: Any) -> tuple[Array, NDArray[np.int64]]:
    """Return all windows a bag could give, uncopied, and which of them are its own."""
    if bag.starts is None:
        return bag.features, np.arange(bag.window_count)
    frames = repeat_frames(bag.features, window_frames)
    views = np.lib.stride_tricks.sliding_window_view(frames, window_frames, axis=0)
    return np.moveaxis(views, -1, 1), bag.starts


def predict_songs(
    model: SongModel, songs: SongDataset | Iterable[Bag], labels: list[str], windows: bool = False
) -> pd.DataFrame:
    """Return the answers as a table, by id, in the order of the bags.

    A song has the columns predicted, confidence (its probability) and p_<label>. With
    ``windows`` a row is a window, its index (id, window), with its own p_<label>.

    All windows of a song are used, whatever a dataset draws or shuffles. ``labels`` are
    those of the SongDataset the model was trained with. A ValueError names songs without
    an answer: there is NaN in their features.
    """
    given = songs if isinstance(songs, SongDataset) else None
    frames = given.window_frames if given else next(iter(model.window_shape), None)
    bags = [
        Bag(Song(bag.id, ""), bag.features, bag.starts) for bag in (given.bags if given else songs)
    ]
    songs = SongDataset(bags, labels, window_frames=frames)
    cuts = (_cut(bag, songs.window_frames) for bag in songs.bags)
    every = (views[place] for views, places in cuts for place in places)
    outputs = []
    while block := list(islice(every, BLOCK)):
        # Filled up to a power of two with its own windows: JAX compiles for nine sizes only.
        size = 1 << (len(block) - 1).bit_length()
        x = repeat_frames(np.stack(block).astype(np.float32), size)
        outputs.append(model.window_model.predict(x, batch_size=size, verbose=0)[: len(block)])
    logits = model.window_logits(ops.convert_to_tensor(np.concatenate(outputs)))
    logits = np.asarray(ops.convert_to_numpy(logits))
    if logits.shape[1] != len(songs.labels):
        raise ValueError(f"The model tells {logits.shape[1]} labels apart; found {labels}.")
    columns, counts = [f"p_{name}" for name in songs.labels], [bag.window_count for bag in bags]
    index: pd.Index[Any] = pd.Index([bag.id for bag in bags], name="id")
    if windows:
        rows = [(name, window) for name, n in zip(index, counts) for window in range(n)]
        index = pd.MultiIndex.from_tuples(rows, names=["id", "window"])
        each = [ops.softmax(logits)]
    else:
        alone = np.split(logits[None], np.cumsum(counts)[:-1], axis=1)
        each = [model.song_probabilities(ops.convert_to_tensor(song)) for song in alone]
    p = np.concatenate([ops.convert_to_numpy(found) for found in each]).astype(float)
    strange = index[~np.isfinite(p).all(axis=1)]
    if len(strange):
        raise ValueError(f"No numbers for {list(strange[:5])}: look for NaN in the features.")
    table = pd.DataFrame(p, index, columns)
    if not windows:
        table.insert(0, "predicted", [songs.labels[best] for best in p.argmax(axis=1)])
        table.insert(1, "confidence", p.max(axis=1))
    return table
