"""The founding network against the same program in real Keras, with the same weights.

The Keras model is that of examples/founding_keras.py. Observed over four draws of weights:
song probabilities within 1.2e-7, gradients within 6e-6 of each weight's largest one. The
second shape has more than one band left where the network flattens, or the order of
flattening would not be seen.

Raw MFCC, two labels of equal frequency, loss on the song, 20 random starts each on 32 songs
of Emotify, on 10 demo songs and on the noise below; how many learned:

=========================  =======  ====  =====
network and optimiser      Emotify  demo  noise
=========================  =======  ====  =====
Keras, SGD 0.01                  0     0      0
Keras, RMSprop 1e-3              8    14     11
ours, RMSprop 1e-3              20    20     20
ours, SGD 0.01                   0     3      2
=========================  =======  ====  =====

What does not learn in Keras has left the clip at 1e-7, where gradients are exactly zero, and
stays at a loss of 8.06 (every song the first label) or 7.97 (every song the second: 1 - 1e-7
is 1 - 2 ** -23 in float32). Ours takes the logarithm of the mean without a clip, so RMSprop
finds back; with SGD it does not stay at 8.06, it ends in nan or at ln 2.
"""

import importlib.util
import io
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

os.environ["KERAS_BACKEND"] = "torch"
import keras

from songbag.audio.waveform import write_waveform
from songbag.models.networks import Founding
from songbag.models.optimizers import build_optimizer
from songbag.models.song_network import SongNetwork
from songbag.parts import poolings
from songbag.settings import Training

