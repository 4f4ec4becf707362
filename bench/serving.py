"""A server under load that does not wait: songs come at a fixed rate, answered or not.

Measures the capacity (songs/s with every process busy), then sends songs at 0.5, 1 and 2
times of it and prints how long answers took, how many were told to come back (503), and
that no answer was wrong or lost. Talks to 127.0.0.1 only.

    python bench/serving.py [--seconds 30] [--workers 2] [--recipe founding]
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LOADS = (0.5, 1.0, 2.0)
THREADS = 200  # requests under way at most; a load that needs more is said to be lost


def form(path: Path) -> tuple[bytes, dict[str, str]]:
    edge = "songbag-bench"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def ask(port: int, request: tuple[bytes, dict[str, str]]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict?kept=true", *request)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def capacity(
    port: int, requests: list[tuple[bytes, dict[str, str]]], workers: int, seconds: float
) -> float:
    """Return songs/s when there is always one more waiting than processes."""
    until = time.monotonic() + seconds
    done = Counter[int]()

    def run(start: int) -> None:
        number = start
        while time.monotonic() < until:
            status, _ = ask(port, requests[number % len(requests)])
            done[status] += 1
            number += 1

    threads = [threading.Thread(target=run, args=(k,)) for k in range(workers + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (done.total() - done[503]) / seconds


def offered(
    port: int,
    requests: list[tuple[bytes, dict[str, str]]],
    expected: list[tuple[int, bytes]],
    rate: float,
    seconds: float,
) -> dict[str, Any]:
    """Send songs at a fixed rate; time counts from when each should have been sent."""
    found, waits = Counter[str](), []

    def send(number: int, due: float) -> None:
        song = number % len(requests)
        try:
            status, body = ask(port, requests[song])
        except OSError:
            found["lost"] += 1
            return
        if status == 503:
            found["busy"] += 1
        elif (status, body) == expected[song]:
            found["answered"] += 1
            waits.append(time.monotonic() - due)
        else:
            found["wrong"] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            threads.submit(send, number, due)
    p50, p99 = np.quantile(waits, [0.5, 0.99]) if waits else (float("nan"),) * 2
    counts = {name: found[name] for name in ("answered", "busy", "wrong", "lost")}
    return {"rate": rate, **counts, "p50_ms": 1000 * float(p50), "p99_ms": 1000 * float(p99)}


@contextmanager
def serving(model: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start `songbag serve`; yield its process and its port."""
    command = [sys.executable, "-m", "songbag", "serve", str(model), "--no-browser"]
    command += ["--port", "0", "--workers", str(workers)]
    environment = {name: v for name, v in os.environ.items() if name != "SONGBAG_TOKEN"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stderr is not None
    try:
        yield server, int(server.stderr.readline().rstrip("/\n").rpartition(":")[2])
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()


def model_and_songs(folder: Path, recipe: str) -> tuple[Path, list[Path]]:
    """Write a model and eight songs of 30 s in several formats."""
    from songbag.console import Console
    from songbag.tasks.demo import write_songs

    songs = write_songs(folder / "songs", 6, 0, Console(quiet=True))
    train = [sys.executable, "-m", "songbag", "train", str(songs), "--quiet"]
    train += ["-o", str(folder / "m.songbag"), "--recipe", recipe, "--epochs", "2"]
    subprocess.run([*train, "--cache", str(folder / "cache")], check=True)
    return folder / "m.songbag", sorted((songs.parent / "audio").iterdir())[:8]


def measure(
    model: Path, songs: list[Path], seconds: float, workers: int = 2
) -> dict[str, dict[str, Any]]:
    """Return what each load gave, and print it."""
    with serving(model, workers) as (_, port):
        requests = [form(song) for song in songs]
        expected = [ask(port, request) for request in requests]
        most = capacity(port, requests, workers, seconds / 2)
        print(f"capacity  {most:.1f} songs/s with {workers} processes")
        results = {}
        for load in LOADS:
            found = offered(port, requests, expected, load * most, seconds)
            results[f"{load:g}x"] = found
            print(
                f"{load:g}x  {found['rate']:.1f}/s: {found['answered']} answered, p50 "
                f"{found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms; {found['busy']} told to "
                f"come back, {found['wrong']} wrong, {found['lost']} lost"
            )
        return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="founding")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model, songs = model_and_songs(Path(name), options.recipe)
        results = measure(model, songs, options.seconds, options.workers)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
