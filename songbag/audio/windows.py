"""The window law: which frames belong to which window. Nobody else computes starts.

A song of N samples, windows of W = int(seconds * rate) samples every
H = int(hop_seconds * rate), frames every h samples, starts on a grid of s frames::

    windows       = 1 + (N - W) // H        (one if N < W)
    window_frames = 1 + W // h
    start_k       = s * (k * H // (h * s))  frames

The last window always fits into the 1 + N // h frames of the song, starts never drift,
and each is early by less than s frames. A song shorter than one window is repeated until
it fills one. 60 s at the founding settings give 23 windows of 216 frames.
"""

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SettingsError
from songbag.settings import Sound, Windows


def window_and_hop(sound: Sound, windows: Windows) -> tuple[int, int]:
    """Return (window, hop) in samples, refusing a hop that rounds to nothing."""
    window = int(windows.seconds * sound.sample_rate)
    hop = int(windows.hop_seconds * sound.sample_rate)
    if hop < 1 or window < 1:
        raise SettingsError(
            f"windows of {windows.seconds} s every {windows.hop_seconds} s are shorter than "
            f"one sample at {sound.sample_rate} Hz. Make them longer."
        )
    return window, hop


def window_frames(sound: Sound, windows: Windows) -> int:
    """Frames in one window."""
    return 1 + window_and_hop(sound, windows)[0] // sound.hop_length


def window_count(samples: int, sound: Sound, windows: Windows) -> int:
    """Windows in a song of ``samples`` samples: at least one."""
    window, hop = window_and_hop(sound, windows)
    return 1 + max(0, samples - window) // hop


def window_starts(samples: int, sound: Sound, windows: Windows) -> NDArray[np.int64]:
    """First frame of every window, shape (windows,)."""
    _, hop = window_and_hop(sound, windows)
    k = np.arange(window_count(samples, sound, windows), dtype=np.int64)
    grid = sound.hop_length * windows.stride
    return windows.stride * (k * hop // grid)


def start_seconds(starts: NDArray[np.int64], sound: Sound) -> NDArray[np.float64]:
    """Seconds into the song at which windows that begin at frames ``starts`` begin."""
    return starts.astype(np.float64) * (sound.hop_length / sound.sample_rate)


def repeat_frames(frames: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Repeat frames (frames, bands) from their beginning until there are ``count``."""
    if len(frames) >= count:
        return frames
    return frames[np.arange(count) % len(frames)]
