"""A recording of 3 hours beside one of 3 minutes: memory of all processes together, and time."""

import subprocess
import tempfile
from pathlib import Path

from measuring import SONGBAG, Row, finish, peak_memory
from songs import recording, songs


def main():
    few = songs()["few"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for recipe in ("founding", "cnn"):
            model, cache = str(folder / f"{recipe}.songbag"), str(folder / "cache")
            train = ["train", str(few), "-o", model, "--recipe", recipe, "--epochs", "1"]
            subprocess.run([*SONGBAG, *train, "--cache", cache], check=True, capture_output=True)
            found = {}
            for minutes in (3, 180):
                command = ["predict", model, str(recording(minutes)), "--max-hours", "4"]
                found[minutes] = min(peak_memory([*SONGBAG, *command, "--quiet"]) for _ in range(2))
            (short, small), (long, big) = found[3], found[180]
            more = (big - small) / 1e6
            start = (60 * short - long) / 59  # seconds that do not depend on the length
            rows += [
                Row(f"long-memory-{recipe}", f"3 hours beside 3 minutes, peak memory, {recipe}",
                    f"{small / 1e6:.0f} to {big / 1e6:.0f} MB", "", round(more), "≤ 150 MB more",
                    more <= 150, higher=False),
                Row(f"long-time-{recipe}", f"3 hours beside 3 minutes, time, {recipe}",
                    f"{short:.2f} to {long:.1f} s", "", round((long - start) / (short - start), 1)
                    if short > start else 0, "proportional (60)", long <= 66 * short,
                    higher=False),
            ]  # fmt: skip
    finish(rows)


if __name__ == "__main__":
    main()
