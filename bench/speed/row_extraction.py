"""Audio to founding MFCC windows: 100 mp3 and 100 wav of 60 s, both cores, both sides in a pool.

Whole processes, from start to all windows; then one song of each side without the start;
then where our time goes.
"""

import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import founding
from measuring import FOUNDING, finish, interleaved, process, ratio_row, share_row
from songs import songs

OURS = """
import sys, tempfile, numpy as np
from pathlib import Path
from songbag.songs.table import read_songs
from songbag.settings import Limits
from songbag.songs.song_bags import hear
from songbag.recipes import load_recipe
with tempfile.TemporaryDirectory() as cache:
    table, recipe = read_songs(Path(sys.argv[1])), load_recipe("founding")
    heard = hear(table, recipe, Path(cache), Limits(), None, lambda made, count: made)
    from songbag.learning.batches import cut_windows
    print(len([cut_windows(bag, bag.starts, 216) for bag in heard]))
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
    from songbag.recipes import load_recipe
    from songbag.settings import Limits
    from songbag.sound.extraction import extract
    from songbag.sound.isolation import keep_decoder, release_decoder
    from songbag.sound.source import Source

    sound = load_recipe("founding").sound
    for kind in ("mp3", "wav"):
        path = founding.read_table(tables[kind])[0][0]
        keep_decoder()

        def ours(path=path):
            with tempfile.TemporaryDirectory() as cache:
                began = time.perf_counter()
                extract(Source(path=path), sound, Path(cache), Limits())
                return time.perf_counter() - began

        found = interleaved(
            {"ours": ours, "theirs": lambda path=path: founding.song_features(path)},
            rounds, warm=2,
        )  # fmt: skip
        release_decoder()
        yield ratio_row(f"extraction-{kind}-steady", f"one {kind} of 60 s, without the start",
                        found["ours"], found["theirs"], None, "ms")  # fmt: skip


# --- where our time goes ----------------------------------------------------------------


def shares(tables, kind):
    """Return (share inside decoding, resampling and array calls, text of all parts)."""
    import soxr

    from songbag.recipes import load_recipe
    from songbag.settings import Limits
    from songbag.sound import audio, downmix, features, isolation
    from songbag.sound.extraction import extract_all
    from songbag.sound.source import Source, heard_frames

    paths = founding.read_table(tables[kind])[0][:30]
    spent = defaultdict(float)
    log = Path(tempfile.mkdtemp()) / "spent"

    def timed(name, work):
        def run(*arguments, **named):
            began = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - began

        return run

    class Stream(soxr.ResampleStream):
        resample_chunk = timed("resampling", soxr.ResampleStream.resample_chunk)

    def packets(*arguments):
        step = timed("decoding", iter(original(*arguments)).__next__)
        try:
            while True:
                yield step()
        except StopIteration:
            return

    def heard(*arguments):
        yield from heard_frames(*arguments)
        log.write_text(repr(dict(spent)))

    original = audio._packets
    kept = [(audio, "_packets", packets), (audio, "_frames", timed("decoding", audio._frames)),
            (audio, "_container", timed("decoding", audio._container)),
            (audio, "joined", timed("channels to mono", downmix.joined)),
            (audio, "downmix", timed("channels to mono", downmix.downmix)),
            (soxr, "ResampleStream", Stream), (isolation, "heard_frames", heard),
            (features, "_spectra", timed("front-end", features._spectra)),
            (features, "_cepstra", timed("front-end", features._cepstra))]  # fmt: skip
    before = [(place, name, getattr(place, name)) for place, name, _ in kept]
    for place, name, new in kept:
        setattr(place, name, new)
    try:
        with tempfile.TemporaryDirectory() as cache:
            sources = [Source(path=path) for path in paths]
            began = time.perf_counter()
            list(extract_all(sources, load_recipe("founding").sound, Path(cache), Limits(), 1))
            total = time.perf_counter() - began
    finally:
        for place, name, old in before:
            setattr(place, name, old)
    parts = eval(log.read_text())
    parts["all else (hash, pipe, Python, writing)"] = total - sum(parts.values())
    text = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in parts.items())
    return sum(value for name, value in parts.items() if name[:3] != "all") / total, text


def main():
    tables = songs()
    rounds = 2 if os.environ.get("BENCH_QUICK") else 3
    rows = [*whole_jobs(tables, rounds), *steady(tables, 7)]
    profiles = []
    for kind in ("mp3", "wav"):
        share, text = shares(tables, kind)
        work = f"share of our time in decoding, resampling and front-end array calls, {kind}"
        rows.append(share_row(f"extraction-{kind}-share", work, share, 0.85))
        profiles.append(f"Extraction of {kind}, one worker and its decoder: {text}.")
    finish(rows, profiles)


if __name__ == "__main__":
    main()
