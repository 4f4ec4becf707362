"""Memory of training on 50 and on 500 ten-minute songs, and of 1 hour and 24 to tag and predict.

The songs are WAV files of 8 kHz that this script makes. The rows of the encoder are put into the
cache beforehand, drawn at random around one row a label, because encoding 5,000 minutes takes an
hour and adds nothing to memory: so the accuracy means nothing. Copies with their sound changed are
decoded and encoded, and the songs are read once more without the encoder, as in any training.
Recordings of hours are decoded and encoded whole. Prints seconds and the most memory that one
process held.

    python bench/memory.py [--folder build/memory] [--minutes 10] [--songs 50 500] [--hours 1 24]
"""

import argparse
import os
import shutil
import sys
import time
import wave
from pathlib import Path

import numpy as np

from songbag.audio.audio_file import Source
from songbag.audio.cache import Receipt, frames_key, write_frames
from songbag.encoders.choose import choose_recipe
from songbag.storage.files import content_hash

RATE, LABELS, ARTISTS = 8000, 4, 5  # Hz of the files; artists of each label


def make_song(path: Path, number: int, label: int, seconds: int) -> None:
    """Write chords on a few notes of the label, each song with its own rhythm."""
    rng = np.random.default_rng(number)
    at = np.arange(20 * RATE) / RATE
    notes = 110 * 2 ** (rng.choice([0, 3, 5, 7, 10, 12 + label], 40) / 12)
    voice = np.sin(2 * np.pi * np.repeat(notes, len(at) // 40) * at) * np.exp(-4 * (at % 0.5))
    voice = 0.4 * voice + 0.01 * rng.standard_normal(len(at))
    samples = (voice * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        # Piece by piece: a child's most memory counts what its parent had when it began.
        for left in range(seconds * RATE, 0, -len(samples)):
            file.writeframes(samples[:left].tobytes())


def make_songs(folder: Path, count: int, minutes: float) -> None:
    """Write ``count`` songs, their table, and the rows of the encoder that a cache has of them."""
    sound, seconds = choose_recipe("auto").sound, round(60 * minutes)
    samples = seconds * sound.sample_rate
    size, lines = -(-samples // sound.step), ["path,label,artist"]
    for number in range(count):
        label, path = number % LABELS, folder / f"{number:04}.wav"
        make_song(path, number, label, seconds)
        rng = np.random.default_rng([7, label])
        middle = np.abs(rng.standard_normal(sound.bands))
        rows = middle + np.abs(
            np.random.default_rng([8, number]).standard_normal((size, len(middle)))
        )
        key = frames_key(content_hash(str(path)), Source(path=str(path)), sound)
        receipt = Receipt("ok", key=key, samples=samples, bands=sound.bands, level_db=-20.0)
        rows = rows.astype(np.float16).astype(np.float32)  # as they are read again
        write_frames(folder / "cache" / key, rows, receipt, np.float16)
        lines.append(f"{path.name},label {label},artist {label} {number % (ARTISTS * LABELS)}")
    (folder / "songs.csv").write_text("\n".join(lines) + "\n")


def measure(*words: str | Path | float) -> tuple[float, float]:
    """Run a command of Songbag in a process of its own; return seconds and megabytes."""
    command = [sys.executable, "-m", "songbag", *map(str, words), "--quiet"]
    began, pid = time.perf_counter(), os.posix_spawn(sys.executable, command, dict(os.environ))
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"songbag {words[0]} ended with status {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def measure_training(folder: Path, count: int, minutes: float) -> None:
    """Make songs, and train ``folder / model.songbag`` on them."""
    songs = folder / str(count)
    shutil.rmtree(songs, ignore_errors=True)
    (songs / "cache").mkdir(parents=True)
    make_songs(songs, count, minutes)
    size = sum(file.stat().st_size for file in (songs / "cache").rglob("*") if file.is_file())
    model, cache = folder / "model.songbag", songs / "cache"
    seconds, megabytes = measure("train", songs / "songs.csv", "-o", model, "--cache", cache)
    print(
        f"{count} songs of {minutes:g} minutes, {size / 1e9:.2f} GB of rows: "
        f"{seconds:.0f} s, at most {megabytes:.0f} MB",
        flush=True,
    )
    shutil.rmtree(songs)


def measure_hours(folder: Path, hours: float) -> None:
    """Tag a recording, and predict it with the last model, each from its samples."""
    song, cache = folder / "long.wav", folder / "cache"
    make_song(song, 0, 0, round(3600 * hours))
    for words in (["tag", song], ["predict", folder / "model.songbag", song]):
        options = ["--cache", cache, "--max-hours", hours, "--csv", folder / "answer.csv"]
        seconds, megabytes = measure(*words, *options)
        name = f"{words[0]} {hours:g} hours"
        print(f"{name}: {seconds:.0f} s, at most {megabytes:.0f} MB", flush=True)
        shutil.rmtree(cache, ignore_errors=True)  # tag stores nothing
    song.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/memory"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--songs", nargs="*", type=int, default=[50, 500])
    parser.add_argument("--hours", nargs="*", type=float, default=[1, 24])
    options = parser.parse_args()
    for count in options.songs:
        measure_training(options.folder, count, options.minutes)
    for hours in options.hours:
        measure_hours(options.folder, hours)


if __name__ == "__main__":
    main()
