"""Extract frames into the cache: of one song, or of many songs in several processes.

The same file and sound give the same frames file under the same name, written atomically, so
an extraction can be repeated, run twice at the same time, and distributed over any machines.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from songbag.audio.audio_file import AudioReport, Source, local_source, open_file
from songbag.audio.cache import (
    DamagedFramesError,
    Index,
    Receipt,
    file_stamp,
    frames_key,
    read_frames,
    write_frames,
)
from songbag.audio.changes import workable_rate, write_changed
from songbag.audio.features import Frames
from songbag.audio.sandbox import (
    decode_in_sandbox,
    reuse_decoder,
    run_in_sandbox,
    stop_decoder,
)
from songbag.audio.sandbox_child import Request
from songbag.audio.waveform import Samples
from songbag.encoders.known import find_encoder, remember
from songbag.errors import AudioError
from songbag.parallel.pool import Workers, in_order
from songbag.settings import Limits, Sound
from songbag.storage.files import content_hash
from songbag.storage.remote import AnyPath

Work = Callable[[Source, Sound, AnyPath, Limits], Receipt]

_STORED_AT_ONCE = 64  # receipts written to the index in one commit, which takes milliseconds


def extract(source: Source, sound: Sound, folder: AnyPath, limits: Limits) -> Receipt:
    """Put the frames of one song into the cache, unless they are there, and return a receipt.

    A file that cannot be read raises nothing: its receipt has the status "failed".
    """
    size, mtime_ns = file_stamp(source.path)
    try:
        with local_source(source, limits) as local:
            receipt = _extract_local(local, sound, folder, limits)
    except AudioError as error:
        receipt = Receipt(status="failed", reason=error.reason, message=str(error))
    return msgspec.structs.replace(receipt, size=size, mtime_ns=mtime_ns)


def _extract_local(source: Source, sound: Sound, folder: AnyPath, limits: Limits) -> Receipt:
    open_file(source.path, limits).close()  # refuses what cannot be opened, with the reason
    key = frames_key(content_hash(source.path), source, sound)
    try:
        return read_frames(folder / key)[1]
    except DamagedFramesError:
        pass  # missing or damaged: extracted below
    report = AudioReport()
    frames = np.concatenate(list(decode_rows(source, sound, report, limits, folder)))
    receipt = Receipt(
        status="ok",
        warnings=report.warnings(),
        key=key,
        samples=report.samples,
        bands=frames.shape[1],
        level_db=report.level_db,
    )
    dtype = np.float16 if sound.encoding else np.float32  # rows of encoders are so coarse
    write_frames(folder / key, frames, receipt, dtype)
    return receipt


def decode_rows(
    source: Source, sound: Sound, report: AudioReport, limits: Limits, folder: AnyPath
) -> Iterator[Frames]:
    """Yield the rows of a song: its frames, or what the sound's encoder makes of them.

    Decoding runs in the sandbox; the encoder, whose graph has been checked, in this process, and
    so does what changes the sound, for which a song is held in memory, then in a temporary file.
    """
    if source.change:
        rate = workable_rate(read_header(source.path, limits).native_rate)
        samples = read_samples(source, rate, limits)
        with tempfile.TemporaryDirectory(prefix="songbag-") as temporary:
            path = Path(temporary, "changed.wav")
            write_changed(path, source.change, samples, rate)
            yield from decode_rows(Source(path=str(path)), sound, report, limits, folder)
        return
    frames = decode_in_sandbox(source, sound.frames, report, limits)
    if sound.encoding is None:
        yield from frames
    else:
        yield from find_encoder(sound, folder).rows(frames)


def extract_all(
    sources: Sequence[Source],
    sound: Sound,
    folder: AnyPath,
    limits: Limits | None = None,
    workers: Workers = None,
    work: Work | None = None,
) -> Iterator[Receipt]:
    """Yield a receipt for every source, in order, extracting what the index lacks.

    ``work`` is done with one song, instead of `extract`.

    Examples
    --------
    >>> from pathlib import Path
    >>> receipts = extract_all([Source(path="a.wav")], Sound(), Path("cache"), workers=1)
    >>> [receipt.reason for receipt in receipts]
    ['missing']
    """
    limits = limits or Limits()
    index = Index(folder, sound)
    if sound.encoding is not None:
        remember(find_encoder(sound, folder), folder)  # for workers, here and elsewhere
    indexed = index.lookup(sources)
    todo = [source for source, receipt in zip(sources, indexed, strict=True) if receipt is None]
    task = partial(_extract_in_worker, work or extract, sound, folder, limits)
    extracted = in_order(task, todo, workers, _worker_died, fork=True)
    unstored: list[tuple[Source, Receipt]] = []
    try:
        for source, receipt in zip(sources, indexed, strict=True):
            if receipt is None:
                receipt = next(extracted)
                unstored.append((source, receipt))
            yield receipt
            if len(unstored) >= _STORED_AT_ONCE:
                index.store(unstored)
                unstored = []
    finally:
        extracted.close()
        stop_decoder()
        if unstored:
            index.store(unstored)


def read_header(path: str, limits: Limits) -> AudioReport:
    """Return what a file's header states; one without a length is decoded to learn it.

    Raises AudioError where it cannot be read.
    """
    report = AudioReport()
    function = "songbag.audio.sandbox_child:read_header"
    request = Request(source=Source(path=path), sound=Sound(), limits=limits, function=function)
    for _ in run_in_sandbox(request, report):
        pass
    return report


def stated_seconds(path: str, limits: Limits) -> float:
    """Return the length that a file's header states, else the decoded one.

    Raises AudioError where it cannot be read.
    """
    report = read_header(path, limits)
    return report.claimed_seconds or report.decoded_seconds


def read_samples(source: Source, sample_rate: int, limits: Limits) -> Samples:
    """Return a song as mono samples (samples,) at ``sample_rate`` Hz, decoded in the sandbox.

    Raises AudioError where it cannot be read.
    """
    function, sound = "songbag.audio.sandbox_child:decode_samples", Sound(sample_rate=sample_rate)
    request = Request(source=source, sound=sound, limits=limits, function=function)
    return np.frombuffer(b"".join(run_in_sandbox(request, AudioReport())), dtype=np.float32)


def _extract_in_worker(
    work: Work, sound: Sound, folder: AnyPath, limits: Limits, source: Source
) -> Receipt:
    reuse_decoder()  # in a worker of a pool it ends with the worker
    return work(source, sound, folder, limits)


def _worker_died(source: Source) -> Receipt:
    return Receipt(
        status="failed",
        reason="worker_died",
        message=f"{source.path}: the process that read it died twice; the file is the likely "
        "cause. Leave it out, or convert it with another program.",
    )
