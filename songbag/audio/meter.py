"""Measure the sound of a song while it is decoded, and say what of it misleads a model.

Everything is measured at the file's own rate, before the mix of the channels is resampled: what
misleads is what resampling hides. The level and silence of the mix are of all samples. The
single channels are measured in every third tenth of a second, and the spectrum in a frame of
0.05 s every 1.4 s, so that measuring takes a few per cent of extraction.

A steady tone is told from music by the geometric mean of its power over time: it is near the
arithmetic mean for a hum, and far below it for a note that ends. Mains hum is sought in
frames of 4 s, which tell 50 and 60 Hz from the notes beside them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import truediv
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.audio.features import hann
from songbag.settings import Record

Samples = NDArray[np.float32]

FULL_SCALE = 0.999  # of full scale: as loud as a 16-bit file gets
_PIECE = 10  # pieces a second whose level is judged
_SPARSE = 3  # one of so many of these is measured in the single channels
_SILENT_DB = -70.0  # level below which such a piece is silent
_NOTHING_DB = -80.0  # level below which a whole song is silent
_EMPTY = 1e-10  # mean square below which a frame is left out of a spectrum
_FRAMES, _APART = 21.5, 1.4  # frames of a spectrum: 1 / seconds, and seconds between two
_AT_ONCE = 16  # frames transformed together
_STEP = 100  # Hz: of the spectrum that says where the energy lies
_LOWEST = 2  # bins of a frame that a constant reaches
_INAUDIBLE = 1e-8  # share of the energy below which a step of the spectrum holds nothing
_SLOW = 500  # Hz, about: the rate at which mains hum is sought
_SLOW_FRAME = 2048  # samples of a frame of that, about 4 s
_MAINS = (50, 60)  # Hz
_HARMONICS = 3
_ENOUGH = 3  # frames from which on a spectrum is judged

# What to do about a fault of a file or of its sound, by its kind.
ADVICE = {
    "silent": "Replace the file, or leave the song out.",
    "cancelling": "Invert one of its channels, or use one of them alone.",
    "one_sided": "Find the whole recording, or use that channel alone.",
    "truncated": "Get the whole file again.",
    "damaged": "Get the file again, or convert it anew.",
    "length": "Convert it anew if it is whole, else get it again.",
    "unheard": "Train with --encoder none and a --set sound.sample_rate that holds it.",
    "narrow": "Find a source of full bandwidth, or train with songs like it.",
    "hum": "Filter it out, or find a better source.",
    "silence": "Cut it off, or give the song a start and an end.",
    "clipped": "Look for a better source.",
}


class SoundFacts(Record, frozen=True):
    """What was measured of the sound of a song.

    ``level_db`` is the root mean square level of the mono mix and ``channels_db`` that of each
    channel, dB of full scale. ``clipped_share`` of all samples are at full scale, and
    ``silent_share`` of the tenths of a second below -70 dB; ``silence`` is the longest such
    stretch, (start, end) of ``seconds``. Half of the energy lies above ``half_energy_hz``, and
    none above ``highest_hz``: less than -80 dB of the whole in any 100 Hz. The steadiest tone,
    at ``tone_hz``, holds ``tone_share`` of the energy. The loudest line of mains hum is of
    ``hum_hz`` (0 for none) and lies ``hum_db`` beside the level.
    """

    seconds: float = 0.0
    level_db: float = -100.0
    channels_db: tuple[float, ...] = ()
    clipped_share: float = 0.0
    silent_share: float = 0.0
    silence: tuple[float, float] = (0.0, 0.0)
    half_energy_hz: float = 0.0
    highest_hz: float | None = None  # None: too short, or too quiet
    tone_hz: float = 0.0
    tone_share: float = 0.0
    hum_hz: int = 0
    hum_db: float = -100.0

    @property
    def cancels(self) -> bool:
        """Whether the mono mix has less than a tenth of the channels' mean energy."""
        loudest = max(self.channels_db, default=-100.0)
        mean = float(np.mean([10 ** (level / 10) for level in self.channels_db or (-100.0,)]))
        return loudest > _NOTHING_DB and 10 ** (self.level_db / 10) < mean / 10

    @property
    def silent(self) -> bool:
        """Whether the level is below -80 dB, or 99 % of the song below -70 dB."""
        return self.level_db < _NOTHING_DB or self.silent_share > 0.99


# --- what misleads ---

