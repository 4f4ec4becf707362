"""Samples to frames: log-mel and MFCC, equal to librosa's on the whole song.

With ``top_db=80`` over the whole song the frames equal ``librosa.power_to_db`` and
``librosa.feature.mfcc`` at their defaults; with ``top_db=None`` they equal
``power_to_db(..., top_db=None)``. Frames are computed in blocks of a fixed number, so the
same song gives the same bits however its samples arrive.

Definitions: Slaney's mel scale and area normalisation (Auditory Toolbox, 1998, as in
librosa); orthonormal DCT-II; periodic Hann window, frames centred on multiples of the
hop with zeros beyond both ends.
"""

import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from songbag.settings import Sound

Frames = NDArray[np.float32]

_BLOCK = 128  # frames computed at once: what they need fits a processor's cache
FLOOR = 1e-10  # mel power below which everything is -100 dB
_SPOOL = 64 << 20  # bytes of log-mel kept in memory while the loudest band is sought
DELTA = 4  # frames on each side of a first difference


def frame_count(samples: int, sound: Sound) -> int:
    """Frames of a song of ``samples`` samples."""
    return 1 + samples // sound.hop_length


def frames(waveform: NDArray[np.float32], sound: Sound) -> Frames:
    """Return all frames (frames, bands) of a waveform (samples,)."""
    return np.concatenate(list(frame_blocks([waveform], sound)))


