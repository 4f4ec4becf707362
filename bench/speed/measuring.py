"""Interleaved timing, peak memory, and what a row of the table is."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
SONGBAG = [sys.executable, "-m", "songbag"]
FOUNDING = [sys.executable, str(HERE / "founding.py")]


@dataclass
class Row:
    """One line of the tables on speed in docs/figures.md.

    ``ratio`` is theirs over ours unless ``bar`` says something else; ``met`` whether the bar
    is met; ``key`` names the ratio in ratios.json, and ``higher`` whether more is better.
    """

    key: str
    work: str
    ours: str
    theirs: str
    ratio: float
    bar: str
    met: bool | None = None
    higher: bool = True


def finish(rows, profiles=()):
    """Print rows and profiles for run.py, as the last line of a row's program."""
    print(json.dumps({"rows": [asdict(row) for row in rows], "profiles": list(profiles)}))


def ratio_row(key, work, ours, theirs, least, unit="s"):
    """Return the row of two times and the least ratio that is asked."""
    ratio = theirs / ours
    bar = f"≥ {least:g}×" if least else ""
    met = ratio >= least if least else None
    return Row(key, work, told(ours, unit), told(theirs, unit), round(ratio, 2), bar, met)


def share_row(key, work, share, least):
    """Return the row of a share, and whether the least that is asked is reached."""
    bar = f"≥ {100 * least:.0f} %" if least else ""
    met = share >= least if least else None
    return Row(key, work, f"{100 * share:.0f} %", "", round(share, 2), bar, met)


def told(seconds, unit="s"):
    """Return a time for people."""
    return f"{1000 * seconds:.1f} ms" if unit == "ms" else f"{seconds:.2f} s"


def interleaved(works, rounds, warm=1):
    """Run each work in turn, ``rounds`` times; return the median seconds of each.

    Parameters
    ----------
    works : dict of str to callable
        A callable returns its own seconds as a float, or is timed from outside.
    warm : int
        First rounds that are not counted.
    """
    found = {name: [] for name in works}
    for number in range(rounds + warm):
        for name, work in works.items():
            began = time.perf_counter()
            own = work()
            seconds = own if isinstance(own, float) else time.perf_counter() - began
            if number >= warm:
                found[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def process(command, **environment):
    """Return a work that runs a whole process; what it prints last is kept in ``last``."""

    def work():
        asked = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
        done = subprocess.run(command, env=asked, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command}:\n{done.stdout}{done.stderr[-3000:]}")
        work.last = done.stdout.strip().splitlines()[-1:]

    work.last = []
    return work


class Contestant:
    """A process that stays, and does one round of work whenever it is told."""

    def __init__(self, program, *arguments, **environment):
        command = [sys.executable, str(HERE / program), *map(str, arguments)]
        asked = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, env={**asked, **environment}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, word):
        """Return what the process answers to a word."""
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith("="):
                return json.loads(line[1:])
        raise SystemExit(f"{self._process.args} ended at '{word}'")

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def serve(words):
    """Answer the words on standard input with functions, until it ends."""
    for line in sys.stdin:
        print("=" + json.dumps(words[line.strip()]()), flush=True)


def peak_memory(command):
    """Return the seconds of a command and the most memory its processes had together (bytes).

    Proportional set size, looked at every 20 ms: what processes share is counted once.
    """
    began = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while running.poll() is None:
        most = max(most, sum(_pss(pid) for pid in _tree(running.pid)))
        time.sleep(0.02)
    if running.returncode:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, most


def _tree(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _tree(int(child)))]


def _pss(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
