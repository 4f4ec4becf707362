"""The work unit: one song's file to cached frames and a receipt, alone or in a pool.

`extract` is pure in effect: the same file and sound give the same frames file under the
same name, written atomically, so it can be repeated, raced and run on any engine.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import msgspec
import numpy as np

from songbag.audio import waveform
from songbag.audio.audio_file import open_file
from songbag.audio.cache import (
    DamagedFramesError,
    Index,
    Receipt,
    file_stamp,
    frames_key,
    read_frames,
    write_frames,
)
from songbag.audio.sandbox import isolated_frames, keep_decoder, release_decoder
from songbag.audio.source import Source
from songbag.errors import AudioError
from songbag.parallel.pool import Workers, in_order
from songbag.settings import Limits, Sound
from songbag.storage.files import content_hash
from songbag.storage.remote import AnyPath, is_url, local_copy

Work = Callable[[Source, Sound, AnyPath, Limits], Receipt]

_REMEMBERED = 64  # receipts written to the index at once: a commit costs milliseconds


def extract(source: Source, sound: Sound, folder: AnyPath, limits: Limits) -> Receipt:
    """Put one song's frames into the cache, unless they are there, and say what happened.

    Never raises for what is wrong with the file: that is a receipt with status "failed".
    """
    size, mtime_ns = file_stamp(source.path)
    try:
        with at_hand(source, limits) as here:
            receipt = _extracted(here, sound, folder, limits)
    except AudioError as error:
        receipt = Receipt(status="failed", reason=error.reason, message=str(error))
    return msgspec.structs.replace(receipt, size=size, mtime_ns=mtime_ns)


def _extracted(source: Source, sound: Sound, folder: AnyPath, limits: Limits) -> Receipt:
    open_file(source.path, limits).close()  # refuses what cannot be opened, with the reason
    key = frames_key(content_hash(source.path), source, sound)
    try:
        return read_frames(folder / key)[1]
    except DamagedFramesError:
        pass  # not there yet, or to be made again
    report = waveform.AudioReport()
    frames = np.concatenate(list(isolated_frames(source, sound, report, limits)))
    receipt = Receipt(
        status="ok",
        warnings=tuple(report.warnings()),
        key=key,
        samples=report.samples,
        bands=frames.shape[1],
        level_db=report.level_db,
    )
    write_frames(folder / key, frames, receipt)
    return receipt


def extract_all(
    sources: Sequence[Source],
    sound: Sound,
    folder: AnyPath,
    limits: Limits | None = None,
    workers: Workers = None,
    work: Work | None = None,
) -> Iterator[Receipt]:
    """Yield a receipt for every source, in order, extracting what the index lacks.

    Parameters
    ----------
    workers : int, engine or None
        Processes; None takes one a core. 1 works in this process.
    work : callable
        What is done with one song, instead of `extract`.
    """
    limits = limits or Limits()
    index = Index(folder, sound)
    known = index.lookup(sources)
    todo = [source for source, receipt in zip(sources, known, strict=True) if receipt is None]
    task = partial(_worked, work or extract, sound, folder, limits)
    made = in_order(task, todo, workers, _died, fork=True)
    news: list[tuple[Source, Receipt]] = []
    try:
        for source, receipt in zip(sources, known, strict=True):
            if receipt is None:
                receipt = next(made)
                news.append((source, receipt))
            yield receipt
            if len(news) >= _REMEMBERED:
                index.remember(news)
                news = []
    finally:
        made.close()
        release_decoder()
        if news:
            index.remember(news)


def _worked(work: Work, sound: Sound, folder: AnyPath, limits: Limits, source: Source) -> Receipt:
    keep_decoder()  # in a worker of a pool it ends with the worker
    return work(source, sound, folder, limits)


def _died(source: Source) -> Receipt:
    return Receipt(
        status="failed",
        reason="worker_died",
        message=f"{source.path}: the process that read it died twice; the file is the likely "
        "cause. Leave it out, or convert it with another program.",
    )


# --- fetching ---
#
# A song in an object store is fetched, decoded like every other, and forgotten.


_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # this machine's disk


@contextmanager
def at_hand(source: Source, limits: Limits) -> Iterator[Source]:
    """Yield the source with a path of this machine; messages keep the name it had.

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
            if error.errno in _OURS:
                raise
            raise AudioError("unreachable", f"{source.path}: cannot be fetched: {error}") from None
        try:
            yield msgspec.structs.replace(source, path=str(copy))
        except AudioError as error:
            text = str(error).replace(str(copy), source.path)
            raise AudioError(error.reason, text) from None
