"""Songs to batches of real windows: never padded, grouped by their number of windows.

Two ways to hand windows to a network, with the same numbers: cut out of the frames
(`Cut`), or as whole stretches of frames with starts (`Shared`), so that a trunk runs once
over what overlapping windows have in common. All windows of a song come shared, a few
random ones come cut: that is where each is cheaper (half-overlapping windows repeat every
frame twice; six random ones of 23 touch half of the song).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.bags import Bag
from songbag.sound.windows import filled

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
    frames = filled(bag.features, window_frames)
    views = np.lib.stride_tricks.sliding_window_view(frames, window_frames, axis=0)
    return np.ascontiguousarray(views[chosen].transpose(0, 2, 1))


def _every_window(bag: Bag) -> Indices:
    return np.arange(bag.window_count) if bag.starts is None else bag.starts


def groups(bags: Sequence[Bag], songs: Indices, window_frames: int, share: bool) -> Iterator[Group]:
    """Yield ``songs`` (indices into bags) with all their windows."""
    by_count: dict[int, list[int]] = defaultdict(list)
    for song in songs:
        by_count[bags[song].window_count].append(int(song))
    for members in by_count.values():
        yield _all_windows(bags, np.array(members), window_frames, share)


def _all_windows(bags: Sequence[Bag], songs: Indices, window_frames: int, share: bool) -> Group:
    starts = bags[songs[0]].starts
    if starts is None or not share:
        cut = [cut_windows(bags[s], _every_window(bags[s]), window_frames) for s in songs]
        return Cut(songs, np.stack(cut))
    # By the window law starts depend on the number of windows alone, so these songs have
    # the same, and cutting behind the last window makes their frames equally many.
    end = int(starts[-1]) + window_frames
    frames = np.stack([filled(bags[s].features, window_frames)[:end] for s in songs])
    return Shared(songs, frames, starts)


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
        chosen = _random_windows(bags[song], windows_per_song, window_frames, rng)
        cut = cut_windows(bags[song], chosen, window_frames)
        by_count[len(cut)].append((int(song), cut))
    for members in by_count.values():
        indices = np.array([song for song, _ in members])
        yield Cut(indices, np.stack([cut for _, cut in members]))


def _random_windows(bag: Bag, most: int, window_frames: int, rng: np.random.Generator) -> Indices:
    count = min(most, bag.window_count)
    if bag.starts is None:
        return rng.permutation(bag.window_count)[:count]
    # Any frame may begin a window in training: more windows to learn from than serving has.
    return rng.integers(0, max(1, len(bag.features) - window_frames + 1), size=count)


# --- augmentation -----------------------------------------------------------------------


def masked(
    windows: Array, fill: Array, time_mask: int, band_mask: int, rng: np.random.Generator
) -> Array:
    """Overwrite one random stretch of frames and one of bands in every window.

    SpecAugment (Park et al. 2019, section 2) without warping, one mask of each kind.

    Parameters
    ----------
    windows : ndarray, shape (songs, windows, frames, bands); changed in place
    fill : ndarray, shape (bands,)
        What masked values become: the training mean of each band.
    time_mask, band_mask : int
        Longest masks; lengths are uniform from 0.
    """
    songs, count, frames, bands = windows.shape
    for axis_size, longest, along_time in ((frames, time_mask, True), (bands, band_mask, False)):
        if longest == 0:
            continue
        length = rng.integers(0, min(longest, axis_size) + 1, size=(songs, count, 1))
        first = (rng.random((songs, count, 1)) * (axis_size - length + 1)).astype(np.int64)
        place = np.arange(axis_size)
        hidden = (place >= first) & (place < first + length)
        mask = hidden[..., :, None] if along_time else hidden[..., None, :]
        np.copyto(windows, fill, where=mask)
    return windows


def mixed(
    windows: Array, targets: Array, strength: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Mix every song with another of the batch, input and target alike.

    mixup (Zhang et al. 2018, equation 1) of songs: one weight from Beta(strength,
    strength) a song, the larger share staying with the song itself.
    """
    other = rng.permutation(len(windows))
    share = rng.beta(strength, strength, size=len(windows)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    wide = share.reshape(-1, *[1] * (windows.ndim - 1))
    blended = wide * windows + (1 - wide) * windows[other]
    return blended, share[:, None] * targets + (1 - share[:, None]) * targets[other]