_AT_FULL_SCALE = 0.02  # share of samples at full scale; loud masters stay below 1.5 %
_ONE_SIDED_DB = 40.0  # between two channels: what a codec or a cable leaks lies below that
# Hz, kept between these shares of what is listened to. Songs of Emotify reach 8.1 kHz at the
# least, as mp3 of 64 kbit/s too; a telephone reaches 4 kHz, an mp3 of 16 kbit/s 5.8 kHz.
_NARROW_HZ, _LEAST, _MOST = 5900.0, 0.5, 0.75
_HUM_DB = -25.0  # beside the level of the song
_TONE_SHARE, _TONE_HZ = 0.5, 200.0  # lower steady tones are basses of electronic music
_SILENCE_SECONDS, _SILENCE_SHARE, _MOST_SILENT = 10.0, 0.2, 0.5


def sound_faults(facts: SoundFacts, sample_rate: int) -> Iterator[tuple[str, str]]:
    """Yield what misleads a model that listens at ``sample_rate`` Hz: a kind of `ADVICE`, words.

    Examples
    --------
    >>> facts = SoundFacts(level_db=-20, seconds=60, highest_hz=4000, half_energy_hz=500)
    >>> list(sound_faults(facts, 16000))
    [('narrow', 'it has nothing above 4 kHz, and 0 to 8 kHz are listened to')]
    """
    if facts.clipped_share > _AT_FULL_SCALE:
        yield "clipped", f"{100 * facts.clipped_share:.1f} % of its samples are at full scale"
    if facts.cancels:
        mix = f"their mix is {max(facts.channels_db) - facts.level_db:.0f} dB below them"
        yield "cancelling", f"its channels cancel each other, and {mix}"
        return  # nothing else holds of the song that was meant
    if facts.silent:
        share = f"{100 * facts.silent_share:.0f} % of it lies below {_SILENT_DB:g} dB"
        yield "silent", f"its level is {facts.level_db:.0f} dB of full scale, {share}"
        return
    if len(facts.channels_db) == 2:  # of more, such as surround, some are often silent
        left, right = facts.channels_db
        if abs(left - right) > _ONE_SIDED_DB:
            names = ("left", "right") if left > right else ("right", "left")
            other = f"the {names[1]} one is {abs(left - right):.0f} dB below it"
            yield "one_sided", f"only its {names[0]} channel holds sound, {other}"
    highest = sample_rate / 2
    narrow = float(np.clip(_NARROW_HZ, _LEAST * highest, _MOST * highest))
    if facts.half_energy_hz > highest:
        half = f"half of its energy lies above {facts.half_energy_hz:.0f} Hz"
        yield "unheard", f"{half}, and nothing above {highest:g} Hz is listened to"
    elif facts.highest_hz is not None and facts.highest_hz < narrow:
        top = f"it has nothing above {facts.highest_hz / 1000:.2g} kHz"
        yield "narrow", f"{top}, and 0 to {highest / 1000:g} kHz are listened to"
    if facts.hum_db > _HUM_DB:
        beside = f"{abs(facts.hum_db):.0f} dB {'below' if facts.hum_db < 0 else 'above'}"
        yield "hum", f"mains hum of {facts.hum_hz} Hz, {beside} the level of the song"
    elif facts.tone_share > _TONE_SHARE and facts.tone_hz > _TONE_HZ:
        share = f"{100 * facts.tone_share:.0f} % of its energy"
        yield "hum", f"a steady tone at {facts.tone_hz:.0f} Hz holds {share} from start to end"
    start, end = facts.silence
    long = end - start >= max(_SILENCE_SECONDS, _SILENCE_SHARE * facts.seconds)
    if long or facts.silent_share > _MOST_SILENT:
        place = "at its end" if end > facts.seconds - 0.2 else f"from {start:.0f} s on"
        place = "at its start" if start < 0.2 else place
        share = f"{100 * facts.silent_share:.0f} % of it is silence"
        yield "silence", f"{share}, {end - start:.0f} s in a row {place}"


