"""The window law: which frames belong to which window. Window starts are computed here only.

A song of N samples, windows of W = int(seconds * rate) samples every
H = int(hop_seconds * rate), frames every h samples, starts on a grid of s frames. Where an
encoder listens, its rows (cells of several frames) are the frames of this law::

    windows       = 1 + (N - W) // H        (1 if N < W)
    window_frames = 1 + W // h
    start_k       = s * (k * H // (h * s))  frames

The last window always fits into the 1 + N // h frames of the song, starts never drift,
and each is early by less than s frames. A song shorter than one window is repeated until
it fills one.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.errors import SettingsError
from songbag.settings import Sound, Windows

_SHORTEST = 1.0  # seconds of a window that is made shorter for short recordings


def window_and_hop(sound: Sound, windows: Windows) -> tuple[int, int]:
    """Return the length of a window and the distance between two starts, in samples."""
    window = int(windows.seconds * sound.sample_rate)
    hop = int(windows.hop_seconds * sound.sample_rate)
    if hop < 1 or window < 1:
        raise SettingsError(
            f"windows of {windows.seconds} s every {windows.hop_seconds} s are shorter than "
            f"one sample at {sound.sample_rate} Hz. Make them longer."
        )
    return window, hop


def shortened(windows: Windows, recording_seconds: float) -> Windows:
    """Return windows of half a recording's length, at least 1 s, where that is shorter.

    >>> shortened(Windows(seconds=5.0, hop_seconds=2.5), 6.0).seconds
    3.0
    """
    seconds = max(_SHORTEST, round(min(recording_seconds, 1e6) / 2, 1))
    if seconds >= windows.seconds:
        return windows
    hop = windows.hop_seconds * seconds / windows.seconds
    return msgspec.structs.replace(windows, seconds=seconds, hop_seconds=hop)


def window_frames(sound: Sound, windows: Windows) -> int:
    """Return the number of frames in a window."""
    return 1 + window_and_hop(sound, windows)[0] // sound.step


def window_count(samples: int, sound: Sound, windows: Windows) -> int:
    """Return the number of windows in a song of ``samples`` samples: at least one."""
    window, hop = window_and_hop(sound, windows)
    return 1 + max(0, samples - window) // hop


def window_starts(samples: int, sound: Sound, windows: Windows) -> NDArray[np.int64]:
    """Return the first frame of every window, shape (windows,).

    Examples
    --------
    >>> window_starts(12 * 22050, Sound(), Windows(seconds=5.0, hop_seconds=2.5))
    array([  0, 107, 215])
    """
    _, hop = window_and_hop(sound, windows)
    k = np.arange(window_count(samples, sound, windows), dtype=np.int64)
    grid = sound.step * windows.stride
    return windows.stride * (k * hop // grid)


def start_seconds(starts: NDArray[np.int64], sound: Sound) -> NDArray[np.float64]:
    """Return the seconds into the song at which windows that begin at frames ``starts`` begin."""
    return starts.astype(np.float64) * (sound.step / sound.sample_rate)


def repeat_frames(frames: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return frames (frames, bands), repeated from their beginning if fewer than ``count``."""
    if len(frames) >= count:
        return frames
    return frames[np.arange(count) % len(frames)]
