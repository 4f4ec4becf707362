"""Songs as a phone line, a codec, a loud master or an audience would leave them, to be predicted.

Nothing is stored: a song is decoded, changed in memory as mono samples at its own rate, written as
a temporary file and read as any other file.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import AudioReport, Source, local_source
from songbag.audio.extract import decode_rows, read_header, read_samples
from songbag.audio.features import Frames
from songbag.audio.waveform import Samples, read_blocks, write_waveform
from songbag.data.audio_dataset import AudioInput
from songbag.data.dataset import Recording
from songbag.data.song import Song
from songbag.data.waveform_dataset import Waveform, write_samples
from songbag.settings import Sound

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
    """Add claps at random moments, 80 a second, in all 6 dB below the song; the same each time."""
    rng = np.random.default_rng(0)
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


@dataclass(frozen=True)
class ChangedInput:
    """A song in an audio file, changed by one of `CHANGES` (see `SongInput`)."""

    original: AudioInput
    change: str
    windows: None = None
    decodes: bool = True

    @property
    def song(self) -> Song:
        """The song as it is in the table."""
        return self.original.song

    def frames(self, sound: Sound) -> tuple[Iterator[Frames], Callable[[], Recording]]:
        """Decode and change the song, and return the frames of that."""
        report, of_file = AudioReport(), self.original

        def decoded() -> Iterator[Frames]:
            with local_source(of_file.source, of_file.limits) as source:
                own = read_header(source.path, of_file.limits).native_rate
                rate = own if own in _MP3_RATES else _OTHER_RATE
                samples = read_samples(source, rate, of_file.limits)
            with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
                path = Path(folder, "changed.wav")
                write_samples(path, CHANGES[self.change](samples, rate))
                yield from decode_rows(
                    Source(path=str(path)), sound, report, of_file.limits, of_file.cache
                )

        return decoded(), lambda: Recording(report.samples, report.level_db, report.warnings())