def warnings_of(kind: str, warnings: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings of one kind, as `songbag.audio.audio_file.AudioReport` words them."""
    return tuple(text for text in warnings if text.startswith(f"{kind}: "))


# --- measuring ---


class Meter:
    """Measures blocks of a song as they are decoded.

    >>> meter = Meter()
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 8000).astype(np.float32)
    >>> meter.add(8000, [tone, -tone], 0 * tone)
    >>> facts = meter.facts()
    >>> round(facts.seconds), facts.cancels
    (2, True)
    """

    def __init__(self) -> None:
        self._clipped = 0
        self._energies: list[float] = []  # of each channel
        self._counts: list[int] = []  # samples of each channel
        self._energy: list[Samples] = []  # of the pieces of the mix
        self._lengths: list[float] = []  # seconds of each
        self._sizes: list[int] = []  # samples of each
        self._spectra: dict[int, _Spectrum] = {}  # by rate: a concatenated file has several
        self._slow: dict[int, _SlowSpectrum] = {}

    def add(self, rate: int, channels: Sequence[Samples], mono: Samples) -> None:
        """Add a block: the samples (n,) of each channel and of their mix, full scale at 1."""
        for place, channel in enumerate(channels):
            if place == len(self._counts):
                self._counts.append(0)
                self._energies.append(0.0)
            pieces = _pieces(rate, channel)[0][::_SPARSE]
            self._counts[place] += pieces.size
            self._energies[place] += float(np.einsum("ij,ij->", pieces, pieces))
            if max(pieces.max(), -pieces.min()) >= FULL_SCALE:
                self._clipped += int(np.count_nonzero(np.abs(pieces) >= FULL_SCALE))
        for pieces in _pieces(rate, mono):
            self._energy.append(np.einsum("ij,ij->i", pieces, pieces))
            self._lengths += [pieces.shape[1] / rate] * len(pieces)
            self._sizes += [pieces.shape[1]] * len(pieces)
        if rate not in self._spectra:
            self._spectra[rate] = _Spectrum(rate, 1 << round(np.log2(rate / _FRAMES)))
            self._slow[rate] = _SlowSpectrum(rate)
        self._spectra[rate].add(mono, max(1, round(_APART * rate)))
        self._slow[rate].add(mono)

    def facts(self) -> SoundFacts:
        """Return what was measured; of a file with several rates the spectrum of the longest."""
        if not self._energy:
            return SoundFacts()
        lengths, sizes = np.array(self._lengths), np.array(self._sizes)
        power = np.concatenate(self._energy) / sizes
        total = float(lengths.sum())
        level = float((lengths * power).sum()) / total
        silent = power < 10 ** (_SILENT_DB / 10)
        rate = max(self._spectra, key=lambda rate: self._spectra[rate].samples)
        spectrum = self._spectra[rate]
        spectrum.transform()
        tone_hz, tone_share = spectrum.steadiest()
        hum_hz, hum = self._slow[rate].hum()
        levels = map(truediv, self._energies, self._counts)
        return SoundFacts(
            seconds=total,
            level_db=_decibels(level),
            channels_db=tuple(map(_decibels, levels)),
            clipped_share=self._clipped / sum(self._counts),
            silent_share=float(lengths[silent].sum()) / total,
            silence=longest_run(silent, np.concatenate([[0.0], np.cumsum(lengths)])),
            half_energy_hz=spectrum.half_energy_hz(),
            highest_hz=spectrum.highest_hz(),
            tone_hz=tone_hz,
            tone_share=tone_share,
            hum_hz=hum_hz,
            hum_db=10 * float(np.log10(hum / level + 1e-10)) if level else -100.0,
        )


def _pieces(rate: int, block: Samples) -> list[Samples]:
    """Return the tenths of a second of a block, (pieces, samples), and apart what is left."""
    size = max(1, rate // _PIECE)
    whole = len(block) // size * size
    rows = block[:whole].reshape(-1, size), block[whole:].reshape(1, -1)
    return [pieces for pieces in rows if pieces.size]


def _decibels(power: float) -> float:
    return 10 * float(np.log10(np.clip(np.nan_to_num(power), 1e-10, 1e10)))


def longest_run(flags: NDArray[np.bool_], edges: NDArray[Any]) -> tuple[float, float]:
    """Return the edges of the longest run of True; flag n lies between edges n and n + 1."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    spans = [(float(edges[a]), float(edges[b])) for a, b in zip(turns[::2], turns[1::2])]
    return max(spans, key=lambda span: span[1] - span[0], default=(0.0, 0.0))


