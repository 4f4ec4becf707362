"""Random changes of windows in training, so that what they change is not learned."""

import numpy as np
from numpy.typing import NDArray

from songbag.settings import Training

Array = NDArray[np.float32]
_KNOTS = 5  # of a random equaliser


def augment(
    windows: Array,
    targets: Array,
    training: Training,
    mask_value: Array | None,
    mixes: bool,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return the windows of songs, and their targets, changed as a training asks for.

    Windows are (songs, windows, *window_shape), targets (songs, classes). Masks are written into
    ``windows``, unless ``mask_value`` (bands,) is None; songs are mixed only if ``mixes``.
    """
    if mask_value is not None:
        mask(windows, mask_value, training.time_mask, training.band_mask, rng)
    if training.gain or training.filtering:
        windows = colour(windows, training.gain, training.filtering, rng)
    if mixes and training.mixup and len(windows) > 1:
        windows, targets = mix(windows, targets, training.mixup, rng)
    return windows, targets


def mask(
    windows: Array, value: Array, time_mask: int, band_mask: int, rng: np.random.Generator
) -> None:
    """Overwrite one random stretch of frames and one of bands in every window, in place.

    SpecAugment without warping, one mask of each kind: Park et al. (2019), SpecAugment: a simple
    data augmentation method for automatic speech recognition, Interspeech, section 2. The masks'
    lengths are uniform from 0 to ``time_mask`` frames and ``band_mask`` bands; ``value`` (bands,)
    is what masked values become.
    """
    songs, count, frames, bands = windows.shape
    for axis_size, longest, along_time in ((frames, time_mask, True), (bands, band_mask, False)):
        if longest == 0:
            continue
        length = rng.integers(0, min(longest, axis_size) + 1, size=(songs, count, 1))
        first = (rng.random((songs, count, 1)) * (axis_size - length + 1)).astype(np.int64)
        place = np.arange(axis_size)
        inside = (place >= first) & (place < first + length)
        where = inside[..., :, None] if along_time else inside[..., None, :]
        np.copyto(windows, value, where=where)


def colour(windows: Array, gain: float, filtering: float, rng: np.random.Generator) -> Array:
    """Return windows in dB as if recorded louder or softer, through another equaliser.

    Every song gets one amount, uniform within plus and minus ``gain`` dB, and one curve over its
    bands: straight lines between five points, each uniform within plus and minus ``filtering``.
    """
    songs, _, _, bands = windows.shape
    knots = rng.uniform(-filtering, filtering, (songs, _KNOTS))
    place = np.linspace(0, _KNOTS - 1, bands)
    curve = np.stack([np.interp(place, np.arange(_KNOTS), row) for row in knots])
    shift = curve + rng.uniform(-gain, gain, (songs, 1))
    louder: Array = windows + shift[:, None, None, :].astype(np.float32)
    return louder


def mix(
    windows: Array, targets: Array, strength: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return every song mixed with another of the batch, windows and targets alike.

    mixup of songs: one weight from Beta(strength, strength) per song, the larger share staying
    with the song itself. Zhang et al. (2018), mixup: beyond empirical risk minimization, ICLR,
    equation 1.
    """
    other = rng.permutation(len(windows))
    share = rng.beta(strength, strength, size=len(windows)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    wide = share.reshape(-1, *[1] * (windows.ndim - 1))
    blended = wide * windows + (1 - wide) * windows[other]
    return blended, share[:, None] * targets + (1 - share[:, None]) * targets[other]
