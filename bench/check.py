"""How far copies and different songs are apart for `songbag check`, and what the index costs.

Prints the tables on checking of docs/figures.md: on generated songs (where the limits were
chosen) and, where it is there, on Emotify (where they were only evaluated).
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soxr

from songbag.audio.audio_file import AudioReport
from songbag.audio.fingerprint import SOUND, STEP_SECONDS, compare, fingerprint
from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import read_blocks, write_waveform
from songbag.data.song_table import read_songs
from songbag.quality.copies import candidates, matching_pairs

EMOTIFY = Path(__file__).resolve().parents[2] / "shared" / "data" / "emotify" / "songs.csv"
RATE = 22050
COPIES = {
    "mp3 32 kbit/s": (".mp3", 22050, 32_000),
    "mp3 64 kbit/s at 44.1 kHz": (".mp3", 44100, 64_000),
    "mp3 128 kbit/s at 44.1 kHz": (".mp3", 44100, 128_000),
    "aac 64 kbit/s at 44.1 kHz": (".m4a", 44100, 64_000),
    "opus 32 kbit/s": (".opus", 48000, 32_000),
    "wav at 11 kHz": (".wav", 11025, 0),
    "wav at 8 kHz": (".wav", 8000, 0),
}


def copy(waveform, kind, rng, folder):
    """Return the codes of a copy, and by how many seconds its start was trimmed."""
    ending, rate, bit_rate = COPIES[kind]
    shift, gain = rng.uniform(0.3, 5), 10 ** (rng.uniform(-12, 3) / 20)
    cut = (waveform[int(shift * RATE) :] * gain).astype(np.float32)
    cut = cut if rate == RATE else soxr.resample(cut, RATE, rate).astype(np.float32)
    path = folder / f"copy{ending}"
    write_waveform(path, np.clip(cut, -1, 1), rate, bit_rate or 128_000)
    return codes_of(path), shift


def codes_of(path):
    return fingerprint(read_blocks(path, SOUND.sample_rate, AudioReport()))


def closest(first, second):
    """Return the lowest bit error rate of two songs over all shifts of up to 5.2 s."""
    reach = round(5.2 / STEP_SECONDS)
    offsets = range(-reach, reach + 1, 5)  # compare tries two steps on both sides
    return min(compare(first, second, offset).bit_error_rate for offset in offsets)


def measure(name, waveforms, rng, different):
    """Print bit error rates of copies and of different songs, and what the index finds."""
    folder = Path(tempfile.mkdtemp())
    prints = [fingerprint([soxr.resample(one, RATE, 8000).astype(np.float32)]) for one in waveforms]
    print(f"\n{name}: {len(prints)} songs")
    for kind in COPIES:
        places = rng.choice(len(prints), min(20, len(prints)), replace=False)
        rates, found = [], 0
        for place in places:
            other, shift = copy(waveforms[place], kind, rng, folder)
            match = compare(prints[place], other, round(shift / STEP_SECONDS))
            rates.append(match.bit_error_rate)
            pairs = [
                (pair.first, pair.second)
                for pair in matching_pairs(len(prints) + 1, [*prints, other].__getitem__)
                if pair.match.whole
            ]
            found += (int(place), len(prints)) in pairs
        print(f"| {kind} | {np.median(rates):.3f} | {max(rates):.3f} | {found} of {len(places)} |")
    pairs = [tuple(rng.choice(len(prints), 2, replace=False)) for _ in range(different)]
    apart = [closest(prints[a], prints[b]) for a, b in pairs]
    print(f"different songs, lowest over all shifts: median {np.median(apart):.3f}")
    print(f"  lowest of {different} pairs {min(apart):.3f}")
    for count in (len(prints) // 4, len(prints) // 2, len(prints)):
        drawn = [prints[place] for place in rng.choice(len(prints), count, replace=False)]
        share = len(candidates(count, drawn.__getitem__)) / count
        print(f"candidates a song among {count}: {share:.4f}")
    return prints


def cost(prints, rng, songs):
    """Print the time of the index for many songs: real codes, each song with its own mask."""
    heads = [prints[place][:625] for place in rng.integers(0, len(prints), songs)]
    masks = rng.integers(0, 2**32, songs, dtype=np.uint32)
    began = time.monotonic()
    found = len(candidates(songs, lambda number: heads[number] ^ masks[number]))
    seconds = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"index of {songs} songs: {seconds:.1f} s, {found} candidates; peak {memory:.1f} GB")


def main():
    rng = np.random.default_rng(0)
    generated = [
        synthesise(genre, np.random.default_rng([7, number, k]), 30.0, RATE)
        for k, genre in enumerate(GENRES)
        for number in range(20)
    ]
    prints = measure("generated", generated, rng, 300)
    if EMOTIFY.exists() and "--generated" not in sys.argv:
        songs = read_songs(EMOTIFY).songs
        waves = [np.concatenate(list(read_blocks(s.path, RATE, AudioReport()))) for s in songs]
        prints = measure("Emotify", waves, rng, 500)
    for songs in (1_000, 10_000, 100_000):
        cost(prints, rng, songs)


if __name__ == "__main__":
    main()
