"""A server at half of its capacity for a long time, with bad files among the songs.

Prints the resident memory of the server and all its processes each minute, its slope, how long
answers took, and whether one was wrong or lost. By default at least 12,000 requests over at
least 20 minutes. Talks to 127.0.0.1 only.

    python bench/long_service.py [--minutes 20] [--requests 12000] [--workers 2]
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from serving import ask, capacity, form, model_and_songs, offered, serving

CAPACITY_SECONDS = 15.0
WARM = 0.2  # of the time, which the slope leaves out: caches fill and libraries load


def bad_files(folder: Path, song: Path) -> list[Path]:
    """Write files that no server can answer with a label."""
    folder.mkdir()
    noise = np.random.default_rng(0).bytes(200_000)
    contents = {
        "empty.mp3": b"",
        "photo.mp3": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + noise,
        "noise.flac": b"fLaC" + noise,
        "head.wav": song.read_bytes()[:40],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


class Memory:
    """Looks each second at the memory of a process and of all below it."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self.seconds: list[float] = []
        self.server: list[float] = []
        self.all: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        began, minute = time.monotonic(), 0
        while not self._end.wait(1.0):
            sizes = [self.process.memory_info().rss]
            for child in self.process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # decoders come and go
                    sizes.append(child.memory_info().rss)
            self.seconds.append(time.monotonic() - began)
            self.server.append(sizes[0] / 1e6)
            self.all.append(sum(sizes) / 1e6)
            if self.seconds[-1] >= 60 * (minute + 1):
                minute += 1
                own, every = (float(np.median(of[-60:])) for of in (self.server, self.all))
                print(
                    f"minute {minute:3d}  server {own:.0f} MB, all {len(sizes)} processes "
                    f"{every:.0f} MB; files open in the server: {self.process.num_fds()}",
                    flush=True,
                )

    def slope(self, values: list[float]) -> float:
        """Return MB per hour, by least squares, of the time after the first fifth."""
        first = int(WARM * len(values))
        return float(3600 * np.polyfit(self.seconds[first:], values[first:], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="at least")
    parser.add_argument("--requests", type=int, default=12_000, help="at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="founding")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model, songs = model_and_songs(Path(name), options.recipe)
        bad = bad_files(Path(name) / "bad", songs[0])
        requests = [form(path) for pair in zip(songs, bad + bad, strict=True) for path in pair]
        with serving(model, options.workers) as (server, port):
            expected = [ask(port, request) for request in requests]
            statuses = [status for status, _ in expected]
            assert statuses == [200, 422] * len(songs), statuses
            most = capacity(
                port, requests, options.workers, min(CAPACITY_SECONDS, 20 * options.minutes)
            )
            rate = most / 2
            seconds = max(60 * options.minutes, options.requests / rate)
            print(
                f"{rate:.1f} requests/s, half of capacity, for {seconds / 60:.1f} minutes; "
                "half of the files are bad",
                flush=True,
            )
            with Memory(server.pid) as memory:
                found = offered(port, requests, expected, rate, seconds)
    found |= {
        "minutes": seconds / 60,
        "server_mb": [min(memory.server), max(memory.server)],
        "all_mb": [min(memory.all), max(memory.all)],
        "server_mb_per_hour": memory.slope(memory.server),
        "all_mb_per_hour": memory.slope(memory.all),
    }
    print(
        f"{found['answered']} answered as the first time, p50 {found['p50_ms']:.0f} ms, p99 "
        f"{found['p99_ms']:.0f} ms; {found['busy']} told to come back, {found['wrong']} wrong, "
        f"{found['lost']} lost\n"
        f"memory: server {found['server_mb'][0]:.0f} to {found['server_mb'][1]:.0f} MB, slope "
        f"{found['server_mb_per_hour']:+.1f} MB/h; all {found['all_mb'][0]:.0f} to "
        f"{found['all_mb'][1]:.0f} MB, slope {found['all_mb_per_hour']:+.1f} MB/h"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(1 if found["wrong"] or found["lost"] else 0)


if __name__ == "__main__":
    main()
