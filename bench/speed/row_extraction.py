"""Audio to founding MFCC windows: 100 mp3 and 100 wav of 60 s, both cores, both sides in a pool.

Whole processes, from start to all windows; then one song of each side without the start;
then where our time goes.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import founding
from measuring import FOUNDING, finish, interleaved, process, ratio_row, share_row
from songs import songs

REST = "all else (hash, pipe, Python, writing)"
OURS = """
import sys, tempfile
from pathlib import Path
from songbag.data.open_songs import AudioOptions, open_audio
from songbag.recipes.load import load_recipe
with tempfile.TemporaryDirectory() as cache:
    dataset = open_audio(sys.argv[1], AudioOptions(Path(cache))).load(load_recipe("founding"))
    from songbag.data.batches import cut_windows
    print(len([cut_windows(bag, bag.starts, 216) for bag in dataset]))
"""


def whole_jobs(tables, rounds):
    """Return rows of the whole job, mp3 and wav."""
    from sys import executable

    for kind, least in (("mp3", 3), ("wav", 5)):
        table = str(tables[kind])
        count = len(founding.read_table(table)[0])
        pooled = [*FOUNDING, "features", table, "--processes", str(os.cpu_count())]
        works = {
            "ours": process([executable, "-c", OURS, table]),
            "theirs": process(pooled, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
        }
        found = interleaved(works, rounds, warm=0)
        work = f"{count} {kind} of 60 s to windows, whole job, both cores"
        yield ratio_row(f"extraction-{kind}", work, found["ours"], found["theirs"], least)


def steady(tables, rounds):
    """Return rows of one song without the start, in this process (ours: its decoder too)."""
    from songbag.audio.audio_file import Source
    from songbag.audio.extract import extract
    from songbag.audio.sandbox import reuse_decoder, stop_decoder
    from songbag.recipes.load import load_recipe
    from songbag.settings import Limits

    sound = load_recipe("founding").sound
    for kind in ("mp3", "wav"):
        path = founding.read_table(tables[kind])[0][0]
        reuse_decoder()

        def ours(path=path):
            with tempfile.TemporaryDirectory() as cache:
                began = time.perf_counter()
                extract(Source(path=path), sound, Path(cache), Limits())
                return time.perf_counter() - began

        found = interleaved(
            {"ours": ours, "theirs": lambda path=path: founding.song_features(path)},
            rounds, warm=2,
        )  # fmt: skip
        stop_decoder()
        yield ratio_row(f"extraction-{kind}-steady", f"one {kind} of 60 s, without the start",
                        found["ours"], found["theirs"], None, "ms")  # fmt: skip


# --- where our time goes ----------------------------------------------------------------


class Clock:
    """Seconds inside functions, by part; a call within a timed call belongs to the outer one.

    ``calls`` counts them, because looking at it 5,000 times a song is time of its own: `cost`.
    """

    def __init__(self):
        self.spent, self.calls, self._inside = defaultdict(float), 0, False

    def timed(self, part, work):
        """Return ``work`` with its time put down to a part."""

        def run(*arguments, **named):
            if self._inside:
                return work(*arguments, **named)
            self.calls += 1
            self._inside, began = True, time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                self._inside = False
                self.spent[part] += time.perf_counter() - began

        return run

    def steps(self, part, generator):
        """Return a generator whose steps are timed."""

        def run(*arguments):
            step = self.timed(part, iter(generator(*arguments)).__next__)
            try:
                while True:
                    yield step()
            except StopIteration:
                return

        return run


def cost(calls):
    """Return the seconds that timing so many calls takes."""
    empty = Clock().timed("", lambda: None)
    began = time.perf_counter()
    for _ in range(calls):
        empty()
    return time.perf_counter() - began


def patches(clock):
    """Return (place, name, timed) of what decoders call."""
    import av
    import numpy as np
    import soxr

    from songbag.audio import decode, features, waveform

    class Stream(soxr.ResampleStream):
        resample_chunk = clock.timed("resampling", soxr.ResampleStream.resample_chunk)

    class Fifo:
        def __init__(self, made=av.AudioFifo):
            self._made = made()
            self.write = clock.timed("channels to mono", self._made.write)
            self.read = clock.timed("channels to mono", self._made.read)

        @property
        def samples(self):
            return self._made.samples

    calls = {
        "decoding": [(decode, "_unpack"), (decode, "_open_container")],
        "channels to mono": [(decode, "channels_of"), (waveform, "downmix")],
        "front-end": [(features, "_spectra"), (np, "square"),
                      (np, "concatenate"), (np, "maximum")],
    }  # fmt: skip
    found = [(decode, "_packets", clock.steps("decoding", decode._packets)),
             (decode, "_read_plain", clock.steps("decoding", decode._read_plain)),
             (av, "AudioFifo", Fifo), (soxr, "ResampleStream", Stream)]  # fmt: skip
    for part, places in calls.items():
        found += [(place, name, clock.timed(part, getattr(place, name))) for place, name in places]
    return found


def profile(tables, kind):
    """Return the seconds of every part of all songs, one worker and its decoder."""
    from songbag.audio import sandbox_child
    from songbag.audio.audio_file import Source
    from songbag.audio.extract import extract_all
    from songbag.audio.sandbox_child import decode_frames
    from songbag.recipes.load import load_recipe
    from songbag.settings import Limits

    clock, log = Clock(), Path(tempfile.mkdtemp()) / "spent"

    def heard(*arguments):  # in the decoder, which is a copy of this process
        patched = patches(clock)
        before = [(place, name, getattr(place, name)) for place, name, _ in patched]
        try:
            for place, name, new in patched:
                setattr(place, name, new)
            yield from decode_frames(*arguments)
        finally:
            for place, name, old in before:
                setattr(place, name, old)
        log.write_text(json.dumps([clock.spent, clock.calls]))

    sandbox_child.decode_frames = heard
    try:
        with tempfile.TemporaryDirectory() as cache:
            sources = [Source(path=path) for path in founding.read_table(tables[kind])[0]]
            began = time.perf_counter()
            list(extract_all(sources, load_recipe("founding").sound, Path(cache), Limits(), 1))
            total = time.perf_counter() - began
    finally:
        sandbox_child.decode_frames = decode_frames
    parts, calls = json.loads(log.read_text())
    return {**parts, REST: total - sum(parts.values()) - cost(calls)}


def shares(tables):
    """Yield rows of the share inside decoding and array calls, and a text of the parts."""
    found = {kind: profile(tables, kind) for kind in ("mp3", "wav")}
    found["both"] = {part: found["mp3"][part] + found["wav"][part] for part in found["wav"]}
    for kind, parts in found.items():
        total = sum(parts.values())
        work = f"share of our time in decoding, resampling and front-end array calls, {kind}"
        least = 0.85 if kind == "both" else None
        row = share_row(f"extraction-{kind}-share", work, 1 - parts[REST] / total, least)
        text = ", ".join(f"{name} {100 * part / total:.0f} %" for name, part in parts.items())
        yield row, f"Extraction of {kind}, one worker and its decoder: {text}."


def main():
    tables = songs()
    rounds = 2 if os.environ.get("BENCH_QUICK") else 5
    rows = [*whole_jobs(tables, rounds), *steady(tables, 7)]
    profiles = []
    for row, text in shares(tables):
        rows.append(row)
        profiles.append(text)
    finish(rows, profiles)


if __name__ == "__main__":
    main()
