"""Batches of songs, and an order for collections larger than memory."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from songbag.data import batches
from songbag.data.batches import streamed
from tests.helpers.networks import frame_bags


@pytest.mark.parametrize("share", [True, False])
def test_groups_hold_every_song_once_and_nothing_padded(share):
    bags, _ = frame_bags(11)
    seen = []
    for group in batches.groups(bags, np.arange(11), 44, share):
        counts = {bags[song].window_count for song in group.songs}
        assert len(counts) == 1
        if isinstance(group, batches.Cut):
            assert group.windows.shape[:2] == (len(group.songs), counts.pop())
        seen += group.songs.tolist()
    assert sorted(seen) == list(range(11))


def test_cut_windows_are_slices_of_the_frames():
    bags, _ = frame_bags(3)
    bag = bags[2]
    cut = batches.cut_windows(bag, bag.starts, 44)
    for window, start in zip(cut, bag.starts, strict=True):
        assert (window == bag.features[start : start + 44]).all()


@settings(max_examples=30, deadline=None)
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
