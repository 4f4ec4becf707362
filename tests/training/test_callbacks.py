import numpy as np
import pytest

import songbag
from songbag.errors import SettingsError


class Record(songbag.Callback):
    def __init__(self, stop_after=None):
        self.epochs, self.ends, self.stop_after = [], [], stop_after

    def on_epoch(self, epoch, figures):
        self.epochs.append((epoch, dict(figures)))
        if epoch == self.stop_after:
            raise KeyboardInterrupt

    def on_end(self, figures):
        self.ends.append(figures)


@pytest.fixture(scope="module")
def bags():
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(24), 4)
    labels = np.array(["a", "b"])[songs % 2]
    windows = rng.standard_normal((len(songs), 5)) + (songs % 2)[:, None]
    return songbag.bags_from_arrays(windows, labels, songs)


def test_every_epoch_and_the_end_are_reported(bags):
    record = Record()
    result = songbag.train(
        bags, recipe="mlp", epochs=3, folds=0, keep="best", quiet=True, callbacks=[record]
    )
    assert [epoch for epoch, _ in record.epochs] == [1, 2, 3]
    assert [figures["loss"] for _, figures in record.epochs] == list(result.history["loss"])
    assert all(figures["network"] == "mlp" for _, figures in record.epochs)
    assert "validation_loss" in record.epochs[0][1]
    assert record.ends == [result.metrics]


@pytest.mark.full
def test_members_and_solved_networks_are_reported(bags):
    record = Record()
    songbag.train(bags, recipe="mlp", epochs=2, folds=3, quiet=True, callbacks=[record])
    members = [(figures["member"], epoch) for epoch, figures in record.epochs]
    assert members == [(member, epoch) for member in (1, 2, 3) for epoch in (1, 2)]
    solved = Record()
    songbag.train(bags, quiet=True, callbacks=[solved])
    assert solved.epochs and all(epoch == 1 for epoch, _ in solved.epochs)
    assert all(figures["loss"] > 0 for _, figures in solved.epochs)
    assert len(solved.ends) == 1


def test_an_interrupt_ends_a_network_with_its_best_weights(bags):
    record = Record(stop_after=2)
    result = songbag.train(bags, recipe="mlp", epochs=9, folds=0, quiet=True, callbacks=[record])
    assert len(record.epochs) == len(result.history) == 2


def test_what_cannot_be_called_is_refused_before_songs_are_read():
    for wrong in (print, Record, object()):
        with pytest.raises(SettingsError, match="has no method on_epoch"):
            songbag.train("no such table.csv", callbacks=[wrong])
