"""Windows changed at random, so that what does not tell the label is not learned."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_KNOTS = 5  # of a random equaliser


def masked(
    windows: Array, fill: Array, time_mask: int, band_mask: int, rng: np.random.Generator
) -> Array:
    """Overwrite one random stretch of frames and one of bands in every window.

    SpecAugment (Park et al. 2019, section 2) without warping, one mask of each kind.

    Parameters
    ----------
    windows : ndarray, shape (songs, windows, frames, bands); changed in place
    fill : ndarray, shape (bands,)
        What masked values become: the training mean of each band.
    time_mask, band_mask : int
        Longest masks; lengths are uniform from 0.
    """
    songs, count, frames, bands = windows.shape
    for axis_size, longest, along_time in ((frames, time_mask, True), (bands, band_mask, False)):
        if longest == 0:
            continue
        length = rng.integers(0, min(longest, axis_size) + 1, size=(songs, count, 1))
        first = (rng.random((songs, count, 1)) * (axis_size - length + 1)).astype(np.int64)
        place = np.arange(axis_size)
        hidden = (place >= first) & (place < first + length)
        mask = hidden[..., :, None] if along_time else hidden[..., None, :]
        np.copyto(windows, fill, where=mask)
    return windows


def coloured(windows: Array, gain: float, filtering: float, rng: np.random.Generator) -> Array:
    """Return windows in dB as if recorded louder or softer, through another equaliser.

    Parameters
    ----------
    windows : ndarray, shape (songs, windows, frames, bands)
    gain : float
        dB. Every song gets one amount, uniform within plus and minus this.
    filtering : float
        dB. Every song gets one curve over its bands: straight lines between five points,
        each uniform within plus and minus this.
    """
    songs, _, _, bands = windows.shape
    knots = rng.uniform(-filtering, filtering, (songs, _KNOTS))
    place = np.linspace(0, _KNOTS - 1, bands)
    curve = np.stack([np.interp(place, np.arange(_KNOTS), row) for row in knots])
    shift = curve + rng.uniform(-gain, gain, (songs, 1))
    louder: Array = windows + shift[:, None, None, :].astype(np.float32)
    return louder


def mixed(
    windows: Array, targets: Array, strength: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Mix every song with another of the batch, input and target alike.

    mixup (Zhang et al. 2018, equation 1) of songs: one weight from Beta(strength,
    strength) a song, the larger share staying with the song itself.
    """
    other = rng.permutation(len(windows))
    share = rng.beta(strength, strength, size=len(windows)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    wide = share.reshape(-1, *[1] * (windows.ndim - 1))
    blended = wide * windows + (1 - wide) * windows[other]
    return blended, share[:, None] * targets + (1 - share[:, None]) * targets[other]
