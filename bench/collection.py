"""Training on packed collections of 1,000 to 100,000 songs: anonymous memory, speed, opening.

Songs of 30 s, MFCC-13, the founding recipe: 67 kB of frames each, noise under many ids. 40
songs each are the validation and the test side, all others train: about 20,000 songs of the
small collections in several epochs, one epoch of the large one. Every figure comes from a
process of its own; RssAnon is what the system says of it, looked at 20 times a second. Songs a
second of the processor leave out what a training costs without songs.

    python bench/collection.py [--songs 1000 10000 100000] [--folder .]
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from songbag.recipes import load_recipe
from songbag.settings import Excerpt
from songbag.songs.manifest import (
    FORMAT,
    SHARD,
    Collection,
    Entry,
    write_collection,
    write_manifest,
)
from songbag.sound.shards import write_shard

SAMPLES, LABELS = 30 * 22050, ("drift", "gallop", "waltz", "swing")
SHARD_SONGS, HELD_OUT = 3900, 40
OPEN = """
import sys, time
from pathlib import Path
import pyarrow.parquet, songbag.songs.unpacking as unpacking
from songbag.recipes import load_recipe
began = time.perf_counter()
heard = unpacking.hear_packed(Path(sys.argv[1]), load_recipe("founding"))
assert len(heard[0].features) and heard.songs[0].id
print(time.perf_counter() - began)
"""


def generate(folder: Path, songs: int) -> None:
    """Write a collection of songs that are noise: 64 different ones under many ids."""
    recipe, rng = load_recipe("founding"), np.random.default_rng(0)
    count = 1 + SAMPLES // recipe.sound.hop_length
    noise = rng.standard_normal((64, count, recipe.sound.bands), dtype=np.float32) * 20
    noise += np.arange(64, dtype=np.float32)[:, None, None] % len(LABELS)
    entries, checksums = [], []
    for number, first in enumerate(range(0, songs, SHARD_SONGS)):
        places = range(first, min(first + SHARD_SONGS, songs))
        shard = write_shard(
            folder / SHARD.format(number, f"{songs:016x}"),
            [count] * len(places),
            recipe.sound.bands,
            (noise[place % 64] for place in places),
        )
        entries.append(Entry(file=shard.path.name, rows=shard.rows, checksum=shard.checksum))
        checksums += shard.checksums
    place = np.arange(songs)
    sides = np.where(
        place < HELD_OUT, "test", np.where(place < 2 * HELD_OUT, "validation", "train")
    )
    columns = {
        "id": [f"song_{k:07d}" for k in range(songs)],
        "label": [LABELS[k % len(LABELS)] for k in range(songs)],
        "artist": [f"artist {k // 4}" for k in range(songs)],
        "split": sides.tolist(),
        "path": [f"/music/{k // 1000}/song_{k:07d}.mp3" for k in range(songs)],
        "start": [0.0] * songs,
        "end": [None] * songs,
        "status": ["ok"] * songs,
        "reason": [""] * songs,
        "message": [""] * songs,
        "shard": (place // SHARD_SONGS).tolist(),
        "first": (place % SHARD_SONGS * count).tolist(),
        "frames": [count] * songs,
        "samples": [SAMPLES] * songs,
        "level_db": rng.normal(-20, 3, songs).tolist(),
        "warnings": [[]] * songs,
        "content": [f"{k:032x}" for k in range(songs)],
        "checksum": checksums,
    }
    about = Collection(
        format=FORMAT,
        songbag="bench",
        recipe="founding",
        sound=recipe.sound,
        excerpt=Excerpt(),
        multilabel=False,
        songs=songs,
        manifest=write_manifest(folder, columns),
        shards=tuple(entries),
    )
    write_collection(folder, about)


def anonymous(pid: int) -> float:
    """Return RssAnon of a process in MB, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if "RssAnon" in line), 0.0)


def trained(folder: Path, work: Path, epochs: int) -> dict[str, float]:
    """Train in a process of its own; return its memory (MB), songs/s and seconds."""
    model = work / "model.songbag"
    command = [
        sys.executable,
        "-m",
        "songbag",
        "train",
        folder,
        "-o",
        model,
        "--recipe",
        "founding",
    ]
    command += ["--epochs", epochs, "--threads", 1, "-q"]
    began, seen = time.monotonic(), []
    process = subprocess.Popen(list(map(str, command)))
    ended, status, used = 0, 0, None
    while not ended:
        seen.append(anonymous(process.pid))
        time.sleep(0.05)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    if status:
        raise SystemExit("the training failed")
    assert used is not None
    with open(work / "model-training" / "history.csv", newline="") as file:
        speeds = [float(row["songs_per_second"]) for row in csv.DictReader(file)]
    return {
        "peak": max(seen),
        "median": statistics.median(seen),
        "songs/s": max(speeds),
        "seconds": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
    }


def opened(folder: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="Where 67 kB a song have room.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        generate(Path(name) / "packed", 1000)
        fixed = trained(Path(name) / "packed", Path(name), 1)["cpu"]
    print("  songs    open s   RssAnon MB: peak  median   songs/s   songs/s of cpu   run s")
    for songs in options.songs:
        epochs = max(1, 20_000 // songs)
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name) / "packed"
            generate(folder, songs)
            took = min(opened(folder) for _ in range(3))
            found = trained(folder, Path(name), epochs)
        taught = (songs - 2 * HELD_OUT) * epochs - (1000 - 2 * HELD_OUT)  # ``fixed`` has some
        speed = taught / (found["cpu"] - fixed)
        print(
            f"{songs:7,d} {took:9.2f} {found['peak']:18.0f} {found['median']:7.0f} "
            f"{found['songs/s']:9.0f} {speed:16.0f} {found['seconds']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
