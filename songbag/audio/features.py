"""Compute frames from samples: log-mel, MFCC, or the samples themselves.

With ``top_db=80`` the frames equal ``librosa.power_to_db`` and ``librosa.feature.mfcc`` of the
whole song at their defaults; with ``top_db=None`` they equal ``power_to_db(..., top_db=None)``.
Frames are computed in blocks of a fixed number, so the same song gives the same bits however
its samples arrive.

Definitions: Slaney's mel scale and area normalisation (Auditory Toolbox, 1998, as in librosa);
orthonormal DCT-II; periodic Hann window; frames centred on multiples of the hop, with zeros
beyond both ends.
"""

import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from songbag.errors import SettingsError
from songbag.parts import features
from songbag.settings import Sound

Frames = NDArray[np.float32]

_BLOCK = 128  # frames computed at once: what they need fits a processor's cache
# Multiplications in one product: BLAS starts no threads for so few, and so no sum depends on
# their number; a decoder forked from a process with such threads needs none either.
_PRODUCT = 1 << 18
FLOOR = 1e-10  # mel power below which everything is -100 dB
_SPOOL = 64 << 20  # bytes of log-mel in memory while the loudest band is sought
DELTA = 4  # frames on each side of a first difference


def frames(waveform: NDArray[np.float32], sound: Sound) -> Frames:
    """Return all frames (frames, bands) of a waveform (samples,).

    Examples
    --------
    >>> sound = Sound(feature="mfcc", coefficients=13)
    >>> frames(np.zeros(22050, np.float32), sound).shape
    (44, 13)
    """
    return np.concatenate(list(frame_blocks([waveform], sound)))


