"""The door for people who stay in Keras: a window model becomes a song model.

The loss is on the song, and ids come back with the answers::

    window_model = keras.Sequential([..., keras.layers.Dense(1, activation="sigmoid")])
    model = SongModel(window_model)
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    songs = SongDataset(bags, batch_size=8, shuffle=True)
    model.fit(songs, shuffle=False, epochs=20)  # SongDataset shuffles by itself
    predict_songs(model, new_bags, songs.labels)  # a table, one row a song, by id

This module is written with ``keras.ops`` and needs no torch; it is tested on the torch
and the JAX backend. Windows are folded into the batch axis and run through the window
model once: Keras's TimeDistributed is 12 times slower on torch, and its ONNX export is
silently wrong beyond one window. JAX compiles a training step anew for every number of
windows (seconds each), so train there with ``windows_per_song``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import keras  # type: ignore[import-untyped]
import numpy as np
from keras import ops
from numpy.typing import NDArray

from songbag.bags import Bag
from songbag.sound.windows import filled

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float32]
Tensor = Any  # of the backend Keras runs on
Operator = Callable[[Tensor], Tensor]

BLOCK = 256  # most windows a prediction holds in memory; a power of two


# --- poolings: logits (songs, windows, classes) -> song logits (songs, classes) ---------


def mean_probability(logits: Tensor) -> Tensor:
    """Logarithm of the mean of the windows' probabilities: the founding answer.

    log(1/T sum_t p_t). Means sum to one over classes, so log_softmax divides by T.
    """
    log_sum = ops.logsumexp(ops.log_softmax(logits, axis=-1), axis=1)
    return ops.log_softmax(log_sum, axis=-1)


def mean_logit(logits: Tensor) -> Tensor:
    """Mean of the windows' logits, centred over classes."""
    return ops.mean(logits - ops.mean(logits, axis=-1, keepdims=True), axis=1)


POOLINGS: dict[str, Operator] = {"mean_probability": mean_probability, "mean_logit": mean_logit}


