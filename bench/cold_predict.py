"""One 60 s mp3 from a cold start: the whole process `songbag predict model song.mp3`.

Prints the median wall time of repeated runs, and the modules that must not be loaded.

    python bench/cold_predict.py [--runs 9] [--recipe founding]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from songbag.audio.synthesis import synthesise
from songbag.audio.waveform import write_waveform
from songbag.console import Console
from songbag.tasks.demo import write_songs

HEAVY = ("torch", "pandas", "scipy", "sklearn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--recipe", default="founding")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        songs = write_songs(folder / "songs", 6, 0, Console(quiet=True))
        model, song = folder / "m.songbag", folder / "song.mp3"
        train = ["train", str(songs), "-o", str(model), "--recipe", options.recipe]
        base = [sys.executable, "-m", "songbag"]
        cache = ["--cache", str(folder / "cache"), "--quiet"]
        subprocess.run([*base, *train, "--epochs", "2", *cache], check=True)
        left = synthesise("waltz", np.random.default_rng(0), 60.0, 44100)
        write_waveform(song, np.stack([left, 0.8 * left]), 44100, 192_000)
        command = [*base, "predict", str(model), str(song), *cache]
        seconds = []
        for _ in range(options.runs + 1):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
        probe = "import sys; from songbag.cli import main\ntry: main(sys.argv[1:])\nfinally: "
        probe += (
            "print(*{'torch', 'pandas', 'scipy', 'sklearn'} & set(sys.modules), file=sys.stderr)"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", probe, *command[3:]], capture_output=True, text=True
        )
    warm = seconds[1:]
    print(
        f"cold predict, {options.recipe}, 60 s stereo mp3: median {statistics.median(warm):.2f} s, "
        f"{min(warm):.2f} to {max(warm):.2f} s over {len(warm)} runs (first {seconds[0]:.2f} s)"
    )
    print(f"loaded of {', '.join(HEAVY)}: {loaded.stderr.strip() or 'none'}")


if __name__ == "__main__":
    main()
