"""A bag: all windows of one song, with the song they belong to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """One song as a network sees it.

    Attributes
    ----------
    song : Song
    features : ndarray, float32
        Frames (frames, bands) that windows are cut from, or, when ``starts`` is None,
        the windows themselves (windows, ...).
    starts : ndarray of int64, shape (windows,), or None
        First frame of every window.
    level_db : float or None
        Level of the recording, dB of full scale; None where there was no audio.
    samples : int
        Samples of the recording at the sound's rate; 0 where there was no audio.
    windows : tuple of str
        Names of the windows of a table; empty where they are numbered.
    warnings : tuple of str
        What a listener should know about the recording.
    """

    song: Song
    features: NDArray[np.float32]
    starts: NDArray[np.int64] | None = None
    level_db: float | None = None
    samples: int = 0
    windows: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The song's id."""
        return self.song.id

    @property
    def label(self) -> str | None:
        """The song's label, if known."""
        return self.song.label

    @property
    def window_count(self) -> int:
        """Number of windows, at least one."""
        return len(self.features if self.starts is None else self.starts)
