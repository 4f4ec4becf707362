"""Networks, poolings and the training loop."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from songbag.audio.windows import window_starts
from songbag.data import batches
from songbag.data.bag import Bag
from songbag.data.song import Song
from songbag.errors import ExportError, TrainingError
from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.models import build, losses, networks
from songbag.models.song_network import (
    Ensemble,
    SongNetwork,
    SongPooling,
    both_classes,
    song_logits,
)
from songbag.parts import poolings
from songbag.settings import Sound, Training, Windows
from songbag.training import augmentation, onnx_templates, to_onnx
from songbag.training.trainer import Checkpoint, train_network


def mean(classes):
    """The mean of logits for a number of classes."""
    return SongPooling(poolings()["mean_logit"], classes)


SHAPES = {
    "founding": (216, 13),
    "cnn": (108, 64),
    "cnn1d": (108, 64),
    "linear": (40, 13),
    "mlp": (40, 13),
    "statistics": (108, 64),
}


def test_the_founding_network_is_the_founding_network():
    network = networks.Founding((216, 13), 3)
    counts = [row["parameters"] for row in build.layer_table(network) if row["parameters"]]
    assert counts == [160, 2320, 17440, 1056, 99]
    assert sum(counts) == 21075
    kinds = [
        type(layer).__name__ for layer in network.trunk if not type(layer).__name__.startswith("_")
    ]
    assert kinds == ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d"]  # no activation in between
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            assert (layer.bias == 0).all()
            fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
            limit = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.9 * limit < layer.weight.abs().max() <= limit
    assert build.build("founding", (216, 13), mean(2), 0.0, None).network.head[-1].out_features == 1


@pytest.mark.parametrize("bands", [10, 13, 14, 20, 24, 40])
def test_bands_that_reach_no_output_are_left_out_exactly(bands):
    torch.manual_seed(0)
    network = networks.Founding((216, bands), 3)
    whole = copy.deepcopy(network)
    whole.trunk[0].bands = None
    ours, theirs = (nn.Sequential(one.trunk, one.head) for one in (network, whole))
    windows = torch.randn(5, 216, bands, requires_grad=True)
    assert torch.equal(ours(windows), theirs(windows))
    theirs(windows).square().sum().backward()
    reach = windows.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert network.trunk[0].bands == 1 + int(reach.max())  # and not one more or less
    ours(windows.detach()).square().sum().backward()
    for mine, full in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, full.grad)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_shared_trunk_equals_every_window_alone(name):
    torch.manual_seed(0)
    shape = SHAPES[name]
    network = build.build(
        name, shape, mean(3), 0.3, (torch.zeros(shape[1]), torch.ones(shape[1]))
    ).eval()
    stride = network.time_stride or 1
    frames = torch.randn(2, shape[0] + 500, shape[1])
    starts = torch.arange(0, 500, 5 * stride)
    with torch.no_grad():
        shared = network.song(frames, starts)
        cut = torch.stack([frames[:, s : s + shape[0]] for s in starts], dim=1)
        alone = network(cut.flatten(0, 1)).reshape(shared.shape)
    assert (shared - alone).abs().max() <= 1e-5


@pytest.mark.parametrize("frames", [3, 5, 20, 108, 500])
@pytest.mark.parametrize("bands", [1, 2, 13, 64, 128])
@pytest.mark.parametrize("name", ["cnn", "cnn1d"])
def test_the_cnns_take_windows_of_any_size(name, frames, bands):
    network = build.build(name, (frames, bands), mean(3), 0.0, None).eval()
    assert network(torch.randn(2, frames, bands)).shape == (2, 3)


def test_too_small_windows_are_refused_by_the_founding_network():
    with pytest.raises(ValueError, match="at least 17 frames x 10 bands"):
        networks.Founding((10, 13), 3)


def test_two_classes_are_one_sigmoid():
    z = torch.linspace(-30, 30, 13)[:, None]
    both = both_classes(z)
    torch.testing.assert_close(both.softmax(-1)[:, 1:], torch.sigmoid(z))
    loss = torch.nn.functional.cross_entropy(both, torch.ones(13, dtype=torch.long))
    truth = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.ones(13, 1))
    torch.testing.assert_close(loss, truth)


# --- export -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_networks_export_for_songs_and_for_windows(name):
    torch.manual_seed(0)
    network = build.build(name, SHAPES[name], mean(3), 0.3, None).eval()
    to_onnx.export_network(network, True, 4 * (network.time_stride or 1))
    to_onnx.export_network(network, False, 1)


def test_a_network_that_cannot_be_exported_truly_is_refused():
    class CountsWindows(torch.nn.Module):
        def forward(self, windows):
            # A Python number is frozen into the graph: right for 3 windows only.
            return windows.mean(dim=(1, 2))[:, None] * len(windows.tolist()) * torch.ones(1, 3)

    network = SongNetwork(CountsWindows(), (8, 4)).eval()
    with pytest.raises((ExportError, Exception)) as caught:
        to_onnx.export_network(network, False, 1)
    assert caught.value is not None


def test_a_graph_that_disagrees_is_refused():
    network = build.build("mlp", (8, 4), mean(3), 0.0, None).eval()
    graph = to_onnx.export_network(network, False, 1)
    other = build.build("mlp", (8, 4), mean(3), 0.0, None).eval()
    signature = to_onnx.Signature(["windows"], ["outputs"], ({0: "windows"},))
    with pytest.raises(ExportError, match="disagrees with the trained network at 2 windows"):
        to_onnx.check(graph, other, signature, {2: (to_onnx._noise(2, 8, 4),)})


def exported_twice(network, monkeypatch, whole_songs=True):
    """The graphs of a network and of one like it, and how often torch was asked for them."""
    translate, asked = to_onnx.translate, []
    monkeypatch.setattr(
        to_onnx, "translate", lambda *arguments: asked.append(1) or translate(*arguments)
    )
    onnx_templates._templates.clear()
    other = onnx_templates.blank(network)
    hop = 4 * (network.time_stride or 1)
    return [to_onnx.export_network(one, whole_songs, hop) for one in (network, other)], len(asked)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SONGBAG_CACHE", str(tmp_path))
    return tmp_path / "graphs"


@pytest.mark.parametrize("name", [*sorted(SHAPES), "scaled", "attention", "ensemble"])
def test_a_graph_is_made_once_for_networks_of_one_plan(name, monkeypatch, own_cache):
    torch.manual_seed(0)
    bands = SHAPES["cnn"][1]
    scale = (torch.zeros(bands), torch.ones(bands)) if name == "scaled" else None
    pooling = SongPooling(poolings()["attention"], 3) if name == "attention" else mean(3)

    def made(kind):
        return build.build(kind, SHAPES[kind], pooling, 0.3, scale).eval()

    network = made(name if name in SHAPES else "cnn")
    if name == "ensemble":
        network = Ensemble([[network, made("cnn")], [made("statistics")]], [0.7, 0.4], pooling)
    graphs, asked = exported_twice(network, monkeypatch)
    assert asked == 1 and graphs[0] != graphs[1]
    assert len(list(own_cache.iterdir())) == 1
    assert to_onnx.export_network(network, True, 4 * (network.time_stride or 1)) == graphs[0]


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:-900] + bytes(900)])
def test_a_damaged_template_is_made_again(damage, monkeypatch, own_cache):
    network = build.build("cnn", SHAPES["cnn"], mean(3), 0.3, None).eval()
    whole = to_onnx.export_network(network, False, 1)
    onnx_templates._templates.clear()
    (file,) = own_cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert len(to_onnx.export_network(network, False, 1)) > 0.9 * len(whole)
    onnx_templates._templates.clear()
    assert to_onnx.export_network(network, False, 1) == whole


def test_a_network_of_ones_own_has_no_template(monkeypatch, own_cache):
    class Mine(torch.nn.Module):
        def forward(self, windows):
            return windows.mean(dim=1)[:, :3]

    network = SongNetwork(Mine(), (8, 4)).eval()
    assert exported_twice(network, monkeypatch, whole_songs=False)[1] == 2
    assert not own_cache.exists()


# --- batches and fitting ----------------------------------------------------------------

SOUND, CUT = Sound(feature="mfcc", mel_bands=40), Windows(seconds=1.0, hop_seconds=0.5)


def made_bags(count, classes=2, seconds=(0.4, 1.0, 3.0), seed=0):
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


@pytest.mark.parametrize("share", [True, False])
def test_groups_hold_every_song_once_and_nothing_padded(share):
    bags, _ = made_bags(11)
    seen = []
    for group in batches.groups(bags, np.arange(11), 44, share):
        counts = {bags[song].window_count for song in group.songs}
        assert len(counts) == 1
        if isinstance(group, batches.Cut):
            assert group.windows.shape[:2] == (len(group.songs), counts.pop())
        seen += group.songs.tolist()
    assert sorted(seen) == list(range(11))


def test_cut_windows_are_slices_of_the_frames():
    bags, _ = made_bags(3)
    bag = bags[2]
    cut = batches.cut_windows(bag, bag.starts, 44)
    for window, start in zip(cut, bag.starts, strict=True):
        assert (window == bag.features[start : start + 44]).all()


def test_a_song_scores_alone_as_in_a_batch():
    bags, _ = made_bags(9)
    torch.manual_seed(0)
    network = build.build("cnn", (44, 13), mean(2), 0.0, None).eval()
    pooling = mean(2)
    together = song_logits(network, pooling, bags)
    alone = torch.cat([song_logits(network, pooling, [bag]) for bag in bags])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def fitted(training, bags, y, held=None, seed=0, watch=lambda songs, row: None):
    classes = int(y.max()) + 1
    return train_network((bags, y), classes, training, (44, 13), seed, held, watch)


@pytest.mark.parametrize("loss", ["song", "window"])
@pytest.mark.parametrize("network", ["cnn", "mlp"])
@pytest.mark.parametrize("classes", [2, 3])
def test_songs_are_learned(loss, network, classes):
    bags, y = made_bags(30, classes, seconds=(1.0, 2.0))
    training = Training(network=network, loss=loss, epochs=25, learning_rate=5e-3, keep="last")
    found = fitted(training, bags, y)
    more, truth = made_bags(30, classes, seconds=(1.0, 2.0), seed=5)
    logits = song_logits(found.network, mean(classes), more)
    assert (logits.argmax(1).numpy() == truth).mean() >= 0.8
    assert found.history[-1]["loss"] < 0.6 * found.history[0]["loss"]


@pytest.mark.parametrize("windows_per_song", [0, 2])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_same_seed_gives_the_same_weights(windows_per_song, average):
    bags, y = made_bags(12)
    training = Training(
        epochs=2, windows_per_song=windows_per_song, mixup=0.2, time_mask=5, band_mask=3,
        dropout=0.2, label_smoothing=0.1, average=average,
    )  # fmt: skip
    first, second = fitted(training, bags, y), fitted(training, bags, y)
    third = fitted(training, bags, y, seed=1)
    a, b, c = (one.network.state_dict() for one in (first, second, third))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    bags, y = made_bags(6)
    fitted(Training(epochs=1), bags, y)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_by_song_loss_is_kept_and_patience_stops():
    bags, y = made_bags(20)
    held = made_bags(8, seed=9)
    training = Training(epochs=40, patience=3, keep="best", schedule="constant", learning_rate=0.02)
    found = fitted(training, bags, y, held)
    losses = [row["validation_loss"] for row in found.history]
    assert found.epoch == 1 + int(np.argmin(losses))
    logits = song_logits(found.network, mean(2), held[0])
    kept = torch.nn.functional.cross_entropy(logits, torch.as_tensor(held[1]))
    assert float(kept) == pytest.approx(min(losses), abs=1e-5)
    if found.stopped == "patience":
        assert len(losses) - found.epoch == 3


def test_an_interrupt_keeps_the_best_so_far():
    bags, y = made_bags(12)

    def stop(songs, row):
        if row is not None and row["epoch"] == 3:
            raise KeyboardInterrupt

    found = fitted(Training(epochs=50), bags, y, watch=stop)
    assert found.stopped == "interrupted"
    assert len(found.history) == 3


def test_an_interrupt_before_the_first_epoch_is_an_interrupt():
    bags, y = made_bags(12)

    def stop(songs, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(Training(epochs=5), bags, y, watch=stop)


def test_a_training_that_diverges_says_so():
    bags, y = made_bags(12)
    wild = Training(
        optimizer="sgd", learning_rate=1e30, schedule="constant", epochs=5, balance=False
    )
    with pytest.raises(TrainingError, match="diverged"):
        fitted(wild, bags, y)


def test_rare_labels_weigh_more():
    y = np.array([0, 0, 0, 1])
    weights = losses.song_weights(y, 2, SINGLE_LABEL, balance=True)
    assert weights.mean() == pytest.approx(1)
    assert weights[3] == pytest.approx(3 * weights[0])


def test_masks_hide_behind_the_mean():
    rng = np.random.default_rng(0)
    windows = np.ones((2, 50, 30, 8), np.float32)
    augmentation.mask(windows, np.full(8, 5, np.float32), 10, 4, rng)
    assert (windows == 5).any()
    assert set(np.unique(windows)) <= {1, 5}
    assert (windows == 5).all(axis=3).sum(axis=2).max() <= 10


def test_mixup_mixes_inputs_and_targets_alike():
    rng = np.random.default_rng(0)
    targets = np.eye(4, dtype=np.float32)
    windows = targets[:, None, None, :] * np.ones((4, 3, 5, 4), np.float32)
    mixed, mixed_targets = augmentation.mix(windows, targets, 0.4, rng)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2)), mixed_targets, atol=1e-6)
    assert (np.diag(mixed_targets) >= 0.5).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_on_a_gpu_learns_too():
    bags, y = made_bags(30)
    found = fitted(Training(epochs=15, learning_rate=5e-3), bags, y)
    assert found.history[-1]["loss"] < 0.6 * found.history[0]["loss"]


# --- stopped and gone on ----------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"average": 0.9, "keep": "best", "patience": 3}])
def test_going_on_gives_the_weights_of_an_undisturbed_training(changes):
    bags, y = made_bags(18)
    training = Training(epochs=6, dropout=0.3, mixup=0.3, time_mask=5, **{"keep": "last"} | changes)
    held = (bags[:6], y[:6])
    states = []

    def trained(state=None):
        checkpoint = Checkpoint(lambda s: states.append(pickle_round(s)), state, 0.0)
        classes = int(y.max()) + 1
        return train_network((bags, y), classes, training, (44, 13), 3, held, checkpoint=checkpoint)

    whole = trained()
    for state in states[:-1]:
        again = trained(state)
        for name, value in whole.network.state_dict().items():
            assert torch.equal(value, again.network.state_dict()[name])
        assert again.epoch == whole.epoch
        losses = [[row["loss"] for row in found.history] for found in (whole, again)]
        assert losses[0] == losses[1]


def pickle_round(state):
    """The state as it comes back from a file that may hold only tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
