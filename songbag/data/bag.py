"""A bag: all windows of one song, with the song they belong to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """One song as a network sees it.

    ``features`` are frames (frames, bands) that windows are cut from at ``starts`` (windows,), or,
    where ``starts`` is None, the windows themselves (windows, ...).
    """

    song: Song
    features: NDArray[np.float32]
    starts: NDArray[np.int64] | None = None
    level_db: float | None = None  # of the recording, dB of full scale; None without audio
    samples: int = 0  # of the recording at the sound's rate; 0 without audio
    windows: tuple[str, ...] = ()  # names in a table; empty where they are numbered
    warnings: tuple[str, ...] = ()  # what a listener should know about the recording
    labelled_share: float = 1.0  # of its sound: a labelled span may be shorter than a window

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
