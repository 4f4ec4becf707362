"""How typical a song is of the songs that a model was trained on: distances and p-values.

The distance is Mahalanobis', to the nearest label [1]_. A p-value says how many songs of training,
held out in turn, were at least as far away [2]_: of songs like them about a share of alpha has a
p-value of at most alpha.

References
----------
.. [1] Lee, Lee, Lee, Shin (2018), A simple unified framework for detecting out-of-distribution
   samples and adversarial attacks, NeurIPS, equation 2.
.. [2] Bates, Candès, Lei, Romano, Sesia (2023), Testing for outliers with conformal p-values,
   Annals of Statistics 51, equation 2.
"""

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from songbag.errors import ModelFileError, SettingsError

Values = NDArray[np.float32]


def squared_distances(white: NDArray[np.floating], centres: Values) -> NDArray[np.float64]:
    """Return squared distances (n,) of white vectors (n, values) from the nearest centre.

    Examples
    --------
    >>> squared_distances(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 3.0]], np.float32))
    array([1.])
    """
    away = white[:, None, :].astype(np.float64) - centres
    nearest: NDArray[np.float64] = (away**2).sum(axis=2).min(axis=1)
    return nearest


@dataclass(frozen=True)
class PValues:
    """From distances to p-values: linear between knots, constant beyond the first and last.

    Between two distances of held-out songs it lies above the conformal p-value, which is a step
    there; so it is no less careful, and two ways to compute a distance give nearly the same.

    Attributes
    ----------
    knots, levels : ndarray of float32, shape (knots,)
        Distances, ascending, and their p-values.
    """

    knots: Values
    levels: Values

    @classmethod
    def fit(cls, distances: NDArray[np.float64], most: int | None = None) -> Self:
        """Fit to distances (songs,) of songs held out; to ``most`` of them, evenly chosen."""
        ordered, total = np.sort(distances).astype(np.float32), len(distances)
        knots, first = np.unique(ordered, return_index=True)
        levels = (1 + total - first) / (1 + total)
        if most is not None and len(knots) > most:
            chosen = np.linspace(0, len(knots) - 1, most).astype(int)
            knots, levels = knots[chosen], levels[chosen]
        # Farther than every song: the least p-value there is.
        step = knots[-1] - knots[-2] if len(knots) > 1 else knots[-1] + 1
        beyond = max(knots[-1] + step, np.nextafter(knots[-1], np.float32(np.inf)))
        knots, levels = np.append(knots, beyond), np.append(levels, 1 / (1 + total))
        return cls(knots.astype(np.float32), levels.astype(np.float32))

    def of(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return p-values of distances.

        Examples
        --------
        >>> p_values = PValues.fit(np.array([1.0, 2.0, 3.0]))
        >>> p_values.of(np.array([0.0, 2.0, 2.5, 9.0]))
        array([1.   , 0.75 , 0.625, 0.25 ])
        """
        return np.interp(distances, self.knots, self.levels)


def require_enough(songs: int, level: float) -> None:
    """Refuse a level that is none, or that so many songs of calibration cannot tell.

    The least p-value of n songs is 1 / (n + 1) [2]_.

    Examples
    --------
    >>> require_enough(19, 0.05)
    >>> require_enough(18, 0.05)
    Traceback (most recent call last):
    songbag.errors.SettingsError: unknown=0.05: that takes 19 songs of training; there are 18.
    Give more songs, or a level from 0.0527.
    """
    if not 0 <= level < 1:
        raise SettingsError(f"unknown={level}: it is a share of songs, from 0 to below 1.")
    if level and songs + 1 < 1 / level - 1e-9:
        least = -(-10_000 // (songs + 1)) / 10_000
        raise SettingsError(
            f"unknown={level:g}: that takes {round(1 / level) - 1} songs of training; there are "
            f"{songs}. Give more songs, or a level from {least:g}."
        )


@dataclass(frozen=True)
class Typicality:
    """What a model keeps to say how typical songs and windows are.

    Attributes
    ----------
    centres : ndarray of float32, shape (classes, values)
        As of the `Gaussian` that makes vectors white.
    songs, windows : PValues
        Of songs' mean vectors, and of single windows'.
    """

    centres: Values
    songs: PValues
    windows: PValues

    @property
    def values(self) -> int:
        """Length of the vectors."""
        return int(self.centres.shape[1])

    @property
    def calibration_songs(self) -> int:
        """Number of songs that the p-values of songs come from."""
        return round(1 / float(self.songs.levels[-1])) - 1

    def of_song(self, white: Values) -> float:
        """Return the p-value of a song from the white vectors (windows, values) of its windows."""
        mean = white.mean(axis=0, keepdims=True, dtype=np.float64)
        return float(self.songs.of(squared_distances(mean, self.centres))[0])

    def of_windows(self, white: Values) -> NDArray[np.float64]:
        """Return p-values (windows,) of windows from their white vectors (windows, values)."""
        return self.windows.of(squared_distances(white, self.centres))

    def part(self) -> bytes:
        """Return all arrays as safetensors, for `from_part`."""
        from safetensors.numpy import save

        of_songs, of_windows = asdict(self.songs), asdict(self.windows)
        arrays = {"centres": self.centres}
        arrays |= {f"song_{name}": values for name, values in of_songs.items()}
        return save(arrays | {f"window_{name}": values for name, values in of_windows.items()})

    @classmethod
    def from_part(cls, part: bytes) -> Self:
        """Return what `part` was made of.

        Raises
        ------
        ModelFileError
            It was made of something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(part)
            songs, windows = (
                PValues(arrays[f"{what}_knots"], arrays[f"{what}_levels"])
                for what in ("song", "window")
            )
            centres = arrays["centres"]
        except (SafetensorError, KeyError) as error:
            raise ModelFileError(f"the model's typicality is damaged: {error}.") from None
        sound = all(
            curve.knots.ndim == 1
            and curve.knots.shape == curve.levels.shape
            and (np.diff(curve.knots) > 0).all()
            and (curve.levels > 0).all()
            and len(curve.knots) > 1
            for curve in (songs, windows)
        )
        if not sound or centres.ndim != 2 or not centres.size:
            raise ModelFileError("the model's typicality has values that no training gives.")
        return cls(centres, songs, windows)