def frame_blocks(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield frames (n, bands) of a song whose samples arrive in ``blocks``.

    Parameters
    ----------
    blocks : iterable of ndarray (samples,), float32
        Mono, at ``sound.sample_rate`` Hz; together one song.
    sound : Sound

    Yields
    ------
    ndarray, shape (n, sound.bands), float32
        dB for log-mel; their DCT for MFCC; then their differences with ``deltas``. The
        samples themselves for the waveform. Always finite for finite samples.
    """
    if sound.feature == "waveform":
        return _samples(blocks, sound.hop_length)
    loudness = _log_mel(blocks, sound)
    if sound.top_db is not None:
        loudness = _raised(loudness, sound.top_db, sound.mel_bands)
    if sound.feature == "mfcc":
        loudness = (_cepstra(block, sound) for block in loudness)
    return _with_deltas(loudness) if sound.deltas else loudness


def _samples(blocks: Iterable[NDArray[np.float32]], width: int) -> Iterator[Frames]:
    """Yield samples in frames of ``width``, zeros after the last: 1 + samples // width frames."""
    waiting = np.zeros(0, dtype=np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        whole = len(waiting) // width * width
        if whole:
            yield waiting[:whole].reshape(-1, width)
            waiting = waiting[whole:]
    yield np.pad(waiting, (0, width - len(waiting))).reshape(1, width)


def _log_mel(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    edge = np.zeros(sound.frame_length // 2, dtype=np.float32)
    hop, length = sound.hop_length, sound.frame_length
    needed = (_BLOCK - 1) * hop + length
    waiting = [edge]
    count = len(edge)
    for block in chain(blocks, [edge]):
        waiting.append(block)
        count += len(block)
        if count < needed:
            continue
        buffer = np.concatenate(waiting)
        while len(buffer) >= needed:
            yield _spectra(buffer[:needed], sound)
            buffer = buffer[_BLOCK * hop :]
        waiting, count = [buffer], len(buffer)
    if count >= length:
        yield _spectra(np.concatenate(waiting), sound)


def _spectra(padded: NDArray[np.float32], sound: Sound) -> Frames:
    views = np.lib.stride_tricks.sliding_window_view(padded, sound.frame_length)
    # float32 throughout: librosa does the same, and it is twice as fast
    spectrum = np.fft.rfft(views[:: sound.hop_length] * hann(sound.frame_length))
    power: Frames = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    mel = _mel(power, sound)
    np.maximum(mel, np.float32(FLOOR), out=mel)
    np.log10(mel, out=mel)
    mel *= np.float32(10)
    return mel


def _mel(power: Frames, sound: Sound) -> Frames:
    """Apply Slaney's triangles to power (frames, bins).

    A bin lies under at most two triangles, the falling side of one and the rising side of
    the next, so two sums over neighbouring bins are all there is. Unlike a matrix product
    they do not depend on the number of threads, and cost less.
    """
    rising, falling, first, empty = _triangle_sides(
        sound.sample_rate, sound.frame_length, sound.mel_bands, sound.min_frequency
    )
    up = np.add.reduceat(power * rising, first, axis=1)
    down = np.add.reduceat(power * falling, first, axis=1)
    up[:, empty] = down[:, empty] = 0
    return up[:, :-1] + down[:, 1:]


def _cepstra(loudness: Frames, sound: Sound) -> Frames:
    matrix = cepstrum_matrix(sound.mel_bands, sound.coefficients)
    cepstra: Frames = np.einsum("fm,mc->fc", loudness, matrix)
    return cepstra


def _raised(blocks: Iterable[Frames], top_db: float, bands: int) -> Iterator[Frames]:
    """Raise everything ``top_db`` below the loudest band: two passes, bounded memory."""
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
        loudest = -np.inf
        for block in blocks:
            loudest = max(loudest, float(block.max()))
            spool.write(block.tobytes())
        spool.seek(0)
        floor = np.float32(loudest - top_db)
        while data := spool.read(_BLOCK * bands * 4):
            yield np.maximum(np.frombuffer(data, np.float32).reshape(-1, bands), floor)


def _with_deltas(blocks: Iterable[Frames]) -> Iterator[Frames]:
    """Append regression slopes over 9 frames, the ends repeated beyond themselves.

    The same numbers as ``librosa.feature.delta(mode="nearest")``.
    """
    near: Frames | None = None
    for block in blocks:
        if near is None:
            near = np.repeat(block[:1], DELTA, axis=0)
        near = np.concatenate([near, block])
        if len(near) > 2 * DELTA:
            yield _slopes(near)
            near = near[-2 * DELTA :]
    if near is not None:
        yield _slopes(np.concatenate([near, np.repeat(near[-1:], DELTA, axis=0)]))


def _slopes(near: Frames) -> Frames:
    steps = np.arange(-DELTA, DELTA + 1, dtype=np.float32)
    views = np.lib.stride_tricks.sliding_window_view(near, len(steps), axis=0)
    slopes = np.einsum("fbs,s->fb", views, steps / np.float32(np.sum(steps**2)))
    return np.concatenate([near[DELTA:-DELTA], slopes], axis=1)


# --- constants of a sound ---------------------------------------------------------------


@lru_cache(maxsize=8)
def hann(length: int) -> NDArray[np.float32]:
    """Return the periodic Hann window, shape (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def mel_matrix(sound: Sound) -> Frames:
    """Return the mel filter bank as a matrix, shape (frame_length // 2 + 1, mel_bands)."""
    return _mel(np.eye(1 + sound.frame_length // 2, dtype=np.float32), sound)


@lru_cache(maxsize=8)
def _triangle_sides(
    sample_rate: int, frame_length: int, mel_bands: int, min_frequency: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rising and falling weight of every bin, and the stretches of bins.

    The mel_bands + 2 corners cut the bins into mel_bands + 1 stretches: on stretch k the
    triangle k rises and the triangle k - 1 falls. ``first`` is where each begins among
    the bins; ``empty`` marks stretches narrower than a bin.
    """
    bins = np.linspace(0, sample_rate / 2, 1 + frame_length // 2)
    corners = _corners(sample_rate, mel_bands, min_frequency)
    first = np.searchsorted(bins, corners).clip(max=len(bins) - 1)
    stretch = np.searchsorted(corners, bins, side="right") - 1
    inside = (stretch >= 0) & (stretch <= mel_bands)
    k = stretch.clip(0, mel_bands)
    heights = np.concatenate([[0.0], 2 / (corners[2:] - corners[:-2]), [0.0]])
    along = (bins - corners[k]) / np.diff(corners)[k]
    rising = np.where(inside, along * heights[k + 1], 0)
    falling = np.where(inside, (1 - along) * heights[k], 0)
    empty = np.diff(first) == 0
    return rising.astype(np.float32), falling.astype(np.float32), first[:-1], empty


def _corners(sample_rate: int, mel_bands: int, min_frequency: float) -> NDArray[np.float64]:
    """Return the mel_bands + 2 corner frequencies in Hz, evenly spaced in mel."""
    limits = np.linspace(_hz_to_mel(min_frequency), _hz_to_mel(sample_rate / 2), mel_bands + 2)
    return np.array([_mel_to_hz(mel) for mel in limits])


@lru_cache(maxsize=8)
def cepstrum_matrix(mel_bands: int, coefficients: int) -> NDArray[np.float32]:
    """Return the orthonormal DCT-II, shape (mel_bands, coefficients)."""
    angle = np.pi / mel_bands * (np.arange(mel_bands)[:, None] + 0.5) * np.arange(coefficients)
    matrix = np.cos(angle) * np.sqrt(2 / mel_bands)
    matrix[:, 0] /= np.sqrt(2)
    narrow: NDArray[np.float32] = matrix.astype(np.float32)
    return narrow


# Slaney's scale: linear below 1 kHz (15 mel), then 27 steps for every factor of 6.4.
_LINEAR_HZ = 200 / 3
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ if hz < 1000 else float(15 + np.log(hz / 1000) / _LOG_STEP)


def _mel_to_hz(mel: float) -> float:
    return mel * _LINEAR_HZ if mel < 15 else float(1000 * np.exp(_LOG_STEP * (mel - 15)))
