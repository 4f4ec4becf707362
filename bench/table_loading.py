"""A long table of window features into bags: time and memory against pandas alone.

2,000,000 rows x 20 features (float32) in Parquet, 84 windows a song (3.5 minutes). Each run is a
process of its own; medians of interleaved runs.

    python bench/table_loading.py [--rows 2000000] [--runs 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CODE = {
    "pandas": "pandas.read_parquet(path)",
    "songbag": "songbag.bags_from_table(path, song='song', label='label', feature='f_*')",
}
PROBE = """
import sys, time
import numpy, pandas, pyarrow, pyarrow.parquet, songbag.data.window_table
import songbag
path = sys.argv[1]
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
before, began = peak(), time.perf_counter()
found = {code}
print(time.perf_counter() - began, peak() - before)
"""


def write(path: Path, rows: int) -> float:
    """Write the table and return its megabytes in memory, names and labels included."""
    import pandas

    rng = np.random.default_rng(0)
    song = np.arange(rows) // 84
    table = {"song": np.char.add("song_", song.astype(str)), "label": song % 4}
    table |= {f"f_{i}": rng.standard_normal(rows, dtype=np.float32) for i in range(20)}
    frame = pandas.DataFrame(table)
    frame.to_parquet(path)
    return float(frame.memory_usage(deep=True).sum()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "windows.parquet"
        size = write(path, options.rows)
        seconds: dict[str, list[float]] = {name: [] for name in CODE}
        memory: dict[str, list[float]] = {name: [] for name in CODE}
        for _ in range(options.runs):
            for name, code in CODE.items():
                command = [sys.executable, "-c", PROBE.format(code=code), str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                for store, value in zip((seconds, memory), done.stdout.split(), strict=True):
                    store[name].append(float(value))
    took = {name: statistics.median(values) for name, values in seconds.items()}
    peak = {name: statistics.median(values) for name, values in memory.items()}
    print(f"{options.rows:,} rows x 20 features, song and label: {size:.0f} MB in memory")
    for name in CODE:
        share = peak[name] / size
        print(f"{name:8} {took[name]:6.2f} s   peak {peak[name]:6.0f} MB = {share:.2f} x the data")
    print(f"speed of songbag against pandas.read_parquet: {took['pandas'] / took['songbag']:.2f}")


if __name__ == "__main__":
    main()
