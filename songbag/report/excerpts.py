"""Short pieces of songs, small enough to lie inside a page."""

import base64
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from songbag.audio import waveform
from songbag.audio.audio_file import AudioReport
from songbag.audio.source import Source, excerpt_span
from songbag.audio.waveform import write_waveform
from songbag.errors import AudioError
from songbag.settings import Limits

LONGEST = 10.0  # seconds; of a longer window its beginning is heard
_RATE = 24_000
_BIT_RATE = 48_000  # mono mp3: 6 kB a second, and every browser plays it
_FADE_SECONDS = 0.02  # so that a cut does not click

Span = tuple[float, float]


def cut_excerpts(source: Source, spans: Sequence[Span]) -> list[bytes]:
    """Return a piece of a song as mp3 for every span; none where the song cannot be read.

    Parameters
    ----------
    source : Source
    spans : sequence of (start, end)
        Seconds in what was heard of the song, as in windows.csv.
    """
    if not spans or not Path(source.path).is_file():
        return []
    try:
        pieces = _pieces(source, [(start, min(end, start + LONGEST)) for start, end in spans])
    except AudioError:
        return []
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_mp3, pieces))


def data_address(piece: bytes) -> str:
    """Return an mp3 as an address that holds it."""
    return "data:audio/mpeg;base64," + base64.b64encode(piece).decode()


def _pieces(source: Source, spans: Sequence[Span]) -> list[waveform.Samples]:
    """Decode a song once, up to the last span's end, and keep only what is wanted."""
    begin, end = excerpt_span(source, Limits())
    last = begin + max(stop for _, stop in spans)
    span = (begin, last if end is None else min(last, end))
    kept: list[list[waveform.Samples]] = [[] for _ in spans]
    behind = 0
    for block in waveform.read_blocks(source.path, _RATE, AudioReport(), span):
        for pieces, (start, stop) in zip(kept, spans, strict=True):
            first, final = (max(0, round(at * _RATE) - behind) for at in (start, stop))
            pieces.append(block[first:final])
        behind += len(block)
    return [np.concatenate(pieces) for pieces in kept]


def _mp3(piece: waveform.Samples) -> bytes:
    with tempfile.TemporaryDirectory(prefix="songbag-") as folder:
        path = Path(folder) / "piece.mp3"
        write_waveform(path, _faded(piece), _RATE, _BIT_RATE)
        return path.read_bytes()


def _faded(piece: waveform.Samples) -> waveform.Samples:
    length = min(int(_FADE_SECONDS * _RATE), len(piece) // 2)
    ramp = np.ones(len(piece), dtype=np.float32)
    ramp[:length] = np.linspace(0, 1, length)
    ramp[len(piece) - length :] = np.linspace(1, 0, length)
    faded: waveform.Samples = np.clip(piece * ramp, -1, 1).astype(np.float32)
    return faded
