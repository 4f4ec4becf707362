"""The training loop: it learns, repeats itself, stops and goes on."""

import io

import numpy as np
import pytest
import torch

from songbag.errors import TrainingError
from songbag.models.song_network import song_logits
from songbag.settings import Training
from songbag.training.checkpoint import Checkpoint
from songbag.training.trainer import train_network
from tests.helpers.networks import frame_bags, mean_logit


def fitted(training, bags, y, held=None, seed=0, watch=lambda songs, row: None):
    classes = int(y.max()) + 1
    return train_network((bags, y), classes, training, (44, 13), seed, held, watch)


@pytest.mark.parametrize("loss", ["song", "window"])
@pytest.mark.parametrize("network", ["cnn", "mlp"])
@pytest.mark.parametrize("classes", [2, 3])
def test_songs_are_learned(loss, network, classes):
    bags, y = frame_bags(30, classes, seconds=(1.0, 2.0))
    training = Training(network=network, loss=loss, epochs=25, learning_rate=5e-3, keep="last")
    found = fitted(training, bags, y)
    more, truth = frame_bags(30, classes, seconds=(1.0, 2.0), seed=5)
    logits = song_logits(found.network, mean_logit(classes), more)
    assert (logits.argmax(1).numpy() == truth).mean() >= 0.8
    assert found.history[-1]["loss"] < 0.6 * found.history[0]["loss"]


@pytest.mark.parametrize("windows_per_song", [0, 2])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_same_seed_gives_the_same_weights(windows_per_song, average):
    bags, y = frame_bags(12)
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
    bags, y = frame_bags(6)
    fitted(Training(epochs=1), bags, y)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_by_song_loss_is_kept_and_patience_stops():
    bags, y = frame_bags(20)
    held = frame_bags(8, seed=9)
    training = Training(epochs=40, patience=3, keep="best", schedule="constant", learning_rate=0.02)
    found = fitted(training, bags, y, held)
    losses = [row["validation_loss"] for row in found.history]
    assert found.epoch == 1 + int(np.argmin(losses))
    logits = song_logits(found.network, mean_logit(2), held[0])
    kept = torch.nn.functional.cross_entropy(logits, torch.as_tensor(held[1]))
    assert float(kept) == pytest.approx(min(losses), abs=1e-5)
    if found.stopped == "patience":
        assert len(losses) - found.epoch == 3


def test_an_interrupt_keeps_the_best_so_far():
    bags, y = frame_bags(12)

    def stop(songs, row):
        if row is not None and row["epoch"] == 3:
            raise KeyboardInterrupt

    found = fitted(Training(epochs=50), bags, y, watch=stop)
    assert found.stopped == "interrupted"
    assert len(found.history) == 3


def test_an_interrupt_before_the_first_epoch_is_an_interrupt():
    bags, y = frame_bags(12)

    def stop(songs, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(Training(epochs=5), bags, y, watch=stop)


def test_a_training_that_diverges_says_so():
    bags, y = frame_bags(12)
    wild = Training(
        optimizer="sgd", learning_rate=1e30, schedule="constant", epochs=5, balance=False
    )
    with pytest.raises(TrainingError, match="diverged"):
        fitted(wild, bags, y)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_on_a_gpu_learns_too():
    bags, y = frame_bags(30)
    found = fitted(Training(epochs=15, learning_rate=5e-3), bags, y)
    assert found.history[-1]["loss"] < 0.6 * found.history[0]["loss"]


@pytest.mark.parametrize(
    "changes",
    [{}, pytest.param({"average": 0.9, "keep": "best", "patience": 3}, marks=pytest.mark.full)],
)
def test_going_on_gives_the_weights_of_an_undisturbed_training(changes):
    bags, y = frame_bags(18)
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
