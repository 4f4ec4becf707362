"""The Keras door, on the torch backend here and once more, in a process of its own, on JAX."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is an extra")

import songbag.keras as door  # noqa: E402
from songbag.data.bag import Bag  # noqa: E402
from songbag.data.song import Song  # noqa: E402
from songbag.keras import POOLINGS, SongDataset, SongModel, predict_songs  # noqa: E402

BACKEND = keras.backend.backend()
needs_torch = pytest.mark.skipif(BACKEND != "torch", reason="compares with songbag.models")
# What Keras 3.15 on torch does to every tensor it turns into numpy >= 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

FAST_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiles

FRAMES, BANDS = 6, 4
SHAPE = (FRAMES, BANDS)
LABELS = ["blues", "metal", "rock"]
HEADS = {
    "sigmoid": (1, "sigmoid"),
    "one_logit": (1, None),
    "softmax": (3, "softmax"),
    "logits": (3, None),
}


def window_model(head="sigmoid", seed=0):
    keras.utils.set_random_seed(seed)
    columns, activation = HEADS[head]
    hidden = [keras.layers.Flatten(), keras.layers.Dense(8, activation="relu")]
    return keras.Sequential(
        [keras.Input(SHAPE), *hidden, keras.layers.Dense(columns, activation=activation)]
    )


def song_model(head="sigmoid", pooling="mean_probability", seed=0):
    from_logits = HEADS[head][1] is None
    model = SongModel(window_model(head, seed), pooling, from_logits=from_logits)
    model.build((None, None, *SHAPE))
    return model


def table_bags(counts, labels=None, seed=0):
    """Bags that hold windows, of these window counts."""
    rng = np.random.default_rng(seed)
    drawn = [3 * rng.standard_normal((count, *SHAPE)).astype(np.float32) for count in counts]
    truths = labels or [None] * len(counts)
    return [Bag(Song(f"song{i}", "", truths[i]), x) for i, x in enumerate(drawn)]


def musical_bags(labels, count, seed):
    """Bags of frames: noise, and in three of 8 or 9 windows evidence of the song's label."""
    rng = np.random.default_rng(seed)
    bags = []
    for song in range(count):
        windows = 8 + song // len(labels) % 2
        frames = rng.standard_normal((windows * FRAMES + 2, BANDS)).astype(np.float32)
        for window in rng.permutation(windows)[:3]:
            frames[window * FRAMES : (window + 1) * FRAMES, song % len(labels)] += 2
        starts = np.arange(windows, dtype=np.int64) * FRAMES
        bags.append(Bag(Song(f"song{song}", "", labels[song % len(labels)]), frames, starts))
    return bags


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# --- learning ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "pooling"), [("sigmoid", "mean_probability"), ("logits", "mean_logit")]
)
def test_it_learns_from_song_labels_alone(head, pooling):
    labels = LABELS[:2] if head == "sigmoid" else LABELS
    model = song_model(head, pooling)
    loss = "binary_crossentropy" if head == "sigmoid" else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    new = musical_bags(labels, 60, seed=2)
    songs = SongDataset(
        musical_bags(labels, 64, seed=1), shuffle=True, windows_per_song=6, window_frames=FRAMES
    )
    held_out = SongDataset(new, songs.labels, batch_size=30, window_frames=FRAMES)
    before = predict_songs(model, new, songs.labels)
    history = model.fit(songs, epochs=15, shuffle=False, verbose=0).history
    after = predict_songs(model, new, songs.labels)
    truth = [bag.label for bag in new]
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert np.mean(before["predicted"] == truth) < 0.75
    assert np.mean(after["predicted"] == truth) >= 0.9
    figures = model.evaluate(held_out, verbose=0, return_dict=True)
    assert figures["accuracy"] == pytest.approx(np.mean(after["predicted"] == truth), abs=1e-6)
    chance = after.to_numpy()[np.arange(60), [2 + songs.labels.index(name) for name in truth]]
    assert figures["loss"] == pytest.approx(-np.log(chance.astype(float)).mean(), rel=1e-4)


