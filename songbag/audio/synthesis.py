"""Synthesise small demo songs of three invented genres from a seeded random generator.

The genres differ in rhythm and harmony alone. Everything else (tempo, key, timbre, brightness,
noise, loudness, quiet passages without rhythm) is drawn from the same distributions, so neither
the level nor the average spectrum of a song tells its genre.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float64]

_TABLE_SIZE = 2048
_WRAP = _TABLE_SIZE - 1  # The size is a power of two: "and" wraps an index.
_CENTRAL_KEY_HZ = 196.0


@dataclass(frozen=True)
class _Style:
    """Rhythm and harmony of one genre."""

    bar_beats: int
    strokes: tuple[tuple[float, float, float, float], ...]  # start, length (beats), accent, bass
    chord: tuple[int, ...]  # semitones above the root
    roots: tuple[int, ...]  # of each bar, semitones above the key, repeated


_STYLES: dict[str, _Style] = {
    # Major chords in a long-short-short pattern on every beat.
    "gallop": _Style(
        bar_beats=1,
        strokes=((0.0, 0.5, 1.0, 1.0), (0.5, 0.25, 0.8, 0.6), (0.75, 0.25, 0.8, 0.6)),
        chord=(0, 4, 7),
        roots=(0, 0, 0, 0, 5, 5, -5, -5),
    ),
    # Minor chords, one a beat, the first of three stressed.
    "waltz": _Style(
        bar_beats=3,
        strokes=((0.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.8, 0.6), (2.0, 1.0, 0.8, 0.6)),
        chord=(0, 3, 7),
        roots=(0, -4, 5, -5),
    ),
    # Open fifths over a drone, held for whole bars.
    "drift": _Style(
        bar_beats=4,
        strokes=((0.0, 4.0, 1.0, 0.8),),
        chord=(0, 7, 12),
        roots=(0, 0, -2, 0),
    ),
}

GENRES: tuple[str, ...] = tuple(_STYLES)


@dataclass(frozen=True)
class _Sound:
    """What varies from song to song independently of the genre.

    Shares are of the length of a note; gains are relative to the notes.
    """

    beat_seconds: float
    key_hz: float
    wave_table: Audio
    detune: float
    attack_share: float
    decay_nepers: float
    held_share: float
    bass_gain: float
    hit_gain: float
    wind_gain: float
    hiss_gain: float
    tilt_db_per_octave: float
    level_db: float


def synthesise(
    genre: str,
    rng: np.random.Generator,
    seconds: float = 30.0,
    sample_rate: int = 22050,
) -> NDArray[np.float32]:
    """Return one song of a genre in `GENRES`, a mono waveform (samples,) in [-1, 1].

    The same state of ``rng`` gives the same samples.

    Examples
    --------
    >>> song = synthesise("waltz", np.random.default_rng(0), seconds=2.0)
    >>> song.shape, song.dtype
    ((44100,), dtype('float32'))
    """
    if genre not in _STYLES:
        raise ValueError(f"unknown genre {genre!r}; known genres: {', '.join(GENRES)}")
    size = round(seconds * sample_rate)
    sound = _draw_sound(rng)
    presence = _draw_presence(rng, size, sample_rate)
    body = _play_body(_STYLES[genre], sound, rng, size, sample_rate)
    calm = _play_calm(sound, rng, size, sample_rate)
    song = _unit_power(body) * presence + _unit_power(calm) * (1.0 - presence)
    song += sound.hiss_gain * _draw_noise(rng, size)
    song = _tilt(song, sound.tilt_db_per_octave, sample_rate)
    song *= 10.0 ** (sound.level_db / 20.0) / np.sqrt(np.mean(song**2))
    return np.tanh(song).astype(np.float32)


def _draw_sound(rng: np.random.Generator) -> _Sound:
    return _Sound(
        beat_seconds=60.0 / rng.uniform(84.0, 132.0),
        key_hz=_CENTRAL_KEY_HZ * 2.0 ** (rng.integers(-6, 6) / 12.0),
        wave_table=_draw_wave_table(rng),
        detune=rng.uniform(0.0005, 0.004),
        attack_share=rng.uniform(0.03, 0.2),
        decay_nepers=rng.uniform(1.5, 4.0),
        held_share=rng.uniform(0.75, 1.0),
        bass_gain=rng.uniform(0.5, 1.5),
        hit_gain=rng.uniform(0.2, 0.7),
        wind_gain=rng.uniform(0.1, 0.6),
        hiss_gain=10.0 ** (rng.uniform(-40.0, -22.0) / 20.0),
        tilt_db_per_octave=rng.uniform(-2.5, 1.5),
        level_db=rng.uniform(-22.0, -9.0),
    )


def _draw_wave_table(rng: np.random.Generator) -> Audio:
    """Draw one cycle of an instrument: harmonics that fall off at random."""
    harmonics = np.arange(1, 11)  # The tenth of the highest note lies at 10.5 kHz.
    amplitudes = harmonics ** -rng.uniform(0.8, 2.2) * rng.uniform(0.3, 1.0, harmonics.size)
    cycle = np.arange(_TABLE_SIZE) / _TABLE_SIZE
    phases = rng.uniform(0.0, 1.0, harmonics.size)
    waves = np.sin(2.0 * np.pi * (np.outer(harmonics, cycle) + phases[:, None]))
    return np.asarray(np.sum(amplitudes[:, None] * waves, axis=0))


def _draw_presence(rng: np.random.Generator, size: int, sample_rate: int) -> Audio:
    """Draw where the genre's pattern plays: 0 in the intro and the break, else 1."""
    calm_share = rng.uniform(0.28, 0.44)
    intro_share = calm_share * rng.uniform(0.45, 0.85)
    break_share = calm_share - intro_share
    break_start = rng.uniform(intro_share + 0.15, 1.0 - break_share)
    places = np.arange(size) / size
    edge = 0.3 * sample_rate / size
    after_intro = (places - intro_share) / edge
    off_break = np.maximum(break_start - places, places - break_start - break_share) / edge
    return np.minimum(np.maximum(np.minimum(after_intro, off_break), 0.0), 1.0)


