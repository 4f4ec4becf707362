"""Acoustic fingerprints: 32 bits every 48 ms that stay the same after re-encoding.

A fingerprint is a row of *codes* (Haitsma and Kalker [1]_). With L(n, m) the log-mel level
of frame n and band m (33 bands, 0.3 to 4 kHz, frames of 384 ms), bit m of code n is ::

    L(n + 4, m) - L(n + 4, m + 1)  >  L(n, m) - L(n, m + 1)

Gain and any fixed filter drop out of it, and neighbouring frames share most of their
samples, so a copy shifted by half a step flips few bits. Two recordings are compared by the
share of differing bits, the *bit error rate*: about 0.5 for two different recordings, 0.1
for a copy at a low bit rate. Unlike [1]_ the energies are logarithmic and in mel bands, the
step is 48 ms instead of 12 ms, and the difference is over 4 steps, which flips fewer bits.

References
----------
.. [1] Haitsma, Kalker (2002), A highly robust audio fingerprinting system, ISMIR.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from songbag.audio.features import frame_blocks
from songbag.audio.meter import longest_run
from songbag.settings import Sound

Codes = NDArray[np.uint32]

# 8 kHz, because a copy may have passed a telephone or a very low bit rate.
SOUND = Sound(
    sample_rate=8000, frame_length=3072, hop_length=384, mel_bands=33, min_frequency=300.0
)
STEP_SECONDS = SOUND.hop_length / SOUND.sample_rate
SAME_RATE = 0.3  # bit error rate below which two stretches are one recording
_LAG = 4  # steps between the two levels that are compared
_NEAR = 2  # steps around the offset that are tried
_BLOCK = 42  # codes (2 s) that are judged together
_SAME_SHARE = 0.85  # of the blocks, from which on the whole recording is the same
_PART_BLOCKS = 5  # equal blocks in a row (10 s) that make a part of the recording the same


def fingerprint(blocks: Iterable[NDArray[np.float32]]) -> Codes:
    """Return the codes (n,) of a song that arrives in blocks of samples at `SOUND`'s rate.

    Code 0 stands for digital silence: nothing changes in any band.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 30 * 8000).astype(np.float32)
    >>> fingerprint([noise]).shape
    (622,)
    """
    frames = np.concatenate(list(frame_blocks(blocks, SOUND)))
    slopes = frames[:, :-1] - frames[:, 1:]
    rises = slopes[_LAG:] > slopes[:-_LAG]
    places = np.arange(rises.shape[1], dtype=np.uint32)
    codes: Codes = np.sum(rises.astype(np.uint32) << places, axis=1, dtype=np.uint32)
    return codes


@dataclass(frozen=True)
class Match:
    """How far two recordings are the same."""

    offset: int  # steps: code t of the second lies under code t + offset of the first
    bit_error_rate: float  # of all codes that lie over each other
    whole: bool  # the same wherever they lie over each other: at least half of the shorter one
    start: int  # codes of the first between which they are the same without a gap,
    end: int  # equal to the start where they are nowhere the same for 10 s


def compare(first: Codes, second: Codes, offset: int) -> Match:
    """Compare two fingerprints laid over each other at about ``offset`` steps.

    Examples
    --------
    >>> codes = np.random.default_rng(0).integers(1, 1 << 32, 420, dtype=np.uint32)
    >>> match = compare(codes, codes[100:], offset=99)
    >>> match.offset, match.bit_error_rate, match.whole
    (100, 0.0, True)
    """
    offsets = range(offset - _NEAR, offset + _NEAR + 1)
    best = min(offsets, key=lambda steps: _error_rate(*_overlap(first, second, steps)))
    above, below = _overlap(first, second, best)
    same, sounding = _same_blocks(above, below)
    start, end = map(int, longest_run(same, np.arange(len(same) + 1)))
    rate = _error_rate(above, below)
    enough = len(above) >= min(len(first), len(second)) / 2
    mostly = same.sum() >= _SAME_SHARE * sounding.sum()
    whole = bool(enough and mostly and rate <= SAME_RATE)
    if end - start < _PART_BLOCKS:
        end = start
    begin = max(0, best)
    return Match(best, rate, whole, begin + start * _BLOCK, begin + end * _BLOCK)


def _overlap(first: Codes, second: Codes, offset: int) -> tuple[Codes, Codes]:
    """Return the codes of both that lie over each other."""
    first, second = first[max(0, offset) :], second[max(0, -offset) :]
    length = min(len(first), len(second))
    return first[:length], second[:length]


def _error_rate(first: Codes, second: Codes) -> float:
    """Return the share of differing bits where not both are silent, 1 for no sound."""
    count = 32 * int(np.count_nonzero(first | second))
    return float(np.bitwise_count(first ^ second).sum() / count) if count else 1.0


def _same_blocks(first: Codes, second: Codes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell for every 2 s whether both are the same there, and whether there is any sound."""
    if not len(first):
        return np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    starts = np.arange(0, max(1, len(first) - _BLOCK + 1), _BLOCK)
    errors = np.add.reduceat(np.bitwise_count(first ^ second).astype(np.int64), starts)
    bits = 32 * np.add.reduceat(((first | second) != 0).astype(np.int64), starts)
    return (bits > 0) & (errors <= SAME_RATE * bits), bits > 0