def test_two_labels_fit_a_sigmoid_and_a_softmax_of_two():
    bags = table_bags([3, 3, 3, 3], ["a", "b", "b", "a"])
    x, y = SongDataset(bags)[0]
    assert y.dtype == np.float32 and y.tolist() == [[0], [1], [1], [0]]
    keras.utils.set_random_seed(0)
    two = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
    model = SongModel(two)  # two is built by the song model
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(SongDataset(bags), verbose=0)
    p = numbers(model(x))
    assert p.shape == (4, 2)
    assert loss == pytest.approx(-np.log(p[range(4), [0, 1, 1, 0]]).mean(), rel=1e-5)
    assert accuracy == np.mean(p.argmax(axis=1) == [0, 1, 1, 0])


# --- the model --------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
@pytest.mark.parametrize("head", sorted(HEADS))
def test_pooling_equals_numpy_by_hand(head, pooling):
    model = song_model(head, pooling)
    x = np.stack([bag.features for bag in table_bags([5, 5])])
    hidden, out = [layer for layer in model.window_model.layers if layer.weights]
    (w1, b1), (w2, b2) = hidden.get_weights(), out.get_weights()
    z = np.maximum(x.reshape(10, -1).astype(float) @ w1 + b1, 0) @ w2 + b2
    if z.shape[1] == 1:
        z = np.concatenate([-z / 2, z / 2], axis=1)
    z = z.reshape(2, 5, -1)
    song = softmax(z).mean(axis=1) if pooling == "mean_probability" else softmax(z.mean(axis=1))
    expected = song[:, 1:] if HEADS[head][0] == 1 else song
    assert model.predict(x, verbose=0) == pytest.approx(expected, abs=1e-5)


@needs_torch
@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_poolings_are_those_of_learning(pooling):
    import torch

    from songbag.parts import poolings

    z = 3 * torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    truth = poolings()[pooling].load()(z)
    assert (POOLINGS[pooling](z) - truth).abs().max() <= 1e-6
    model = song_model("logits", poolings()[pooling].load())  # torch's own operator fits
    assert (model.song_probabilities(z) - truth.softmax(-1)).abs().max() <= 1e-6
    huge = (1e4 * torch.sign(z)).requires_grad_()
    POOLINGS[pooling](huge).square().mean().backward()
    assert torch.isfinite(POOLINGS[pooling](huge)).all() and torch.isfinite(huge.grad).all()


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_sure_windows_stay_finite(head):
    """A probability of exactly 0 or 1 has a logarithm here."""
    for pooling in POOLINGS:
        model = song_model(head, pooling)
        p = np.array([[0.0], [1.0], [0.3]] if head == "sigmoid" else np.eye(3), np.float32)
        logits = model.window_logits(keras.ops.convert_to_tensor(p))
        song = numbers(model.song_probabilities(logits[None]))
        assert np.isfinite(numbers(logits)).all()
        assert song.sum() == pytest.approx(1, abs=1e-6)
        if pooling == "mean_probability":
            mean = p.mean() if head == "sigmoid" else 1 / 3
            assert song[0, 1] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_order_is_irrelevant_and_a_song_alone_equals_it_in_a_batch(pooling):
    model = song_model("softmax", pooling)
    x = np.stack([bag.features for bag in table_bags([5] * 8)])
    together = numbers(model(x))
    assert np.ptp(together, axis=0).min() > 1e-2  # the songs differ
    shuffled = numbers(model(x[:, [3, 1, 4, 0, 2]]))
    alone = np.concatenate([numbers(model(x[song : song + 1])) for song in range(8)])
    assert np.abs(together - shuffled).max() <= 1e-5
    assert np.abs(together - alone).max() <= 1e-5


def test_windows_are_folded_into_one_call():
    model, shapes = song_model(), []
    call = model.window_model.call
    model.window_model.call = lambda x, **rest: shapes.append(tuple(x.shape)) or call(x, **rest)
    model(np.zeros((3, 7, *SHAPE), np.float32))
    assert shapes == [(21, *SHAPE)]
    tree = ast.parse(Path(door.__file__).read_text())
    words = {getattr(node, key, None) for node in ast.walk(tree) for key in ("id", "attr", "name")}
    assert "TimeDistributed" not in words and {"reshape", "SongModel"} <= words


