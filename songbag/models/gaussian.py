"""Normal distributions of vectors by class: what is typical of them, and how far others are."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from songbag.metrics.typicality import PValues, Typicality, Values, squared_distances

_MOST_KNOTS = 2000  # of windows, which are many


@dataclass(frozen=True)
class Gaussian:
    """Normal distributions of vectors by class, with one covariance.

    Attributes
    ----------
    mean : ndarray of float32, shape (values,)
    matrix : ndarray of float32, shape (values, values)
        Vectors less ``mean``, times this matrix, are white: uncorrelated, with unit variance.
    centres : ndarray of float32, shape (classes, values)
        Means of the classes, white.
    """

    mean: Values
    matrix: Values
    centres: Values

    @classmethod
    def fit(cls, vectors: NDArray[np.float64], classes: NDArray[np.int64]) -> Self:
        """Fit to vectors (songs, values) of classes (songs,).

        The covariance within classes is shrunk as Ledoit and Wolf do (2004), so that it exists
        where songs are fewer than values.
        """
        from sklearn.covariance import ledoit_wolf

        mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
        scale = 1 / np.where(deviation > 0, deviation, 1.0)
        scaled = (vectors - mean) * scale
        present = np.unique(classes)
        centres = np.stack([scaled[classes == one].mean(axis=0) for one in present])
        within = scaled - centres[np.searchsorted(present, classes)]
        # A value that never varies has a variance of one, and whoever departs from it is far.
        spread, directions = np.linalg.eigh(ledoit_wolf(within)[0] + np.diag(deviation == 0))
        whitening = directions / np.sqrt(np.maximum(spread, 1e-6))
        matrix = scale[:, None] * whitening
        return cls(*(x.astype(np.float32) for x in (mean, matrix, centres @ whitening)))

    def distances(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return squared distances (n,) of vectors (n, values) from the nearest class."""
        return squared_distances((vectors - self.mean) @ self.matrix, self.centres)


def fit_typicality(
    vectors: NDArray[np.float64],
    windows: list[NDArray[np.float32]],
    classes: NDArray[np.int64],
    fold_of: NDArray[np.int64],
    drawn: NDArray[np.bool_],
) -> tuple[Gaussian, Typicality]:
    """Fit to songs, with p-values from distances of songs held out in turn.

    Parameters
    ----------
    vectors : ndarray of float64, shape (songs, values)
        Mean vectors of the songs.
    windows : list of ndarray of float32, shape (windows, values)
        Vectors of some windows of each song.
    classes, fold_of : ndarray of int64, shape (songs,)
        Class of each song, and the fold in which it is held out.
    drawn : ndarray of bool, shape (songs,)
        Songs whose distances make the p-values; others were chosen for being unusual.
    """
    of_songs, of_windows = np.zeros(len(vectors)), []
    for fold in np.unique(fold_of):
        others = fold_of != fold
        gaussian = Gaussian.fit(vectors[others], classes[others])
        of_songs[~others] = gaussian.distances(vectors[~others])
        of_windows += [
            gaussian.distances(windows[song]) for song in np.flatnonzero(~others & drawn)
        ]
    gaussian = Gaussian.fit(vectors, classes)
    p_windows = PValues.fit(np.concatenate(of_windows), _MOST_KNOTS)
    return gaussian, Typicality(gaussian.centres, PValues.fit(of_songs[drawn]), p_windows)
