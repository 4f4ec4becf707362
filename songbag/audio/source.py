"""What is heard: which part of which file, and its frames as they come."""

import hashlib
from collections.abc import Iterator

import msgspec

from songbag.audio import features, waveform
from songbag.settings import Excerpt, Limits, Record, Sound


class Source(Record, frozen=True):
    """Where a song's sound lies: a file, a part of it in seconds, an excerpt of that part."""

    path: str
    start: float = 0.0
    end: float | None = None
    excerpt: Excerpt = Excerpt()

    def part(self) -> str:
        """Return a name for the part that is heard, empty for the whole file."""
        whole = Source(path=self.path)
        if self == whole:
            return ""
        values = msgspec.json.encode((self.start, self.end, self.excerpt))
        return hashlib.blake2b(values, digest_size=6).hexdigest()


def heard_span(source: Source, limits: Limits) -> tuple[float, float | None]:
    """Return (start, end) in seconds of what is heard of a file, its excerpt applied.

    A middle excerpt needs the length of the sound; headers lie about it, so the file is
    decoded once to count.
    """
    start, end, seconds = source.start, source.end, source.excerpt.seconds
    if seconds is None:
        return start, end
    if source.excerpt.place == "middle":
        report = waveform.AudioReport()
        for _ in waveform.read_blocks(source.path, 8000, report, (start, end), limits):
            pass
        start += max(0.0, (report.samples / 8000 - seconds) / 2)
    return start, start + seconds if end is None else min(end, start + seconds)


def heard_frames(
    source: Source, sound: Sound, report: waveform.AudioReport, limits: Limits
) -> Iterator[features.Frames]:
    """Yield blocks of frames (n, bands) of a song; ``report`` is complete at the end."""
    span = heard_span(source, limits)
    blocks = waveform.read_blocks(source.path, sound.sample_rate, report, span, limits)
    return features.frame_blocks(blocks, sound)
