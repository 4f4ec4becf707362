"""Songs to batches of real windows: never padded, grouped by their number of windows.

Windows come cut out of the frames (`Cut`), or as whole stretches of frames with starts
(`Shared`), so that a trunk runs once over what overlapping windows have in common. All windows
of a song come shared, a few random ones cut: that is where each is cheaper.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import repeat_frames
from songbag.data.bag import Bag

Array = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Songs with equally many windows: ``windows`` (songs, windows, *window_shape)."""

    songs: Indices
    windows: Array


@dataclass(frozen=True)
class Shared:
    """Songs cut at the same ``starts``: ``frames`` (songs, frames, bands)."""

    songs: Indices
    frames: Array
    starts: Indices


Group = Cut | Shared


def cut_windows(bag: Bag, chosen: Indices, window_frames: int) -> Array:
    """Return windows (chosen, *window_shape) of a bag.

    ``chosen`` are first frames, or window numbers where the bag holds windows.
    """
    if bag.starts is None:
        return np.asarray(bag.features[chosen])
    frames = repeat_frames(bag.features, window_frames)
    views = np.lib.stride_tricks.sliding_window_view(frames, window_frames, axis=0)
    return np.ascontiguousarray(views[chosen].transpose(0, 2, 1))


def window_blocks(bag: Bag, window_frames: int, size: int) -> Iterator[Array]:
    """Yield all windows of a bag (see `cut_windows`), at most ``size`` at once."""
    starts = np.arange(bag.window_count) if bag.starts is None else bag.starts
    for first in range(0, len(starts), size):
        yield cut_windows(bag, starts[first : first + size], window_frames)


def groups(bags: Sequence[Bag], songs: Indices, window_frames: int, share: bool) -> Iterator[Group]:
    """Yield ``songs`` (indices into bags) with all their windows."""
    by_count: dict[int, list[int]] = defaultdict(list)
    for song in songs:
        by_count[bags[song].window_count].append(int(song))
    for count, places in by_count.items():
        members = [bags[place] for place in places]
        starts = members[0].starts
        if starts is None or not share:
            every = [np.arange(count) if bag.starts is None else bag.starts for bag in members]
            cut = [cut_windows(*pair, window_frames) for pair in zip(members, every, strict=True)]
            yield Cut(np.array(places), np.stack(cut))
        else:
            # By the window law starts depend on the number of windows alone, so these songs have
            # the same, and cutting behind the last window makes their frames equally many.
            end = int(starts[-1]) + window_frames
            frames = [repeat_frames(bag.features, window_frames)[:end] for bag in members]
            yield Shared(np.array(places), np.stack(frames), starts)


def random_groups(
    bags: Sequence[Bag],
    songs: Indices,
    windows_per_song: int,
    window_frames: int,
    rng: np.random.Generator,
) -> Iterator[Cut]:
    """Yield ``songs`` with ``windows_per_song`` random windows each, or all they have."""
    by_count: dict[int, list[tuple[int, Array]]] = defaultdict(list)
    for song in songs:
        bag = bags[song]
        count = min(windows_per_song, bag.window_count)
        if bag.starts is None:
            chosen = rng.permutation(bag.window_count)[:count]
        else:  # any frame may begin a window: more windows to learn from than serving has
            chosen = rng.integers(0, max(1, len(bag.features) - window_frames + 1), size=count)
        cut = cut_windows(bag, chosen, window_frames)
        by_count[len(cut)].append((int(song), cut))
    for members in by_count.values():
        indices = np.array([song for song, _ in members])
        yield Cut(indices, np.stack([cut for _, cut in members]))


def streamed(shards: Indices, lanes: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return an order of songs that has at most ``lanes`` shards open at once.

    One permutation over a collection larger than memory would read all shards at once. Here
    shards are dealt to lanes. A lane meets its shards one after another, spread over the whole
    epoch, and the songs of a shard at random moments while its turn lasts. Lanes run beside one
    another, so every batch mixes as many shards as there are lanes.

    Parameters
    ----------
    shards : ndarray, shape (songs,)
        The shard in which each song lies.

    Returns
    -------
    order : ndarray, shape (songs,)
        Every song once. A shard is open from its first song to its last.
    lane : ndarray, shape (songs,)
        The lane of each song, at its place in ``shards``: what one process can read alone.
    """
    names, inverse, sizes = np.unique(shards, return_inverse=True, return_counts=True)
    lane_of, begins = _dealt(sizes, rng.permutation(len(names)), lanes)
    lengths = np.bincount(lane_of, sizes, minlength=lanes)[lane_of]
    moments = (begins[inverse] + sizes[inverse] * rng.random(len(shards))) / lengths[inverse]
    return np.argsort(moments, kind="stable"), lane_of[inverse]


def _dealt(sizes: Indices, turns: Indices, lanes: int) -> tuple[Indices, Indices]:
    """Deal shards to the lane that is shortest; return each shard's lane and first place."""
    lane_of, begins = np.zeros_like(sizes), np.zeros_like(sizes)
    filled = np.zeros(lanes, dtype=np.int64)
    for shard in turns:
        lane = int(filled.argmin())
        lane_of[shard], begins[shard] = lane, filled[lane]
        filled[lane] += sizes[shard]
    return lane_of, begins