def frame_blocks(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield frames (n, bands) of a song whose mono samples arrive in ``blocks``.

    There are 1 + samples // hop_length in all, finite for finite samples.

    Raises
    ------
    SettingsError
        A feature that another package adds gives frames of another width than it states.
    """
    part = features()[sound.feature]
    for block in part.load()(blocks, sound):
        if block.shape[1:] != (sound.bands,):
            raise SettingsError(
                f"the feature '{sound.feature}' of the package {part.package} gives frames of "
                f"the shape {block.shape[1:]}, but states {sound.bands} bands for these settings."
            )
        yield block


# --- features ---


def logmel(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield log-mel frames, dB, with their differences appended if ``sound.deltas``."""
    loudness = _loudness(blocks, sound)
    return _with_deltas(loudness) if sound.deltas else loudness


def mfcc(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield mel-frequency cepstral coefficients: the DCT-II of log-mel frames.

    With their differences appended if ``sound.deltas``.
    """
    matrix = cepstrum_matrix(sound.mel_bands, sound.coefficients)
    rows = max(1, _PRODUCT // matrix.size)  # in products of at most _PRODUCT
    cepstra = (
        np.concatenate([block[k : k + rows] @ matrix for k in range(0, len(block), rows)])
        for block in _loudness(blocks, sound)
    )
    return _with_deltas(cepstra) if sound.deltas else cepstra


def waveform(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield the samples themselves, ``sound.hop_length`` in a frame, zeros after the last."""
    width = sound.hop_length
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // width * width
        if whole:
            yield rest[:whole].reshape(-1, width)
            rest = rest[whole:]
    yield np.pad(rest, (0, width - len(rest))).reshape(1, width)


# --- steps of log-mel and MFCC ---


def _loudness(blocks: Iterable[NDArray[np.float32]], sound: Sound) -> Iterator[Frames]:
    """Yield log-mel frames (n, mel_bands), dB, none further below the loudest than top_db."""
    loudness = _log_mel(blocks, sound)
    if sound.top_db is None:
        return loudness
    return _raise_to(loudness, sound.top_db, sound.mel_bands)


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
    hop, length = sound.hop_length, sound.frame_length
    # Not sliding_window_view, which is twenty calls of Python for every block.
    shape, strides = (1 + (len(padded) - length) // hop, length), (hop * 4, 4)
    views = np.ndarray(shape, np.float32, np.asarray(padded, np.float32), 0, strides)
    # float32 throughout: librosa does the same, and it is twice as fast
    spectrum = np.fft.rfft(views * hann(length))
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    # A triangle of the mel filter bank covers few bins, so most of its matrix is zeros: apply
    # the triangles a few neighbours at a time.
    mel = np.empty((len(power), sound.mel_bands), dtype=np.float32)
    for bins, bands, weights in _triangle_groups(sound):
        np.matmul(power[:, bins], weights, out=mel[:, bands])
    loudness = np.maximum(mel, np.float32(FLOOR))
    np.log10(loudness, out=loudness)
    loudness *= np.float32(10)
    return loudness


def _raise_to(blocks: Iterable[Frames], top_db: float, bands: int) -> Iterator[Frames]:
    """Raise values more than ``top_db`` below the loudest: two passes, bounded memory."""
    in_memory, room, loudest = list[Frames](), _SPOOL // (_BLOCK * bands * 4), -np.inf
    with tempfile.SpooledTemporaryFile(max_size=1) as spool:  # a file from the first byte on
        for block in blocks:
            loudest = max(loudest, float(block.max()))
            if len(in_memory) < room:
                in_memory.append(block)
            else:
                spool.write(block.tobytes())
        floor = np.float32(loudest - top_db)
        yield from (np.maximum(block, floor) for block in in_memory)
        spool.seek(0)
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
            yield _append_slopes(near)
            near = near[-2 * DELTA :]
    if near is not None:
        yield _append_slopes(np.concatenate([near, np.repeat(near[-1:], DELTA, axis=0)]))


def _append_slopes(near: Frames) -> Frames:
    steps = np.arange(-DELTA, DELTA + 1, dtype=np.float32)
    views = np.lib.stride_tricks.sliding_window_view(near, len(steps), axis=0)
    slopes = np.einsum("fbs,s->fb", views, steps / np.float32(np.sum(steps**2)))
    return np.concatenate([near[DELTA:-DELTA], slopes], axis=1)


# --- constants of a sound ---------------------------------------------------------------


@lru_cache(maxsize=8)
def hann(length: int) -> NDArray[np.float32]:
    """Return the periodic Hann window, shape (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_matrix(sound: Sound) -> Frames:
    """Return Slaney's mel filter bank, shape (frame_length // 2 + 1, mel_bands).

    Each column is a triangle over the bins of a spectrum, with an area of 1 in Hz.
    """
    bins, corners = _bins(sound), _corners(sound)
    rising = (bins[:, None] - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins[:, None]) / np.diff(corners)[1:]
    heights = 2 / (corners[2:] - corners[:-2])
    narrow: Frames = (np.minimum(rising, falling).clip(min=0) * heights).astype(np.float32)
    return narrow


@lru_cache(maxsize=8)
def _triangle_groups(sound: Sound) -> list[tuple[slice, slice, Frames]]:
    """Return (bins, bands, their part of the matrix) of neighbouring triangles."""
    corners = _corners(sound)
    first = np.searchsorted(_bins(sound), corners[:-2])
    last = np.searchsorted(_bins(sound), corners[2:])
    groups, begin = [], 0
    while begin < sound.mel_bands:
        sizes = (last[begin:] - first[begin]) * np.arange(1, sound.mel_bands - begin + 1)
        end = begin + max(1, int(np.searchsorted(sizes, _PRODUCT // _BLOCK, side="right")))
        bins, bands = slice(first[begin], last[end - 1]), slice(begin, end)
        groups.append((bins, bands, np.ascontiguousarray(mel_matrix(sound)[bins, bands])))
        begin = end
    return groups


def _bins(sound: Sound) -> NDArray[np.float64]:
    return np.linspace(0, sound.sample_rate / 2, 1 + sound.frame_length // 2)


def _corners(sound: Sound) -> NDArray[np.float64]:
    """Return the mel_bands + 2 corner frequencies in Hz, evenly spaced in mel."""
    low, high = _hz_to_mel(sound.min_frequency), _hz_to_mel(sound.sample_rate / 2)
    limits = np.linspace(low, high, sound.mel_bands + 2)
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
