"""What a song costs, how two workers compare with one, and the bill for 10^4 to 10^8 songs.

Unit costs are seconds of the processor, so other work on the machine changes them little;
the comparison of one worker with two is wall time and wants a quiet machine. The plan at
the end is arithmetic on the measured units and on prices that are assumptions.

    python bench/scale.py [--songs songs.csv] [--count 200] [--repeats 3] [--skip-scaling]
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from songbag.console import Console  # noqa: E402
from songbag.storage.files import read_csv  # noqa: E402
from songbag.tasks.demo import write_songs  # noqa: E402
from tests.helpers.clusters import Cluster  # noqa: E402

EMOTIFY = ROOT.parent / "shared" / "data" / "emotify" / "songs.csv"
SONG_MINUTES = 3.5
EPOCHS = 40
# Assumptions, not measurements: list prices of a large provider, rounded; US dollars.
CORE_HOUR, SPOT_CORE_HOUR = 0.04, 0.015
GB_MONTH, PUT, GET = 0.023, 5e-6, 4e-7
MP3_MB_MINUTE = 1.44  # 192 kbit/s
PUTS_A_SECOND = 3500  # of one prefix of an object store
# HEADs for stamp and size, GETs of song and frames that are not there: test_cluster_store.py
EXTRACT_REQUESTS = {"GET": 4, "PUT": 1}


@dataclass(frozen=True)
class Units:
    """Measured costs: of a minute of sound, of a song, of a portion."""

    extract: float  # core seconds a minute
    predict: float  # core seconds a minute, from the file
    again: float  # core seconds a minute, from cached frames
    train: float  # core seconds a song and epoch of one network, `cnn`
    frames: float  # MB a minute
    row: float  # bytes of a song's row in Parquet
    windows: float  # bytes of its windows' rows, a minute
    tasks: float  # portions a second through client and scheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=Path, default=EMOTIFY if EMOTIFY.exists() else None)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-scaling", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = some_songs(options.songs, options.count, folder)
        model = folder / "model.songbag"
        units = measure(table, model, folder)
        print_units(units)
        if not options.skip_scaling:
            compare(table, model, folder, options.repeats)
    plan(units)


def some_songs(origin: Path | None, count: int, folder: Path) -> Path:
    """Write a table of the first songs, round the labels; generated ones if there are none."""
    if origin is None:
        origin = write_songs(folder / "made", (count + 2) // 3, 0, Console(quiet=True))
    rows = read_csv(origin)
    by_label: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        row["path"] = str((origin.parent / row["path"]).resolve())
        by_label.setdefault(row["label"], []).append(row)
    turns = [row for turn in zip(*by_label.values(), strict=False) for row in turn]
    chosen = turns[:count]
    with open(folder / "songs.csv", "w", newline="") as file:
        out = csv.DictWriter(file, list(chosen[0]))
        out.writeheader()
        out.writerows(chosen)
    print(f"{len(chosen)} songs of {origin.name}")
    return folder / "songs.csv"


# --- unit costs -------------------------------------------------------------------------


def songbag(*arguments: object, codes: tuple[int, ...] = (0, 1)) -> float:
    """Run a command; return the seconds of the processor that it and its children used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "songbag", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in codes, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(table: Path, model: Path, folder: Path) -> Units:
    cache, out = folder / "cache", ("--allow-outside", "--cache")
    start = songbag("predict", "--help", codes=(0, 2))
    receipts = folder / "receipts.csv"
    extract = songbag("extract", table, *out, cache, "--workers", 1, "-o", receipts) - start
    seconds = [float(row["seconds"]) for row in read_csv(receipts) if row["seconds"]]
    minutes, songs = sum(seconds) / 60, len(seconds)
    train = ("train", table, *out, cache, "--threads", 1, "--epochs")
    alone = ("--recipe", "cnn", "-o", folder / "cnn.songbag")
    epochs = [songbag(*train, n, *alone) for n in (1, 5)]
    songbag(*train, 1, "-o", model)  # what people get: the networks of the default recipe
    parts = ("--workers", 1, "--windows", "-o")
    predict = songbag("predict", model, table, *out, folder / "none", *parts, folder / "a") - start
    again = songbag("predict", model, table, *out, cache, *parts, folder / "b") - start
    return Units(
        extract=extract / minutes,
        predict=predict / minutes,
        again=again / minutes,
        train=(epochs[1] - epochs[0]) / 4 / (0.8 * songs),
        frames=size(cache, "*.safetensors") / minutes / 1e6,
        row=size(folder / "a" / "songs", "*.parquet") / songs,
        windows=size(folder / "a" / "windows", "*.parquet") / minutes,
        tasks=portions_a_second(folder),
    )


def size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.rglob(pattern))


def portions_a_second(folder: Path) -> float:
    """Send portions that cost nothing through the engine: client and scheduler are the limit."""
    from songbag.parallel.cluster import connect_cluster

    count = 16_000
    with Cluster(folder, threads=16) as running, connect_cluster(running.address) as engine:
        list(engine(abs, range(1000), abs))
        began = time.perf_counter()
        list(engine(abs, range(count), abs))
        return count / 16 / (time.perf_counter() - began)