# --- the model --------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="songbag")
class SongModel(keras.Model):  # type: ignore[misc]
    """A window model, run on every window of a song, and a pooling.

    Takes songs (songs, windows, *window_shape) with equally many windows and returns
    probabilities (songs, columns), with as many columns as the window model. One column
    is a sigmoid, the probability of the second of two labels: its loss is
    ``binary_crossentropy``. More are a softmax: ``sparse_categorical_crossentropy``.

    Parameters
    ----------
    window_model : keras.Model
        Takes windows (windows, *window_shape), returns (windows, columns). Its weights are
        shared with this model, and it can be saved by itself.
    pooling : str or callable
        A name in `POOLINGS`, or a function of window logits (songs, windows, classes) that
        returns song logits (songs, classes); softmax makes logits probabilities. A sigmoid
        comes as two classes, (-z/2, z/2). It is saved by name: load with custom_objects.
    from_logits : bool
        Whether the window model returns logits. Probabilities are clipped to
        [1e-7, 1 - 1e-7] before their logarithm, as in Keras's losses; logits lose nothing.
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
            raise ValueError(
                f"window_model must be a keras.Model of one window; found {window_model!r}. "
                "Put layers into a keras.Sequential."
            )
        if not callable(pooling) and pooling not in POOLINGS:
            raise ValueError(
                f"pooling must be one of {sorted(POOLINGS)} or a function; found {pooling!r}."
            )
        self.window_model, self.pooling, self.from_logits = window_model, pooling, from_logits
        self.window_shape: tuple[Any, ...] | None = None  # known once built

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Build the window model for songs (songs, windows, *window_shape) and check it."""
        if len(input_shape) < 3:
            raise ValueError(
                "SongModel takes songs (songs, windows, *window_shape); found the shape "
                f"{tuple(input_shape)}. A single song needs an axis in front."
            )
        self.window_shape = tuple(input_shape[2:])
        if not self.window_model.built:
            self.window_model.build((None, *self.window_shape))
        _check_output(self.window_model, self.window_shape, self.from_logits)
        self.built = True

    def call(self, songs: Tensor) -> Tensor:
        """Return probabilities (songs, columns) of songs (songs, windows, *window_shape)."""
        outputs = self.window_model(ops.reshape(songs, (-1, *songs.shape[2:])))
        logits = self.window_logits(outputs)
        logits = ops.reshape(logits, (-1, ops.shape(songs)[1], logits.shape[-1]))
        probabilities = self.song_probabilities(logits)
        return probabilities[:, 1:] if outputs.shape[-1] == 1 else probabilities

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
        return ops.softmax(pool(logits), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the parameters as Keras saves them."""
        save = keras.saving.serialize_keras_object
        own = {"pooling": save(self.pooling), "from_logits": self.from_logits}
        return {**super().get_config(), "window_model": save(self.window_model), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SongModel":
        """Return the model that `get_config` described, without its weights."""
        load = keras.saving.deserialize_keras_object
        names = ("window_model", "pooling")
        return cls(**{**config, **{name: load(config[name], custom_objects) for name in names}})


def _check_output(model: Any, window_shape: tuple[Any, ...], from_logits: bool) -> None:
    """Refuse what cannot be one row of probabilities or logits a window."""
    shape = model.compute_output_shape((None, *window_shape))
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(
            f"The window model must return (windows, columns); found the shape {shape} for "
            f"windows {window_shape}. Flatten or pool before the last Dense."
        )
    steps = model.layers if isinstance(model, keras.Sequential) else None
    last = (steps or getattr(model, "operations", [None]))[-1]
    found = getattr(getattr(last, "activation", None), "__name__", "")
    wanted = "linear" if from_logits else "sigmoid" if shape[1] == 1 else "softmax"
    if found in ("linear", "sigmoid", "softmax") and found != wanted:
        raise ValueError(
            f"With from_logits={from_logits} a window model of {shape[1]} columns must end in "
            f"the activation {wanted!r}; found {found!r}. Change one of them."
        )


# --- the songs --------------------------------------------------------------------------


class SongDataset(keras.utils.PyDataset):  # type: ignore[misc]
    """Bags as batches of songs with equally many windows: nothing is padded.

    A batch is (x, y), or (x,) where no bag has a label. x (songs, windows, *window_shape)
    is float32; windows cut from frames are (window_frames, bands). y is the label's index
    in ``labels``: int32 (songs,), or for two labels float32 (songs, 1), as
    ``binary_crossentropy`` wants it and ``sparse_categorical_crossentropy`` takes it.

    Parameters
    ----------
    bags : iterable of Bag
    labels : sequence of str, optional
        All label names, sorted; default: those of the bags. Validation songs take the
        ``labels`` of the training songs.
    batch_size : int
        Most songs in a batch.
    shuffle : bool
        Whether songs come in a new order each epoch. Pass ``shuffle=False`` to ``fit``, or
        it shuffles the batches again, with Python's global generator.
    seed : int
        Seeds all that is random here, which depends on it and on the epoch's number alone.
    windows_per_song : int, optional
        Draw so many windows of every song, new each epoch; default: all windows. None comes
        twice before all came once; where windows are cut from frames, any frame may begin
        one. All batches then have one shape (but a smaller last one): JAX compiles once.
    window_frames : int, optional
        Length of a window; needed where bags have starts.
    **workers
        Keras's workers, use_multiprocessing and max_queue_size.
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
            raise ValueError(
                "batch_size and windows_per_song must be at least 1; found "
                f"{batch_size} and {windows_per_song}."
            )
        self.bags = _checked(bags, window_frames)
        self.labels = _label_names(self.bags, labels)
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0
        self.windows_per_song, self.window_frames = windows_per_song, window_frames
        self._batches = self._planned()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        songs = self._batches[index]
        x = np.stack([self._windows(song) for song in songs])
        truths = [self.bags[song].label for song in songs]
        if None in truths:
            return (x,)
        y = np.array([self.labels.index(str(truth)) for truth in truths], np.int32)
        return x, y[:, None].astype(np.float32) if len(self.labels) == 2 else y

    @property
    def ids(self) -> list[str]:
        """Song ids as this epoch's batches hold them; `predict_songs` keeps bags' order."""
        return [self.bags[song].id for batch in self._batches for song in batch]

    def on_epoch_end(self) -> None:
        """Turn to the next epoch's order and windows; Keras calls this."""
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
        bag, count = self.bags[song], self.windows_per_song
        views = _views(bag, self.window_frames)
        places = _places(bag)
        if count is not None:
            rng = np.random.default_rng([self.seed, self.epoch, song + 1])
            rounds = [rng.permutation(len(views)) for _ in range(-(-count // len(views)))]
            places = np.concatenate(rounds)[:count]
        return np.asarray(views[places], np.float32)


def _views(bag: Bag, window_frames: int | None) -> Array:
    """Return every window a bag can give, uncopied, (places, *window_shape)."""
    if bag.starts is None:
        return bag.features
    assert window_frames is not None
    frames = filled(bag.features, window_frames)
    views = np.lib.stride_tricks.sliding_window_view(frames, window_frames, axis=0)
    return np.moveaxis(views, -1, 1)


def _places(bag: Bag) -> NDArray[np.int64]:
    """Return where in `_views` the bag's own windows are."""
    return np.arange(bag.window_count) if bag.starts is None else bag.starts


def _checked(bags: Iterable[Bag], window_frames: int | None) -> list[Bag]:
    """Return bags as a list: at least one, every id once, windows all of one shape."""
    listed = list(bags)
    twice = [name for name, count in Counter(bag.id for bag in listed).items() if count > 1]
    if not listed or twice:
        raise ValueError(f"Give songs, each id once; found {len(listed)} songs, twice: {twice}.")
    for bag in listed:
        if bag.window_count == 0 or (bag.starts is not None and not window_frames):
            raise ValueError(
                f"Song {bag.id!r} gives no windows: {bag.window_count} starts or windows, "
                f"window_frames={window_frames}. Leave out empty songs; bags with starts need "
                "window_frames (or a model that has been built, in predict_songs)."
            )
    shapes = {_views(bag, window_frames).shape[1:] for bag in listed}
    if len(shapes) > 1:
        raise ValueError(f"Windows must have one shape; found {sorted(shapes)}. Cut them alike.")
    return listed


def _label_names(bags: Sequence[Bag], labels: Sequence[str] | None) -> list[str]:
    """Return all label names in order; every bag has one of them, or none has a label."""
    truths = sorted({bag.label for bag in bags if bag.label is not None})
    if not truths:
        return list(labels or [])
    names = _sorted_names(truths if labels is None else labels)
    strange = {bag.id: bag.label for bag in bags if bag.label not in names}
    if strange:
        raise ValueError(
            f"Labels must be among {names}; found {len(strange)} songs with others: "
            f"{dict(islice(strange.items(), 5))}. Label every song or none, and pass all labels."
        )
    return names


def _sorted_names(labels: Sequence[str]) -> list[str]:
    if len(labels) < 2 or list(labels) != sorted(set(labels)):
        raise ValueError(
            f"labels must be two names or more, sorted, each once; found {list(labels)}. "
            "Use the labels of the SongDataset the model was trained with."
        )
    return list(labels)


# --- the answers ------------------------------------------------------------------------


def predict_songs(
    model: SongModel,
    songs: SongDataset | Iterable[Bag],
    labels: Sequence[str],
    windows: bool = False,
) -> "pd.DataFrame":
    """Return the answers as a table, by id, in the order of the bags.

    All windows of a song are used, whatever a dataset draws or shuffles.

    Parameters
    ----------
    model : SongModel
    songs : SongDataset or iterable of Bag
    labels : sequence of str
        The ``labels`` of the SongDataset the model was trained with.
    windows : bool
        Return every window's own probabilities instead.

    Returns
    -------
    DataFrame
        One row a song, index id: predicted, confidence (its probability), p_<label>.
        Or one row a window, index (id, window): p_<label>.
    """
    import pandas as pd

    names = _sorted_names(labels)
    known = model.window_shape[0] if model.window_shape else None
    frames = songs.window_frames or known if isinstance(songs, SongDataset) else known
    bags = _checked(songs.bags if isinstance(songs, SongDataset) else songs, frames)
    logits = _window_logits(model, bags, frames)
    if logits.shape[-1] != len(names):
        raise ValueError(f"The model tells {logits.shape[-1]} labels apart; found labels {names}.")
    if windows:
        rows = [(bag.id, window) for bag in bags for window in range(bag.window_count)]
        found, index = ops.softmax(logits), pd.MultiIndex.from_tuples(rows, names=["id", "window"])
    else:
        ends = np.cumsum([bag.window_count for bag in bags])
        each = [model.song_probabilities(song[None]) for song in np.split(logits, ends[:-1])]
        found, index = ops.concatenate(each), pd.Index([bag.id for bag in bags], name="id")
    p = ops.convert_to_numpy(found).astype(float)
    if not np.isfinite(p).all():
        bad = list(index[~np.isfinite(p).all(axis=1)][:5])
        raise ValueError(f"Probabilities are no numbers for {bad}: look for NaN in the features.")
    table = pd.DataFrame(p, index, [f"p_{name}" for name in names])
    if not windows:
        table.insert(0, "predicted", np.array(names, dtype=object)[p.argmax(axis=1)])
        table.insert(1, "confidence", p.max(axis=1))
    return table


def _window_logits(model: SongModel, bags: Sequence[Bag], window_frames: int | None) -> Array:
    """Return the logits (windows, classes) of all windows of all bags, block by block."""
    outputs = []
    for block in _blocks(bags, window_frames):
        # Windows stand alone here, so a block is filled up to a power of two with its own
        # windows and their outputs dropped: JAX compiles for nine shapes, not for every one.
        size = 1 << (len(block) - 1).bit_length()
        made = model.window_model.predict(filled(block, size), batch_size=size, verbose=0)
        outputs.append(made[: len(block)])
    logits = model.window_logits(ops.convert_to_tensor(np.concatenate(outputs)))
    return np.asarray(ops.convert_to_numpy(logits))


def _blocks(bags: Sequence[Bag], window_frames: int | None) -> Iterator[Array]:
    pairs = ((_views(bag, window_frames), _places(bag)) for bag in bags)
    windows = (views[place] for views, places in pairs for place in places)
    while block := list(islice(windows, BLOCK)):
        yield np.stack(block).astype(np.float32)
