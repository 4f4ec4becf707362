"""Which part of which file a song is, that file on this machine, and the frames decoded from it."""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from songbag.audio.audio_file import AudioReport
from songbag.audio.features import Frames, frame_blocks
from songbag.audio.waveform import read_blocks
from songbag.errors import AudioError
from songbag.settings import Excerpt, Limits, Record, Sound
from songbag.storage.remote import is_url, local_copy

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # of this machine's disk
_COUNTING_RATE = 8000  # Hz at which a file is decoded to learn its length


class Source(Record, frozen=True):
    """A part of an audio file.

    Attributes
    ----------
    path : str
        Path or URL of the file.
    start, end : float
        Seconds; None for the end of the file.
    excerpt : Excerpt
        Which seconds of that part are used.
    """

    path: str
    start: float = 0.0
    end: float | None = None
    excerpt: Excerpt = Excerpt()

    def part(self) -> str:
        """Return a name of the part, empty for the whole file.

        Examples
        --------
        >>> Source(path="a.mp3").part(), Source(path="a.mp3", end=30.0).part()
        ('', 'c2cbdca0ff3a')
        """
        whole = Source(path=self.path)
        if self == whole:
            return ""
        values = msgspec.json.encode((self.start, self.end, self.excerpt))
        return hashlib.blake2b(values, digest_size=6).hexdigest()


def excerpt_span(source: Source, limits: Limits) -> tuple[float, float | None]:
    """Return (start, end) in seconds of a source with its excerpt applied; end None: to the end.

    A middle excerpt needs the length of the sound. Headers may state a wrong one, so the file
    is decoded once to count its samples.

    Examples
    --------
    >>> excerpt = Excerpt(seconds=10.0)
    >>> excerpt_span(Source(path="a.mp3", start=5.0, excerpt=excerpt), Limits())
    (5.0, 15.0)
    """
    start, end, seconds = source.start, source.end, source.excerpt.seconds
    if seconds is None:
        return start, end
    if source.excerpt.place == "middle":
        report = AudioReport()
        for _ in read_blocks(source.path, _COUNTING_RATE, report, (start, end), limits):
            pass
        start += max(0.0, (report.samples / _COUNTING_RATE - seconds) / 2)
    return start, start + seconds if end is None else min(end, start + seconds)


def decode_frames(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[Frames]:
    """Yield blocks of frames (n, bands) of a source; ``report`` is complete at the end."""
    span = excerpt_span(source, limits)
    return frame_blocks(read_blocks(source.path, sound.sample_rate, report, span, limits), sound)


@contextmanager
def local_source(source: Source, limits: Limits) -> Iterator[Source]:
    """Yield the source with a path of this machine, for a URL that of a temporary copy.

    Messages of errors inside the block name the URL.

    Raises
    ------
    AudioError
        ``missing``, ``unreadable``, ``too_long`` by its size, ``unreachable``.
    """
    if not is_url(source.path):
        yield source
        return
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(local_copy(source.path, limits.file_bytes))
        except FileNotFoundError:
            raise AudioError("missing", f"{source.path}: there is no such file") from None
        except PermissionError as error:
            raise AudioError("unreadable", f"{source.path}: cannot be opened: {error}") from None
        except OverflowError as error:
            raise AudioError(
                "too_long",
                f"{source.path}: {error} are more than the longest allowed recording can have. "
                "Raise --max-hours if this is a real recording.",
            ) from None
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise
            raise AudioError("unreachable", f"{source.path}: cannot be fetched: {error}") from None
        try:
            yield msgspec.structs.replace(source, path=str(copy))
        except AudioError as error:
            text = str(error).replace(str(copy), source.path)
            raise AudioError(error.reason, text) from None
