"""Vectors on a plane, so that what is alike lies close together."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from songbag.collection.vectors import Vectors
from songbag.errors import SettingsError

MOST_TSNE = 20_000  # songs; t-SNE takes minutes for as many, and grows faster than their number
_FEWEST_TSNE = 5  # songs
_PERPLEXITY = 30.0  # how many songs count as close; a third of a small collection


def require_tsne(songs: int) -> None:
    """Refuse a map of so many songs, before they are heard, where it needs what is not installed.

    Raises
    ------
    SettingsError
        scikit-learn is not installed, and the songs are neither few nor very many.
    """
    if _FEWEST_TSNE <= songs <= MOST_TSNE and not find_spec("sklearn"):
        raise SettingsError(
            "a map needs scikit-learn, which is not installed: pip install 'songbag[train]'."
        )


def on_a_plane(directions: Vectors, seed: int = 0) -> NDArray[np.float64]:
    """Return a point (songs, 2) for each vector: by t-SNE, or by the principal components.

    t-SNE keeps what is close together close together; distances between far points mean little.
    Principal components are taken below 5 and above 20,000 songs.

    Parameters
    ----------
    directions : ndarray of float32, shape (songs, values)
        Of length 1, so that their distance says how alike they are
        (`songbag.collection.vectors.Neighbours`); at least two values.
    seed : int
        Of t-SNE.

    Raises
    ------
    SettingsError
        scikit-learn is not installed.

    References
    ----------
    van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.

    Examples
    --------
    >>> on_a_plane(np.eye(3, dtype=np.float32)).shape
    (3, 2)
    """
    centred = directions - directions.mean(axis=0)
    axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1]
    components: NDArray[np.float64] = centred @ axes[:, :-3:-1]
    if not _FEWEST_TSNE <= len(directions) <= MOST_TSNE:
        return components
    require_tsne(len(directions))
    from sklearn.manifold import TSNE

    # Begun with the components: the whole picture is theirs, and the same for the same songs.
    begin = 1e-4 * components / max(float(components[:, 0].std()), 1e-9)
    perplexity = min(_PERPLEXITY, (len(directions) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=begin.astype(np.float32), random_state=seed)
    points: NDArray[np.float64] = tsne.fit_transform(directions).astype(np.float64)
    return points