pytestmark = pytest.mark.filterwarnings(  # Keras reads its torch variables with numpy.array
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras\\."
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "founding_keras.py"
SHAPES = [(216, 13), (130, 24)]  # frames, bands
SONGS, WINDOWS, STRIDE = 4, 5, 6
COUNTS = {2: 21009, 3: 21075, 4: 21108}  # of the first shape


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """On a busy machine fifteen times as fast as two threads: these layers are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("founding_keras", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert keras.backend.backend() == "torch"
    return module


def random_weights(like, rng):
    """Glorot uniform matrices and kernels, and biases that are not zero."""
    weights = []
    for old in like:
        field = math.prod(old.shape[:-2])  # of a kernel, 1 of a matrix
        limit = math.sqrt(6 / (field * sum(old.shape[-2:])))
        weights.append(rng.uniform(-limit, limit, old.shape).astype(np.float32))
    return weights


def loaded(network, weights):
    """Load Keras's weights: kernels HWIO to OIHW, matrices transposed, in Keras's order."""
    turn = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(values.transpose(turn[values.ndim])))
    return network


def founding(shape, classes):
    return SongNetwork(Founding(shape, 1 if classes == 2 else classes), shape)


def mfcc_like(rng, songs, frames, bands):
    """(songs, frames, bands) with levels and deviations as of the demo songs' MFCC, no two parts alike."""
    level = np.r_[-212, 67, np.linspace(20, -5, bands - 2)]
    deviation = np.r_[116, 32, np.linspace(15, 8, bands - 2)]
    song = rng.standard_normal((songs, 1, bands))
    second = rng.standard_normal((songs, 1 + frames // 43, bands)).repeat(43, axis=1)[:, :frames]
    frame = rng.standard_normal((songs, frames, bands))
    return (level + deviation * (song + second + frame) / math.sqrt(3)).astype(np.float32)


class Case:
    """One draw of weights in both networks, and songs cut into windows for both."""

    def __init__(self, example, shape, classes):
        rng = np.random.default_rng([classes, *shape])
        frames, bands = shape
        self.shape, self.classes = shape, classes
        self.keras = example.song_model(WINDOWS, bands, frames, classes)
        self.weights = random_weights(self.keras.get_weights(), rng)
        self.keras.set_weights(self.weights)
        self.ours = loaded(founding(shape, classes), self.weights)
        self.starts = torch.arange(WINDOWS) * STRIDE * (frames // 2 // STRIDE)
        songs = mfcc_like(rng, SONGS, int(self.starts[-1]) + frames, bands) / 20
        self.songs = torch.from_numpy(songs)
        cut = [self.songs[:, start : start + frames] for start in self.starts]
        self.windows = torch.stack(cut, dim=1)  # (songs, windows, frames, bands)
        self.y = torch.arange(SONGS) % classes

    def keras_input(self):
        return self.windows.transpose(2, 3).unsqueeze(-1)

    def keras_probabilities(self):
        found = torch.from_numpy(self.keras.predict(self.keras_input().numpy(), verbose=0))
        return torch.cat([1 - found, found], dim=1) if self.classes == 2 else found

    def keras_loss(self):
        targets = F.one_hot(self.y, self.classes).float()
        targets = targets[:, 1:] if self.classes == 2 else targets
        return self.keras.compute_loss(y=targets, y_pred=self.keras(self.keras_input()))

    def song_logits(self, network, pooling="mean_probability"):
        logits = network(self.windows.flatten(0, 1))
        return poolings()[pooling].load()(logits.unflatten(0, (SONGS, WINDOWS)))

    def disagreement(self, network, pooling="mean_probability"):
        with torch.no_grad():
            found = self.song_logits(network, pooling).softmax(-1)
        return float((found - self.keras_probabilities()).abs().max())


@pytest.fixture(
    scope="module",
    params=[(shape, classes) for shape in SHAPES for classes in COUNTS],
    ids=lambda param: f"{param[0][0]}x{param[0][1]}-{param[1]}",
)
def case(request, example):
    return Case(example, *request.param)


def test_as_many_parameters_layer_by_layer(case):
    keras_sizes = [weight.size for weight in case.keras.get_weights()]
    assert [parameter.numel() for parameter in case.ours.parameters()] == keras_sizes
    if case.shape == (216, 13):
        assert case.keras.count_params() == sum(keras_sizes) == COUNTS[case.classes]


def test_song_probabilities_agree(case):
    expected = case.keras_probabilities()
    assert expected.amin() > 1e-3  # far from saturated, or agreement is cheap
    assert (expected - expected[0]).abs().max() > 0.01  # and songs differ
    assert case.disagreement(case.ours) <= 1e-5


def test_the_shared_trunk_agrees_too(case):
    with torch.no_grad():
        logits = case.ours.song(case.songs, case.starts)
        found = poolings()["mean_probability"].load()(logits).softmax(-1)
    assert (found - case.keras_probabilities()).abs().max() <= 1e-5


def test_gradients_of_the_song_loss_agree(case):
    theirs = case.keras_loss()
    loss = F.cross_entropy(case.song_logits(case.ours), case.y)
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    expected = torch.autograd.grad(theirs, [v.value for v in case.keras.trainable_variables])
    found = torch.autograd.grad(loss, list(case.ours.parameters()))
    shaped = loaded(founding(case.shape, case.classes), [g.numpy() for g in expected])
    for mine, other in zip(found, shaped.parameters(), strict=True):
        assert other.abs().max() > 0
        assert (mine - other).abs().max() <= 1e-4 * other.abs().max()


def test_losses_from_equal_weights_agree_step_by_step(case):
    """Ten steps of RMSprop on the same songs, in Keras and here."""
    network = loaded(founding(case.shape, case.classes), case.weights)
    steps = build_optimizer(
        network, Training(optimizer="rmsprop", learning_rate=1e-3, weight_decay=0.0)
    )
    case.keras.set_weights(case.weights)
    keras_steps = keras.optimizers.RMSprop(1e-3)
    for _ in range(10):
        loss = F.cross_entropy(case.song_logits(network), case.y)
        theirs = case.keras_loss()
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-3)
        gradients = torch.autograd.grad(theirs, [v.value for v in case.keras.trainable_variables])
        with torch.no_grad():
            keras_steps.apply(list(gradients), case.keras.trainable_variables)
        steps.zero_grad()
        loss.backward()
        steps.step()
    case.keras.set_weights(case.weights)


# --- a count of parameters proves nothing, the comparison does ---------------------------


def test_a_relu_keeps_the_count_and_is_noticed(case):
    wrong = loaded(founding(case.shape, case.classes), case.weights)
    wrong.network.trunk.insert(2, nn.ReLU())  # after the first convolution
    assert isinstance(wrong.network.trunk[1], nn.Conv2d)
    assert sum(p.numel() for p in wrong.parameters()) == case.keras.count_params()
    assert case.disagreement(wrong) > 1e-3


def test_another_order_of_flattening_is_noticed_where_bands_remain(case):
    wrong = loaded(founding(case.shape, case.classes), case.weights)
    wrong.network.head[0] = nn.Flatten()
    if case.shape == (216, 13):  # one band is left of 13: there is no order to get wrong
        assert case.disagreement(wrong) <= 1e-5
    else:
        assert case.disagreement(wrong) > 1e-3


def test_the_mean_of_logits_is_another_pooling(case):
    assert case.disagreement(case.ours, "mean_logit") > 1e-4


# --- what the published program does on raw MFCC -----------------------------------------

CLIP = 1e-7
EPOCHS, BATCH = 20, 4


class Raw:
    """Twelve songs of raw MFCC; one band tells the two labels apart."""

    def __init__(self, example):
        self.y = np.arange(12) % 2
        frames = mfcc_like(np.random.default_rng(3), 12, 2 * 216, 13)
        frames[..., 2] += np.where(self.y, 15, -15)[:, None]
        self.windows = frames.reshape(12, 2, 216, 13)
        self.x = self.windows.swapaxes(2, 3)[..., None]
        self.targets = self.y[:, None].astype(np.float32)
        self.keras = example.song_model(2, 13, 216, 2)

    def start(self, seed):
        """Glorot weights, biases of zero."""
        drawn = random_weights(self.keras.get_weights(), np.random.default_rng(seed))
        return [weight * (weight.ndim > 1) for weight in drawn]

    def fit(self, optimizer, weights, x=None):
        """Train the Keras model; return the losses of the epochs."""
        keras.utils.set_random_seed(0)
        self.keras.set_weights(weights)
        self.keras.compile(optimizer=optimizer, loss="binary_crossentropy")
        x = self.x if x is None else x
        fit = self.keras.fit(x, self.targets, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        return fit.history["loss"]

    def fit_ours(self, weights):
        """Train Songbag's network as Keras does; return the losses of the epochs."""
        network = loaded(founding((216, 13), 2), weights)
        optimizer = torch.optim.RMSprop(network.parameters(), 1e-3, alpha=0.9, eps=1e-7)
        order, losses = torch.Generator().manual_seed(0), []
        windows, y = torch.from_numpy(self.windows), torch.from_numpy(self.y)
        for _ in range(EPOCHS):
            total = 0.0
            for songs in torch.randperm(len(y), generator=order).split(BATCH):
                logits = network(windows[songs].flatten(0, 1)).unflatten(0, (len(songs), 2))
                song = poolings()["mean_probability"].load()(logits)
                loss = F.cross_entropy(song, y[songs])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(songs) / len(y)
            losses.append(total)
        return losses

    def wrong_songs(self):
        return np.flatnonzero((self.keras.predict(self.x, verbose=0) > 0.5) != self.targets)

    def gradients_vanish(self, songs):
        """Whether the gradient of these songs' loss is exactly zero for every weight."""
        found = self.keras(torch.from_numpy(self.x[songs]))
        loss = self.keras.compute_loss(y=torch.from_numpy(self.targets[songs]), y_pred=found)
        weights = [variable.value for variable in self.keras.trainable_variables]
        return all((gradient == 0).all() for gradient in torch.autograd.grad(loss, weights))


def is_stuck(losses):
    """Half the songs cost -ln(1e-7), for epochs: every song the first label, or the second."""
    first, second = -math.log(CLIP) / 2, -math.log(1 - float(np.float32(1 - CLIP))) / 2
    assert (round(first, 2), round(second, 2)) == (8.06, 7.97)
    return any(losses[-5:] == pytest.approx([value] * 5, abs=1e-3) for value in (first, second))


def has_learned(losses):
    return min(losses[-5:]) < 0.5


@pytest.mark.full
def test_the_answers_sgd_collapses_on_raw_mfcc(example):
    raw = Raw(example)
    for seed in range(4):
        losses = raw.fit(keras.optimizers.SGD(0.01), raw.start(seed))
        assert is_stuck(losses), losses
        assert len(raw.wrong_songs()) == 6
        assert raw.gradients_vanish(raw.wrong_songs())


@pytest.mark.full
def test_rmsprop_learns_from_some_starts_only_unless_without_clip_or_standardised(example):
    raw, outcomes = Raw(example), {}
    for seed in range(20):
        losses = raw.fit(keras.optimizers.RMSprop(1e-3), raw.start(seed))
        if is_stuck(losses):
            assert raw.gradients_vanish(raw.wrong_songs())
            outcomes.setdefault("stuck", seed)
        elif has_learned(losses):
            outcomes.setdefault("learned", seed)
        if len(outcomes) == 2:
            break
    assert set(outcomes) == {"stuck", "learned"}
    weights = raw.start(outcomes["stuck"])
    assert has_learned(raw.fit_ours(weights))
    easier = example.standardised(raw.x)
    assert has_learned(raw.fit(keras.optimizers.RMSprop(1e-3), weights, easier))


@pytest.mark.filterwarnings("ignore:In loss categorical_crossentropy, expected:SyntaxWarning")
def test_the_published_loss_of_two_labels_is_zero(example):
    raw = Raw(example)
    raw.keras.compile(optimizer="sgd", loss="categorical_crossentropy")
    assert raw.keras.evaluate(raw.x, raw.targets, verbose=0) < 1e-6
    assert raw.gradients_vanish(np.arange(12))


# --- the example as a program ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")
def test_the_program_finds_every_songs_id_again(example, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for number in range(4):
        noise = rng.standard_normal(22050 * 6).astype(np.float32)
        wave = noise if number % 2 else np.cumsum(noise) / 300
        write_waveform(tmp_path / f"{number}.wav", (0.1 * wave).astype(np.float32), 22050)
    rows = [f"{number}.wav,{'white' if number % 2 else 'brown'}" for number in (2, 1, 0, 3)]
    (tmp_path / "songs.csv").write_text("\n".join(["path,label", *rows]))
    monkeypatch.setattr("sys.argv", ["founding_keras.py", str(tmp_path / "songs.csv")])
    example.main()
    found = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="id")
    assert list(found.index) == ["2.wav", "1.wav", "0.wav", "3.wav"]
    assert list(found.columns) == ["brown", "white"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=2e-4)
    assert list(found.idxmax(axis=1)) == ["brown", "white", "brown", "white"]
