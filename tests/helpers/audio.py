"""Whole files as one waveform."""

import numpy as np

from songbag.audio.audio_file import AudioReport
from songbag.audio.waveform import read_blocks


def read_waveform(path, sample_rate, span=(0.0, None)):
    """Return a whole file as one mono waveform (samples,), and the report of reading it."""
    report = AudioReport()
    blocks = list(read_blocks(path, sample_rate, report, span))
    return np.concatenate(blocks), report
