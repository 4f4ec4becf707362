"""Which songs to label next: those that a model doubts, and that are unlike each other.

A labelled song that a model is unsure of teaches it more than one that it knows, and two that are
alike teach it little more than one. BADGE [1]_ takes both at once. Were the answer ŷ of the model
the truth of a song with the vector x and the probabilities p, the gradient of the loss by the
weights of a linear classifier would be

    g = (p - ŷ) ⊗ x

which is long where the model doubts, and points where the song lies. Songs are drawn one after the
other as the first centres of k-means are [2]_: each with a probability proportional to the squared
distance of its g from the nearest g that was drawn before. Here the origin counts as drawn, too: a
song that the model is sure of lies there, and would else be drawn once.

References
----------
.. [1] Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020), Deep batch active learning by diverse,
   uncertain gradient lower bounds, ICLR.
.. [2] Arthur, Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spread_of_doubt(
    probabilities: NDArray[np.floating],
    decisions: NDArray[np.bool_],
    vectors: NDArray[np.floating],
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return the places of songs to label, in the order in which BADGE draws them.

    Parameters
    ----------
    probabilities, decisions : ndarray, shape (songs, labels)
        What the model answers, and which labels it gives.
    vectors : ndarray, shape (songs, values)
        Of the songs, of similar length.
    count : int
        Songs to draw, at most all.
    rng
        Draws all but the first, which is the one with the longest gradient.

    Examples
    --------
    Of two pairs of songs that are alike, one pair in doubt, and a song that is sure:

    >>> p = np.array([[0.6, 0.4], [0.6, 0.4], [0.55, 0.45], [0.55, 0.45], [1.0, 0.0]])
    >>> x = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    >>> spread_of_doubt(p, p > 0.5, x, 2, np.random.default_rng(0))
    [2, 1]
    """
    errors = probabilities - decisions
    lengths = (errors**2).sum(axis=1) * (vectors**2).sum(axis=1)
    distances, left = lengths.astype(np.float64), np.ones(len(errors), dtype=np.bool_)
    chosen = list[int]()
    while len(chosen) < min(count, len(errors)):
        total = distances[left].sum()
        if not chosen or total <= 0:  # the first; or there is nothing new in all others
            place = int(np.where(left, lengths, -1).argmax())
        else:
            place = int(rng.choice(len(errors), p=np.where(left, distances, 0) / total))
        products = (errors @ errors[place]) * (vectors @ vectors[place])
        away = np.maximum(lengths + lengths[place] - 2 * products, 0)
        distances = np.minimum(distances, away)
        chosen.append(place)
        left[place] = False
    return chosen


def nearest_before(
    directions: NDArray[np.floating], chosen: Sequence[int]
) -> list[tuple[int, float]]:
    """Return of each chosen song the place of the most similar one before it, and how similar.

    ``directions`` (songs, values) are of length 1. The first has none: it is (-1, 0.0).

    >>> nearest_before(np.eye(3)[[0, 0, 1]], [2, 0, 1])
    [(-1, 0.0), (2, 0.0), (0, 1.0)]
    """
    vectors = directions[list(chosen)]
    nearest = [(-1, 0.0)]
    for number in range(1, len(chosen)):
        alike = vectors[:number] @ vectors[number]
        best = int(alike.argmax())
        nearest.append((chosen[best], float(alike[best])))
    return nearest
