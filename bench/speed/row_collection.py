"""Training on packed collections of 1,000 and 100,000 songs: anonymous memory, speed, opening.

Songs of 30 s, MFCC-13, the founding recipe: 67 kB of frames each, noise under many ids. 40
songs each are the validation and the test side, all others train: 20 epochs of the small
collection, one of the large one. Every figure comes from a process of its own; RssAnon is what
the system says of it, looked at 20 times a second. Needs 7 GB of disk.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import SONGBAG, Row, finish
from songs import FOLDER

from songbag.data.packed_files import (
    FORMAT,
    SHARD,
    Collection,
    Entry,
    write_collection,
    write_manifest,
    write_shard,
)
from songbag.recipes.load import load_recipe
from songbag.settings import Excerpt
from songbag.storage.files import read_csv

SAMPLES, LABELS = 30 * 22050, ("drift", "gallop", "waltz", "swing")
SHARD_SONGS, HELD_OUT = 3900, 40
OPEN = """
import sys, time
from pathlib import Path
import pyarrow.parquet, songbag.data.packed as packed
from songbag.recipes.load import load_recipe
began = time.perf_counter()
dataset = packed.PackedDataset.open(Path(sys.argv[1])).load(load_recipe("founding"))
assert len(dataset[0].features) and dataset.songs[0].id
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
    """Train in a process of its own; return the most memory (MB) it had, and songs/s."""
    model = work / "model.songbag"
    command = [*SONGBAG, "train", folder, "-o", model, "--recipe", "founding"]
    command += ["--epochs", epochs, "--threads", 1, "-q"]
    seen = []
    process = subprocess.Popen(list(map(str, command)))
    while process.poll() is None:
        seen.append(anonymous(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit("the training failed")
    history = read_csv(work / "model-training" / "history.csv")
    speeds = [float(row["songs_per_second"]) for row in history]
    return {"peak": max(seen), "songs/s": max(speeds)}


def opened(folder: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    found, most = {}, 10_000 if os.environ.get("BENCH_QUICK") else 100_000
    for songs in (1000, 1000, most):  # the first of its plan exports longer, in more memory
        with tempfile.TemporaryDirectory(dir=FOLDER) as name:
            folder = Path(name) / "packed"
            generate(folder, songs)
            found[songs] = trained(folder, Path(name), max(1, 20_000 // songs))
            found[songs]["open"] = min(opened(folder) for _ in range(3))
    small, large = found[1000], found[most]
    memory, speed = (large[key] / small[key] for key in ("peak", "songs/s"))
    work = f"{most:,} songs of 30 s beside 1,000, packed"
    finish([
        Row("collection-memory", f"{work}: RssAnon of training at its most",
            f"{small['peak']:.0f} to {large['peak']:.0f} MB", "", round(memory, 2),
            "within 10 %", abs(memory - 1) <= 0.1, higher=False),
        Row("collection-speed", f"{work}: songs a second of training",
            f"{small['songs/s']:.0f} to {large['songs/s']:.0f}", "", round(speed, 2),
            "within 20 %", abs(speed - 1) <= 0.2),
        Row("collection-open", f"{most:,} songs: opening the collection",
            f"{large['open']:.2f} s", "", round(large["open"], 2), "< 2 s", large["open"] < 2,
            higher=False),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