def _play_body(
    style: _Style, sound: _Sound, rng: np.random.Generator, size: int, sample_rate: int
) -> Audio:
    """Play the genre's pattern bar by bar over the whole song."""
    notes, hits = np.zeros(size), np.zeros(size)
    beat_size = sound.beat_seconds * sample_rate
    for bar in range(int(size / (beat_size * style.bar_beats)) + 1):
        root_hz = sound.key_hz * 2.0 ** (style.roots[bar % len(style.roots)] / 12.0)
        for start, length, accent, bass in style.strokes:
            onset = round((bar * style.bar_beats + start) * beat_size)
            # All times of a note scale with its length: a song of quick notes spends as much of
            # its time near silence as one of slow notes, and their average spectra agree.
            note_size = round(length * beat_size)
            age = np.arange(note_size) / note_size
            rise = np.minimum(age / sound.attack_share, 1.0)
            release = np.minimum(np.maximum(sound.held_share - age, 0.0) / 0.1, 1.0)
            shape = rise * release * np.exp(-sound.decay_nepers * age)
            shape = accent * shape[: max(size - onset, 0)]
            place = slice(onset, onset + shape.size)
            tones = bass * sound.bass_gain * _tone(sound, root_hz / 2.0, shape.size, sample_rate)
            # The top voice wanders over the chord, an octave above it.
            for step in (*style.chord, 12 + int(rng.choice(style.chord))):
                tones += _tone(sound, root_hz * 2.0 ** (step / 12.0), shape.size, sample_rate)
            notes[place] += shape * tones
            hits[place] += shape**2
    return _unit_power(notes) + sound.hit_gain * _unit_power(hits * _draw_noise(rng, size))


def _tone(sound: _Sound, pitch_hz: float, size: int, sample_rate: int) -> Audio:
    """Return two slightly detuned voices, read from the wave table."""
    cycles = np.arange(size) * (pitch_hz / sample_rate)
    first = (cycles * _TABLE_SIZE).astype(np.int64)
    second = (cycles * (_TABLE_SIZE * (1.0 + sound.detune))).astype(np.int64)
    both: Audio = sound.wave_table[first & _WRAP] + sound.wave_table[second & _WRAP]
    return both


def _play_calm(sound: _Sound, rng: np.random.Generator, size: int, sample_rate: int) -> Audio:
    """Play a held open fifth in wind: no rhythm and no third, so no genre."""
    pad = _tone(sound, sound.key_hz / 2.0, size, sample_rate)
    pad += _tone(sound, sound.key_hz * 1.5, size, sample_rate)
    gusts = np.arange(size) / sample_rate * rng.uniform(0.1, 0.3) + rng.uniform()
    wind = (1.2 + np.sin(2.0 * np.pi * gusts)) * _draw_noise(rng, size)
    return _unit_power(pad) + sound.wind_gain * _unit_power(wind)


def _draw_noise(rng: np.random.Generator, size: int) -> Audio:
    """Draw white noise; in single precision that takes half the time."""
    return rng.standard_normal(size, dtype=np.float32).astype(np.float64)


def _unit_power(audio: Audio) -> Audio:
    scaled: Audio = audio / np.sqrt(np.mean(audio**2))
    return scaled


def _tilt(audio: Audio, db_per_octave: float, sample_rate: int) -> Audio:
    """Brighten or darken by a straight line in decibels over octaves."""
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(audio.size, 1.0 / sample_rate), 30.0) / 1000.0)
    return np.fft.irfft(spectrum * 10.0 ** (db_per_octave * octaves / 20.0), audio.size)
