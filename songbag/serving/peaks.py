"""How loud a recording is over time, for drawing it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.settings import Limits
from songbag.sound import audio

_RATE = 8000  # Hz: nothing that a drawing shows lies higher
_STEP = 80  # samples a fine peak: 10 ms
MOST = 2000  # peaks a drawing has at most


def read_peaks(path: str | Path, limits: Limits) -> tuple[NDArray[np.float32], float]:
    """Return the largest magnitudes (at most `MOST`,) over equal spans, and the seconds.

    The whole file is drawn, whatever part of it a model hears.

    Raises
    ------
    AudioError
        As in `songbag.sound.audio.read_blocks`.
    """
    report = audio.AudioReport()
    fine, rest = [], np.zeros(0, dtype=np.float32)
    for block in audio.read_blocks(path, _RATE, report, limits=limits):
        values = np.abs(np.concatenate([rest, block]))
        whole = len(values) // _STEP * _STEP
        fine.append(values[:whole].reshape(-1, _STEP).max(axis=1))
        rest = values[whole:]
    if len(rest):
        fine.append(rest.max(keepdims=True))
    every = np.concatenate(fine)
    edges = np.linspace(0, len(every), min(MOST, len(every)) + 1).astype(int)[:-1]
    return np.maximum.reduceat(every, edges), report.samples / _RATE