def largest(logits):
    """A pooling of a user's own."""
    return keras.ops.max(logits, axis=1)


@pytest.mark.parametrize("pooling", ["mean_logit", largest])
def test_a_saved_model_loads_and_answers_the_same(pooling, tmp_path):
    bags = table_bags([4, 4, 4], LABELS)
    model = song_model("logits", pooling)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(SongDataset(bags), verbose=0)
    model.save(tmp_path / "song.keras")
    model.window_model.save(tmp_path / "window.keras")
    own = {"SongModel": SongModel, "largest": largest}
    loaded = keras.models.load_model(tmp_path / "song.keras", custom_objects=own)
    assert isinstance(loaded, SongModel) and loaded.from_logits and loaded.pooling == pooling
    truth = predict_songs(model, bags, LABELS)
    assert predict_songs(loaded, bags, LABELS).equals(truth)
    window = keras.models.load_model(tmp_path / "window.keras")
    assert predict_songs(SongModel(window, pooling, from_logits=True), bags, LABELS).equals(truth)
    loaded.fit(SongDataset(bags), verbose=0)  # with the loss and optimizer it was saved with


class Subclassed(keras.Model):
    """A window model whose shapes Keras only knows by running it."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, windows):
        return keras.ops.softmax(self.dense(keras.ops.mean(windows, axis=1)))


def test_a_subclassed_window_model_works():
    bags = table_bags([3, 3, 3], LABELS)
    model = SongModel(Subclassed())
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(SongDataset(bags), verbose=0)
    expected = model.predict(SongDataset(bags), verbose=0)
    assert predict_songs(model, bags, LABELS).iloc[:, 2:].to_numpy() == pytest.approx(expected)
    assert model.count_params() == BANDS * 3 + 3


def test_a_trained_window_model_is_shared_not_copied():
    model = song_model("softmax")
    assert model.window_model.count_params() == model.count_params() > 0
    before = model.window_model.get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(SongDataset(table_bags([2, 2, 2], LABELS)), verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.window_model.get_weights()))


# --- the songs --------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_song_once_and_only_its_real_windows(shuffle):
    counts = [3, 1, 3, 2, 3, 3, 1, 2, 3]
    bags = table_bags(counts, [LABELS[i % 3] for i in range(9)])
    by_id = {bag.id: bag for bag in bags}
    songs = SongDataset(bags, batch_size=2, shuffle=shuffle, seed=3)
    orders, sizes = [], []
    for _ in range(3):
        rows = [(row, truth) for x, y in songs for row, truth in zip(x, y)]
        assert sorted(songs.ids) == sorted(by_id) and len(rows) == 9
        for name, (row, truth) in zip(songs.ids, rows):
            np.testing.assert_array_equal(row, by_id[name].features)
            assert songs.labels[truth] == by_id[name].label
        orders.append(songs.ids)
        sizes.append("".join(str(x.shape[1]) for x, _ in songs))
        songs.on_epoch_end()
    assert len(songs) == 3 + 1 + 1 and all(len(x) <= 2 for x, _ in songs)
    if shuffle:
        assert orders[0] != orders[1] != orders[2]
        assert any("333" not in size for size in sizes)  # window counts come mixed
        assert SongDataset(bags, batch_size=2, shuffle=True, seed=3).ids == orders[0]
        assert SongDataset(bags, batch_size=2, shuffle=True, seed=4).ids != orders[0]
    else:
        assert orders == [[f"song{i}" for i in (0, 2, 4, 5, 8, 1, 6, 3, 7)]] * 3
        equal = SongDataset(table_bags([2] * 9), batch_size=4)
        assert equal.ids == [f"song{i}" for i in range(9)] and len(equal[0]) == 1


def test_random_windows_are_real_new_each_epoch_and_of_one_shape():
    bags = table_bags([9, 2, 5], LABELS)
    songs = SongDataset(bags, windows_per_song=4, seed=1)
    epochs = []
    for _ in range(2):
        (x, _), (again, _) = songs[0], songs[0]
        np.testing.assert_array_equal(x, again)  # whoever asks, and how often
        assert x.shape == (3, 4, *SHAPE) and len(songs) == 1
        for bag, row in zip(bags, x):
            same = (row[:, None] == bag.features[None]).all(axis=(2, 3))
            assert (same.sum(axis=1) == 1).all()  # each is one of the song's windows
            most = -(-4 // bag.window_count)
            assert same.sum(axis=0).max() == most  # and none comes twice before all came
        epochs.append(x)
        songs.on_epoch_end()
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(SongDataset(bags, windows_per_song=4, seed=1)[0][0], epochs[0])
    assert (SongDataset(bags, windows_per_song=4, seed=2)[0][0] != epochs[0]).any()


def test_windows_are_cut_from_frames():
    rng = np.random.default_rng(0)
    frames = [rng.standard_normal((n, BANDS)).astype(np.float32) for n in (20, 25, 4)]
    starts = [np.array([0, 7, 14]), np.array([0, 7, 19]), np.array([0])]
    bags = [Bag(Song(f"song{i}", ""), frames[i], starts[i]) for i in range(3)]
    songs = SongDataset(bags, window_frames=FRAMES)
    for song, start in enumerate(starts[:2]):
        expected = [frames[song][s : s + FRAMES] for s in start]
        np.testing.assert_array_equal(songs[0][0][song], expected)
    np.testing.assert_array_equal(songs[1][0][0, 0], frames[2][[0, 1, 2, 3, 0, 1]])  # repeated
    drawn = SongDataset(bags, windows_per_song=30, window_frames=FRAMES)[0][0]
    first = {int(np.flatnonzero((frames[0] == row[0]).all(axis=1))[0]) for row in drawn[0]}
    assert first == set(range(15))  # any frame may begin a window


@needs_torch
def test_windows_are_those_of_learning():
    from songbag.data.batches import cut_windows

    for bag in musical_bags(LABELS, 3, seed=0):
        given = SongDataset([bag], LABELS, window_frames=FRAMES)[0][0][0]
        np.testing.assert_array_equal(given, cut_windows(bag, bag.starts, FRAMES))


# --- the answers ------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["one_logit", "softmax"])
def test_answers_come_by_id_in_the_order_of_the_bags(head):
    counts = [3, 150, 3, 150]  # 306 windows: the last song lies in two blocks
    labels = LABELS[:2] if head == "one_logit" else LABELS
    bags, model = table_bags(counts, ["rock"] + [None] * 3), song_model(head)
    table = predict_songs(model, bags, labels)
    assert list(table.index) == [bag.id for bag in bags] and table.index.name == "id"
    assert list(table) == ["predicted", "confidence", *(f"p_{name}" for name in labels)]
    p = table.iloc[:, 2:].to_numpy()
    for row, bag in zip(p, bags):
        expected = numbers(model(bag.features[None]))[0]
        assert row[-len(expected) :] == pytest.approx(expected, abs=1e-5)
    assert p.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert list(table["predicted"]) == [labels[best] for best in p.argmax(axis=1)]
    assert (table["confidence"] == p.max(axis=1)).all()
    shuffled = SongDataset(bags[1:], shuffle=True, windows_per_song=2)
    assert list(predict_songs(model, shuffled, labels).index) == [bag.id for bag in bags[1:]]
    assert np.abs(predict_songs(model, shuffled, labels).iloc[:, 2:] - p[1:]).max(axis=None) <= 1e-5


def test_windows_come_by_id_and_number():
    model, bags = song_model("one_logit"), table_bags([3, 2])
    table = predict_songs(model, bags, ["a", "b"], windows=True)
    assert table.index.names == ["id", "window"] and list(table) == ["p_a", "p_b"]
    assert list(table.index) == [
        ("song0", 0),
        ("song0", 1),
        ("song0", 2),
        ("song1", 0),
        ("song1", 1),
    ]
    z = numbers(model.window_model(np.concatenate([bag.features for bag in bags])))
    assert table["p_b"].to_numpy() == pytest.approx(1 / (1 + np.exp(-z[:, 0])), abs=1e-6)
    songs = predict_songs(model, bags, ["a", "b"])
    means = table.groupby("id")["p_b"].mean()
    assert songs["p_b"].to_numpy() == pytest.approx(means.to_numpy(), abs=1e-6)


def test_prediction_runs_few_shapes():
    """JAX compiles the window model for each: songs of all lengths must not be as many."""
    model, sizes = song_model(), []
    predict = model.window_model.predict
    model.window_model.predict = lambda x, **rest: sizes.append(len(x)) or predict(x, **rest)
    predict_songs(model, table_bags([31] * 16), ["a", "b"])
    assert sizes == [256, 256]  # 496 windows: the second block is filled up from 240
    predict_songs(model, table_bags([5]), ["a", "b"])
    assert sizes[2:] == [8]


# --- mistakes ---------------------------------------------------------------------------


def test_mistakes_in_a_model_are_told():
    flat = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    inner = keras.Input(SHAPE)
    functional = keras.Model(inner, keras.layers.Dense(3)(keras.layers.Flatten()(inner)))
    x = np.zeros((1, 2, *SHAPE), np.float32)
    with pytest.raises(ValueError, match=r"mean_logit.*'average'"):
        SongModel(flat, "average")
    with pytest.raises(ValueError, match=r"keras\.Model.*Dense"):
        SongModel(keras.layers.Dense(3))
    for wrong in (flat, functional):
        with pytest.raises(ValueError, match="must end in 'softmax'; found 'linear'"):
            SongModel(wrong)(x)
    with pytest.raises(ValueError, match="must end in 'linear'; found 'sigmoid'"):
        SongModel(window_model("sigmoid"), from_logits=True)(x)
    with pytest.raises(ValueError, match=r"\(windows, columns\); found \(None, 6, 2\)"):
        SongModel(keras.Sequential([keras.layers.Dense(2, activation="softmax")]))(x)
    with pytest.raises(ValueError, match=r"window_shape\).*found \(3, 4\)"):
        SongModel(flat)(np.zeros((3, 4), np.float32))
    SongModel(flat, from_logits=True)(x)


MISTAKES = {
    "no songs": ({}, [], "found 0 songs"),
    "twice": ({}, table_bags([1, 1]) + table_bags([2]), r"twice \['song0'\]"),
    "empty": ({}, table_bags([1, 0]), r"without windows \['song1'\]"),
    "starts": ({}, musical_bags(LABELS, 3, 0), "need window_frames"),
    "order": ({"labels": ["b", "a"]}, table_bags([1, 1]), r"sorted.*\['b', 'a'\]"),
    "one label": ({}, table_bags([1, 1], ["a", "a"]), "two names or more"),
    "no label": ({}, table_bags([1, 1, 1], ["a", None, "b"]), r"found \{None\}"),
    "unknown": ({"labels": ["a", "b"]}, table_bags([1, 1], ["a", "c"]), r"found \{'c'\}"),
    "batch": ({"batch_size": 0}, table_bags([1]), "batch_size=0"),
    "draw": ({"windows_per_song": 0}, table_bags([1]), "windows_per_song=0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_songs_are_told(name):
    options, bags, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        SongDataset(bags, **options)


def test_mistakes_in_answers_are_told():
    model, bags = song_model(), table_bags([2, 3])
    with pytest.raises(ValueError, match=r"tells 2 labels apart; found \['a', 'b', 'c'\]"):
        predict_songs(model, bags, ["a", "b", "c"])
    with pytest.raises(ValueError, match="sorted"):
        predict_songs(model, bags, ["b", "a"])
    bags[1].features[2] = np.nan
    with pytest.raises(ValueError, match=r"No numbers for .*song1"):
        predict_songs(model, bags, ["a", "b"])


# --- the other backend ------------------------------------------------------------------


@pytest.mark.skipif(BACKEND != "torch", reason="this is the other backend")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not here")
@pytest.mark.full
def test_all_of_this_on_jax():
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"],
        env=keep
        | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST_XLA, "CI": ""},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


def test_torch_is_not_needed():
    assert BACKEND == "torch" or "torch" not in sys.modules
