"""Where the songs of a folder's predictions are (audio.csv), and excerpts of them as mp3.

audio.csv has one row per song that comes from a file. A file beside the folder or below is
named relative to it, so that both can be moved together; any other by its absolute path.
"""

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np

from songbag.audio import waveform
from songbag.audio.audio_file import AudioReport, Source
from songbag.audio.waveform import excerpt_span, write_waveform
from songbag.errors import AudioError
from songbag.settings import Excerpt, Limits
from songbag.storage.files import read_csv, write_csv

FILE = "audio.csv"
MAX_SECONDS = 10.0  # of one excerpt
_COLUMNS = ["id", "path", "start", "end", "excerpt_seconds", "excerpt_place"]
_RATE = 24_000
_BIT_RATE = 48_000  # mono mp3: 6 kB per second, and every browser plays it
_FADE_SECONDS = 0.02  # so that a cut does not click


def write_recordings(folder: Path, sources: Mapping[str, Source]) -> None:
    """Write audio.csv from song ids to their sources, unless no song has a file."""
    base = folder.resolve()
    rows = []
    for song, source in sources.items():
        if not source.path:
            continue
        path = Path(source.path).resolve()
        near = path.is_relative_to(base.parent)
        rows.append(
            {
                "id": song,
                "path": Path(os.path.relpath(path, base)).as_posix() if near else str(path),
                "start": source.start,
                "end": source.end,
                "excerpt_seconds": source.excerpt.seconds,
                "excerpt_place": source.excerpt.place,
            }
        )
    if rows:
        write_csv(folder / FILE, rows, _COLUMNS)


def read_recordings(folder: Path) -> dict[str, Source]:
    """Return the sources of a folder's songs by id, with absolute paths; {} without audio.csv."""
    if not (folder / FILE).exists():
        return {}
    sources = {}
    for row in read_csv(folder / FILE):
        seconds = float(row["excerpt_seconds"]) if row["excerpt_seconds"] else None
        middle = row["excerpt_place"] == "middle"
        sources[row["id"]] = Source(
            path=os.path.normpath(folder.resolve() / row["path"]),
            start=float(row["start"] or 0),
            end=float(row["end"]) if row["end"] else None,
            excerpt=Excerpt(seconds=seconds, place="middle" if middle else "first"),
        )
    return sources


def link_to(path: str, home: Path, start: float = 0.0, end: float | None = None) -> str:
    """Return the address of a file for a page in the folder ``home``: relative where it can be.

    A player begins at ``start`` and stops at ``end`` seconds.
    """
    until = "" if end is None else f",{end:g}"
    part = f"#t={start:g}{until}" if start or until else ""
    try:
        relative = os.path.relpath(path, home.resolve()).replace(os.sep, "/")
    except ValueError:  # another drive of Windows
        return Path(path).as_uri() + part
    return quote(os.fsencode(relative)) + part


def cut_excerpts(source: Source, spans: Sequence[tuple[float, float]]) -> list[str]:
    """Return an excerpt of a song for each span, as a ``data:`` address of an mp3.

    Spans are (start, end) in seconds within the source, of which the first `MAX_SECONDS` are
    used. The list is empty where the song cannot be read.
    """
    if not spans or not Path(source.path).is_file():
        return []
    spans = [(start, min(end, start + MAX_SECONDS)) for start, end in spans]
    pieces: list[list[waveform.Samples]] = [[] for _ in spans]
    samples = 0
    try:
        # The song is decoded once, up to the end of the last span.
        begin, end = excerpt_span(source, Limits())
        last = begin + max(stop for _, stop in spans)
        part = (begin, last if end is None else min(last, end))
        for block in waveform.read_blocks(source.path, _RATE, AudioReport(), part):
            for blocks, span in zip(pieces, spans, strict=True):
                first, final = (max(0, round(at * _RATE) - samples) for at in span)
                blocks.append(block[first:final])
            samples += len(block)
    except AudioError:
        return []
    # Encoding runs outside of Python's lock: on two cores a report is 0.7 s sooner.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_mp3_address, map(np.concatenate, pieces)))


def _mp3_address(excerpt: waveform.Samples) -> str:
    length = min(int(_FADE_SECONDS * _RATE), len(excerpt) // 2)
    fade = np.ones(len(excerpt), dtype=np.float32)
    fade[:length] = np.linspace(0, 1, length)
    fade[len(excerpt) - length :] = np.linspace(1, 0, length)
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        path = Path(folder) / "excerpt.mp3"
        write_waveform(path, np.clip(excerpt * fade, -1, 1).astype(np.float32), _RATE, _BIT_RATE)
        return "data:audio/mpeg;base64," + base64.b64encode(path.read_bytes()).decode()