def print_units(units: Units) -> None:
    print(f"extraction            {units.extract:8.3f} core s a minute of sound")
    print(f"prediction, file      {units.predict:8.3f} core s a minute of sound")
    print(f"prediction, cache     {units.again:8.3f} core s a minute of sound")
    print(f"training              {units.train:8.4f} core s a song and epoch of cnn")
    print(f"frames                {units.frames:8.3f} MB a minute of sound")
    print(f"answer, row           {units.row:8.1f} bytes a song")
    print(f"answer, windows       {units.windows:8.1f} bytes a minute of sound")
    print(f"client and scheduler  {units.tasks:8.0f} portions a second")


# --- one worker and two -----------------------------------------------------------------


def compare(table: Path, model: Path, folder: Path, repeats: int) -> None:
    """Print the wall time of jobs on one and two workers, taken in turns; the best of each.

    The workers have heard a few songs before, as those of a standing cluster have. The same
    command once more has nothing left to do: that is its start and end (imports, connecting,
    tables), which no worker shortens.
    """
    (folder / "few").mkdir()
    few = some_songs(table, 8, folder / "few")
    jobs: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
        "extract": lambda songs, new: ("extract", songs, "--cache", new),
        "predict": lambda songs, new: ("predict", model, songs, "--cache", new, "-o", new / "a"),
    }
    for name, command in jobs.items():
        took: dict[tuple[int, str], list[float]] = {}
        for turn in range(repeats):
            for workers in (1, 2):
                new = folder / f"{name}-{workers}-{turn}"
                with cluster_of(workers, new) as address:
                    on_it = ("--allow-outside", "--cluster", address)
                    songbag(*command(few, new / "before"), *on_it)
                    for part in ("all", "start"):
                        began = time.perf_counter()
                        songbag(*command(table, new), *on_it)
                        took.setdefault((workers, part), []).append(time.perf_counter() - began)
        best = {key: min(seconds) for key, seconds in took.items()}
        one, two = best[1, "all"], best[2, "all"]
        work = [best[workers, "all"] - best[workers, "start"] for workers in (1, 2)]
        print(
            f"{name}: {one:.1f} s with 1 worker, {two:.1f} s with 2: {one / two:.2f} times; "
            f"without start and end {work[0]:.1f} s and {work[1]:.1f} s: "
            f"{work[0] / work[1]:.2f} times",
            flush=True,
        )


@contextmanager
def cluster_of(workers: int, folder: Path) -> Iterator[str]:
    import distributed

    folder.mkdir(parents=True)
    with Cluster(folder, workers) as running:
        with distributed.Client(running.address) as client:
            client.wait_for_workers(workers, timeout=60)
        yield running.address


# --- the plan ---------------------------------------------------------------------------


def plan(units: Units) -> None:
    """Print core-hours, bytes and money for collections of songs of 3.5 minutes."""
    print(f"\nsongs of {SONG_MINUTES} minutes; dollars: {CORE_HOUR} a core-hour, {GB_MONTH} a")
    print(f"GB-month, {PUT * 1000:.3g} a 1,000 PUTs, {GET * 1000:.2g} a 1,000 GETs: assumptions\n")
    head = ("songs", "10^4", "10^6", "10^8")
    print("| " + " | ".join(head) + " |\n|---|---|---|---|")
    for name, value in lines(units):
        print(f"| {name} | " + " | ".join(value(float(songs)) for songs in (1e4, 1e6, 1e8)) + " |")


def lines(units: Units) -> list[tuple[str, Callable[[float], str]]]:
    def hours(seconds: float) -> Callable[[float], str]:
        return lambda n: f"{n * seconds / 3600:,.0f} h, ${n * seconds / 3600 * CORE_HOUR:,.0f}"

    def stored(megabytes: float) -> Callable[[float], str]:
        return lambda n: f"{amount(n * megabytes * 1e6)}, ${n * megabytes / 1e3 * GB_MONTH:,.0f}"

    request = EXTRACT_REQUESTS["GET"] * GET + EXTRACT_REQUESTS["PUT"] * PUT
    minutes = SONG_MINUTES
    songs_a_core = 1 / (minutes * units.extract)
    return [
        ("audio at 192 kbit/s, a month", stored(MP3_MB_MINUTE * minutes)),
        ("extraction, core-hours", hours(minutes * units.extract)),
        ("frames kept, a month", stored(units.frames * minutes)),
        ("requests of extraction", lambda n: f"{5 * n:,.0f}, ${n * request:,.0f}"),
        (f"training, {EPOCHS} epochs, core-hours", hours(EPOCHS * units.train)),
        ("prediction from files, core-hours", hours(minutes * units.predict)),
        ("prediction from frames, core-hours", hours(minutes * units.again)),
        ("answers, rows", lambda n: amount(n * units.row)),
        ("answers, windows", lambda n: amount(n * units.windows * minutes)),
        ("parts of 1,000 songs", lambda n: f"{n / 1000:,.0f}"),
        ("cores for extraction in a day", lambda n: f"{n / songs_a_core / 86400:,.1f}"),
        (
            "portions a second then (of 16 songs)",
            lambda n: f"{n / 86400 / 16:,.2f} of {units.tasks:,.0f}",
        ),
        ("PUTs a second then", lambda n: f"{n / 86400:,.1f} of {PUTS_A_SECOND:,}"),
    ]


def amount(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} PB"


if __name__ == "__main__":
    main()
