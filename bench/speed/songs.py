"""The songs all rows work on: generated, 60 s, stereo, 44.1 kHz, half mp3 and half wav.

They are made once, in build/bench, by the seeded generator of `songbag demo`.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import soxr

from songbag.audio.synthesis import GENRES, synthesise
from songbag.audio.waveform import write_waveform
from songbag.parallel.pool import in_order, worker_count

FOLDER = Path(__file__).parent.parent.parent / "build" / "bench"
RATE, SECONDS = 44100, 60.0
COUNT = int(os.environ.get("BENCH_SONGS", "200"))
_SIDES = (
    "train",
    "train",
    "train",
    "test",
    "train",
    "train",
    "train",
    "validation",
    "train",
    "test",
)


def songs(count: int = COUNT) -> dict[str, Path]:
    """Return tables: ``mp3`` and ``wav`` with half of the songs each, ``all``, and a ``few``."""
    (FOLDER / "songs").mkdir(parents=True, exist_ok=True)
    todo = [n for n in range(count) if not _file(n).exists()]
    if todo:
        print(f"making {len(todo)} songs in {FOLDER.name}", file=sys.stderr, flush=True)
    for _ in in_order(_write, todo, worker_count(None, max(1, len(todo))), _died):
        pass
    rows = [
        {"path": f"songs/{_file(n).name}", "label": GENRES[n % 3], "split": _SIDES[n // 3 % 10]}
        for n in range(count)
    ]
    chosen = {"mp3": rows[::2], "wav": rows[1::2], "all": rows, "few": rows[:30]}
    return {name: _table(f"{name}-{count}.csv", some) for name, some in chosen.items()}


def recording(minutes: float) -> Path:
    """Return a mono mp3 of so many minutes: a minute again and again, louder and softer."""
    path = FOLDER / f"recording-{minutes:g}.mp3"
    if not path.exists():
        import av

        FOLDER.mkdir(parents=True, exist_ok=True)
        minute = synthesise("drift", np.random.default_rng(9), SECONDS, RATE)
        with av.open(str(path.with_suffix(".part")), "w", format="mp3") as container:
            stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
            stream.bit_rate = 128_000
            stream.codec_context.open()
            size = stream.codec_context.frame_size
            cut = av.AudioResampler("fltp", "mono", RATE, frame_size=size)
            for number in range(round(minutes)):
                part = (minute * (0.5 + 0.5 * (number % 7) / 6))[None]
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate = RATE
                for piece in cut.resample(frame):
                    container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        path.with_suffix(".part").rename(path)
    return path


def _file(number: int) -> Path:
    return FOLDER / "songs" / f"{GENRES[number % 3]}-{number:03d}.{('mp3', 'wav')[number % 2]}"


def _write(number: int) -> None:
    rng = np.random.default_rng([17, number])
    left = soxr.resample(synthesise(GENRES[number % 3], rng, SECONDS, RATE // 2), RATE // 2, RATE)
    right = 0.7 * left + 0.3 * np.roll(left, rng.integers(200, 2000))
    part = _file(number).with_name(f"part-{_file(number).name}")
    write_waveform(part, np.stack([left, right.astype(np.float32)]), RATE, 192_000)
    part.rename(_file(number))


def _died(number: int) -> None:
    raise RuntimeError(f"the process that made song {number} died")


def _table(name: str, rows: list[dict[str, str]]) -> Path:
    with open(FOLDER / name, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, ["path", "label", "split"])
        out.writeheader()
        out.writerows(rows)
    return FOLDER / name