@dataclass
class _Spectrum:
    """Means over time of the power of frames, in mean squares a bin."""

    rate: float
    length: int  # samples of a frame
    samples: int = 0
    waiting: list[Samples] = field(default_factory=list)  # frames: many at once cost half
    frames: int = 0
    power: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    logarithm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, block: Samples, step: int) -> None:
        """Add a frame of the block every ``step`` samples."""
        self.samples += len(block)
        starts = range(0, len(block) - self.length + 1, step)
        # Copies: a view would keep the block, and the next could not take its place in the cache.
        self.waiting += [block[start : start + self.length].copy() for start in starts]
        if len(self.waiting) >= _AT_ONCE:
            self.transform()

    def transform(self) -> None:
        """Add the power of the frames that wait; empty ones are left out."""
        if not self.waiting:
            return
        window = hann(self.length)
        scale = np.float32(2 / (self.length * np.square(window).sum()))  # a bin's mean squares
        spectrum = np.fft.rfft(np.array(self.waiting) * window)
        self.waiting.clear()
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        power *= scale
        power[:, :_LOWEST] = 0
        power = power[power.sum(axis=1) > _EMPTY]
        lines = power.copy()  # a tone lies in three bins
        lines[:, 1:] += power[:, :-1]
        lines[:, :-1] += power[:, 1:]
        if not self.frames:
            self.power = self.logarithm = np.zeros(power.shape[1])
        self.frames += len(power)
        self.power = self.power + power.sum(axis=0, dtype=np.float64)
        logarithm = np.log(np.maximum(lines, np.float32(1e-20)))
        self.logarithm = self.logarithm + logarithm.sum(axis=0, dtype=np.float64)

    @property
    def steady(self) -> NDArray[np.float64]:
        """The geometric mean over time of the power of a line at each bin."""
        lines: NDArray[np.float64] = np.exp(self.logarithm / self.frames)
        return lines

    def hertz(self, place: int) -> float:
        """Return the frequency of a bin."""
        return place * self.rate / self.length

    def by_steps(self) -> NDArray[np.float64]:
        """Return the power in steps of 100 Hz."""
        steps = np.arange(len(self.power)) * self.rate / self.length / _STEP
        return np.bincount(steps.astype(int), self.power).astype(np.float64)

    def half_energy_hz(self) -> float:
        """Return the frequency above which half of the energy lies, to 100 Hz."""
        below = np.cumsum(self.by_steps()) if self.frames else np.zeros(1)
        return float(_STEP * np.searchsorted(below, below[-1] / 2)) if below[-1] else 0.0

    def highest_hz(self) -> float | None:
        """Return the frequency above which no 100 Hz hold any energy, None if unknown."""
        if self.frames < _ENOUGH:
            return None
        power = self.by_steps()
        audible = np.flatnonzero(power > _INAUDIBLE * power.sum())
        return float(min(_STEP * (audible[-1] + 1), self.rate / 2))

    def steadiest(self) -> tuple[float, float]:
        """Return the frequency of the steadiest tone, and its share of the energy."""
        if self.frames < _ENOUGH:
            return 0.0, 0.0
        place = int(np.argmax(self.steady))
        share = self.steady[place] * self.frames / self.power.sum()
        return self.hertz(place), min(1.0, float(share))


class _SlowSpectrum:
    """The spectrum below 250 Hz, in frames of seconds."""

    def __init__(self, rate: int) -> None:
        self._width = max(1, rate // _SLOW)  # samples whose mean is taken
        self._spectrum = _Spectrum(rate / self._width, _SLOW_FRAME)
        self._rest = self._means = np.zeros(0, dtype=np.float32)

    def add(self, block: Samples) -> None:
        block = np.concatenate([self._rest, block])
        whole = len(block) // self._width * self._width
        self._rest = block[whole:].copy()
        means = np.einsum("ij->i", block[:whole].reshape(-1, self._width)) / self._width
        means = np.concatenate([self._means, means])
        step = self._spectrum.length // 2
        frames = len(means) // step - 1
        if frames > 0:
            self._spectrum.add(means, step)
            means = means[frames * step :]
        self._means = means

    def hum(self) -> tuple[int, float]:
        """Return the mains frequency of the loudest line of hum, and its power; zeros for none.

        A line stands 10 dB above all that lies from 0.75 to 2 Hz beside it.
        """
        spectrum, loudest = self._spectrum, (0, 0.0)
        spectrum.transform()
        if spectrum.frames < _ENOUGH:
            return loudest
        lines = spectrum.steady
        for mains in _MAINS:
            for harmonic in range(1, _HARMONICS + 1):
                middle = round(mains * harmonic * spectrum.length / spectrum.rate)
                place = middle - 2 + int(np.argmax(lines[middle - 2 : middle + 3]))
                beside = max(lines[place - 8 : place - 2].max(), lines[place + 3 : place + 9].max())
                if lines[place] > 10 * beside:
                    loudest = max(loudest, (mains, float(lines[place])), key=lambda line: line[1])
        return loudest
