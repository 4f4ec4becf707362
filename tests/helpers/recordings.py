"""Long recordings of noise with calls in them, and what was called when."""

from pathlib import Path

import numpy as np

from songbag.audio.waveform import write_waveform

RATE = 22050
KINDS = ("cricket", "owl", "wren")


def call(kind, seconds, rng):
    """Trills, hoots or a pulsed high tone, at a random level."""
    t = np.arange(int(seconds * RATE)) / RATE
    if kind == "wren":
        notes, depth = rng.uniform(8, 14), rng.uniform(300, 900)
        phase = 2 * np.pi * rng.uniform(3500, 5000) * t
        wave = np.sin(phase + depth / notes * np.sin(2 * np.pi * notes * t))
        wave *= np.sin(2 * np.pi * notes * t + 1) > -0.5
    elif kind == "owl":
        pitch, beat = rng.uniform(350, 600), rng.uniform(0.6, 0.9)
        wave = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2, 3))
        wave *= (t % beat) < 0.6 * beat
    else:
        wave = np.sin(2 * np.pi * rng.uniform(4500, 6500) * t)
        wave *= np.sin(2 * np.pi * rng.uniform(25, 45) * t) > 0
    return wave * np.minimum(1, np.minimum(t, t[::-1]) / 0.05) * 10 ** rng.uniform(-0.75, 0)


def recording(seed, seconds, voices=1):
    """Samples, and (start, end, kind) of every call; with two voices calls overlap."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 50)))
    samples, calls = 0.02 * noise / noise.std(), []
    for _ in range(voices):
        start = rng.uniform(1, 8)
        while start + (length := rng.uniform(1.5, 10)) < seconds - 1:
            kind = KINDS[rng.integers(3)]
            wave = call(kind, length, rng)
            begin = int(start * RATE)
            samples[begin : begin + len(wave)] += 0.1 * wave
            calls.append((start, start + length, kind))
            start += length + rng.uniform(1.5, 20)
    return samples.astype(np.float32), sorted(calls)


def write_recording(folder: Path, name, seed, seconds, voices=1):
    """Write a recording and its Audacity label file; return the calls."""
    samples, calls = recording(seed, seconds, voices)
    folder.mkdir(parents=True, exist_ok=True)
    write_waveform(folder / f"{name}.wav", samples, RATE)
    lines = (f"{start:.6f}\t{end:.6f}\t{kind}\n" for start, end, kind in calls)
    (folder / f"{name}.txt").write_text("".join(lines))
    return calls


def f1_on_grid(predicted, true, seconds, step=0.1):
    """F1 of labels in cells of ``step`` seconds; both are (start, end, label)."""
    middles = np.arange(0, seconds, step) + step / 2

    def cells(spans):
        table = np.zeros((len(middles), len(KINDS)), dtype=bool)
        for start, end, label in spans:
            table[(middles >= start) & (middles < end), KINDS.index(label)] = True
        return table

    ours, theirs = cells(predicted), cells(true)
    return 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
