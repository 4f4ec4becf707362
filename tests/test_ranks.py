"""Several processes train as one; an order for collections larger than memory."""

import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from songbag.learning.ranks import Ranks
from songbag.learning.streams import streamed
from tests import killing, ranked_work

PLAIN = {
    "windows_per_song": 0,
    "optimizer": "sgd",
    "schedule": "constant",
    "learning_rate": 0.05,
    "epochs": 1,
    "keep": "last",
    "weight_decay": 0.0,
}


def fitted(count, out, settings, **more):
    """Train in ``count`` processes; return weights and losses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    work = killing.Forked(ranked_work.train)
    processes = []
    for rank in range(count):
        work.arguments = (rank, count, port, out, settings)
        processes.append(work.started(more))
    for process in processes:
        process.join(120)
        if process.exitcode != 0 and not more.get("stop"):
            raise AssertionError(process.exitcode)
        process.kill()
    return load_file(out) if out.exists() else None


@pytest.mark.parametrize("network", ["cnn", "founding"])
def test_two_processes_step_as_one(tmp_path, network):
    settings = PLAIN | {"network": network}  # batches of 8, 8 and 3 songs; 13 of one label, 6
    one, two = (fitted(n, tmp_path / f"{n}.safetensors", settings) for n in (1, 2))
    assert abs(one["losses"] - two["losses"]).max() < 1e-5
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


def test_ranks_share_a_batch():
    songs = np.arange(10, 15)
    shares = [Ranks(rank, 2).share(songs) for rank in range(2)]
    assert [part.tolist() for part, _ in shares] == [[10, 12, 14], [11, 13]]
    assert Ranks().share(songs) == (songs, 1.0)
    by_lane = [Ranks(rank, 2).share(songs, np.array([0, 3, 2, 2, 0]))[0] for rank in range(2)]
    assert [part.tolist() for part in by_lane] == [[10, 12, 13, 14], [11]]
    for rank in range(3):  # one song for three: each takes a third of its loss
        part, counts = Ranks(rank, 3).share(songs[:1])
        assert (part.tolist(), counts) == ([10], 1 / 3)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    lanes=st.integers(1, 15),
    seed=st.integers(0, 2**32),
)
def test_a_stream_meets_every_song_once_and_few_shards_at_a_time(sizes, lanes, seed):
    shards = np.repeat(np.arange(len(sizes)) * 3, sizes)
    order, lane = streamed(shards, lanes, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(shards)))
    met = shards[order]
    ends = {
        shard: (np.argmax(met == shard), len(met) - np.argmax(met[::-1] == shard)) for shard in met
    }
    for place in range(len(met)):
        assert sum(first <= place < end for first, end in ends.values()) <= lanes
    for shard in set(met):
        assert len(set(lane[shards == shard])) == 1  # one process can have it for its own
    again, _ = streamed(shards, lanes, np.random.default_rng(seed))
    assert again.tolist() == order.tolist()


def test_a_stream_mixes_its_shards():
    shards = np.repeat(np.arange(32), 100)
    rng = np.random.default_rng(0)
    order, lane = streamed(shards, 8, rng)
    assert np.bincount(lane).tolist() == [400] * 8
    batches = shards[order].reshape(-1, 8)
    different = np.mean([len(set(batch)) for batch in batches])
    assert different > 4.9  # of 8 songs from 8 shards at random: 5.25
    other, _ = streamed(shards, 8, rng)
    assert np.mean(order == other) < 0.01
    inside = np.diff([song for song in order if song < 100])  # no song follows its neighbour
    assert np.mean(inside == 1) < 0.1
