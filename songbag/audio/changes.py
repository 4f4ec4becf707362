"""Songs as a phone line, a codec, a loud master or an audience would leave them.

A song is changed as mono samples, at its own rate or one that mp3 has.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import AudioReport
from songbag.audio.waveform import Samples, Waveform, read_blocks, write_samples, write_waveform

_MP3_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz
_OTHER_RATE = 44_100  # Hz to which files of other rates are brought
_SEMITONE = 2 ** (1 / 12)
_LINE_HZ = (300.0, 3400.0)  # that a telephone line sampled at 8 kHz passes (ITU-T G.712)
_APPLAUSE_DB = -6.0  # of the song's level
_CLAPS = 80  # a second
_HANDS = 16  # different claps


def as_mp3(samples: Samples, rate: int) -> Waveform:
    """Code as mono mp3 of 64 kbit/s and decode again."""
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        path = Path(folder, "coded.mp3")
        write_waveform(path, np.clip(samples, -1, 1), rate, 64_000)
        return np.concatenate(list(read_blocks(path, rate, AudioReport()))), rate


def by_telephone(samples: Samples, rate: int) -> Waveform:
    """Keep 300 to 3400 Hz, what a telephone line sampled at 8 kHz passes."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum[(hertz < _LINE_HZ[0]) | (hertz > _LINE_HZ[1])] = 0
    return np.fft.irfft(spectrum, len(samples)), rate


def too_loud(samples: Samples, rate: int) -> Waveform:
    """Make it 6 dB louder, and clip what exceeds full scale."""
    return np.clip(samples * np.float32(10 ** (6 / 20)), -1, 1), rate


def faster(samples: Samples, rate: int) -> Waveform:
    """Play it faster by a semitone: pitch and tempo rise by 5.9 %."""
    return samples, round(rate * _SEMITONE)


def slower(samples: Samples, rate: int) -> Waveform:
    """Play it slower by a semitone: pitch and tempo fall by 5.6 %."""
    return samples, round(rate / _SEMITONE)


def with_applause(samples: Samples, rate: int) -> Waveform:
    """Add claps at random moments, 80 a second, in all 6 dB below the song.

    A song has always the same applause, and every song another.
    """
    rng = np.random.default_rng(list(hashlib.blake2b(samples.tobytes(), digest_size=8).digest()))
    seconds = np.arange(0, 0.04, 1 / rate)
    hands = rng.standard_normal((_HANDS, len(seconds))) * np.exp(-seconds / 0.008)
    noise = np.zeros(len(samples) + len(seconds))
    for start in rng.integers(len(samples), size=max(1, round(_CLAPS * len(samples) / rate))):
        loudness = rng.uniform(0.2, 1)
        noise[start : start + len(seconds)] += loudness * hands[rng.integers(_HANDS)]
    noise = noise[: len(samples)]
    noise *= 10 ** (_APPLAUSE_DB / 20) * _level(samples) / _level(noise)
    return (samples + noise).astype(np.float32), rate


def middle(samples: Samples, rate: int) -> Waveform:
    """Take the middle 10 seconds; of a shorter song all."""
    start = max(0, (len(samples) - 10 * rate) // 2)
    return samples[start : start + 10 * rate], rate


def _level(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


CHANGES: dict[str, Callable[[Samples, int], Waveform]] = {
    "mp3 64 kbit/s": as_mp3,
    "telephone": by_telephone,
    "6 dB louder, clipped": too_loud,
    "semitone up": faster,
    "semitone down": slower,
    "applause": with_applause,
    "middle 10 s": middle,
}


def write_changed(path: Path, change: str, samples: Samples, rate: int) -> None:
    """Write mono samples (samples,) with one of `CHANGES` as a WAV file.

    ``rate`` in Hz should be one of `workable_rate`.
    """
    write_samples(path, CHANGES[change](samples, rate))


def workable_rate(rate: int) -> int:
    """Return the rate in Hz at which a song recorded at another is changed."""
    return rate if rate in _MP3_RATES else _OTHER_RATE
