"""The bag: all windows of one song, with the song's name on it.

Everything before it makes bags (from audio, from a table of windows); everything after
it (splits, networks, poolings, evaluation) sees only bags.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """One song as the network sees it.

    Attributes
    ----------
    id : str
        The song's id: it comes out of every step exactly once.
    features : ndarray, float32
        Frames (frames, bands) that windows are cut from, or, when ``starts`` is None,
        the windows themselves (windows, ...).
    starts : ndarray of int64, shape (windows,), or None
        First frame of every window.
    label : str or None
        The truth, if known.
    group : str
        What must not be on two sides of a split: the artist if known, else the id.
    level_db : float or None
        Level of the recording, dB of full scale; None where there was no audio.
    samples : int
        Samples heard, at the sound's rate; 0 where there was no audio.
    windows : tuple of str
        Names of the windows of a table; empty where they are numbered.
    warnings : tuple of str
        What a listener should know about the recording.
    """

    id: str
    features: NDArray[np.float32]
    starts: NDArray[np.int64] | None = None
    label: str | None = None
    group: str = ""
    level_db: float | None = None
    samples: int = 0
    windows: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_starts(self, starts: NDArray[np.int64]) -> "Bag":
        """Return the same song cut at other starts."""
        return replace(self, starts=starts)

    @property
    def window_count(self) -> int:
        """Number of windows, at least one."""
        return len(self.features) if self.starts is None else len(self.starts)
