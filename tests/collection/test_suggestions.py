"""BADGE: what it draws, beside the gradients themselves."""

import numpy as np
import pytest

from songbag.collection.suggestions import nearest_before, spread_of_doubt


def gradients(p, decisions, x):
    """The outer products that the module never makes."""
    return np.einsum("nk,nd->nkd", p - decisions, x).reshape(len(p), -1)


def answers(songs, labels, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(labels), songs)
    return p, p == p.max(axis=1, keepdims=True), rng.standard_normal((songs, 5))


@pytest.mark.parametrize("seed", range(4))
def test_draws_are_those_of_k_means_on_the_gradients(seed):
    p, decisions, x = answers(40, 3, seed)
    found = spread_of_doubt(p, decisions, x, 12, np.random.default_rng(seed))
    g, rng = gradients(p, decisions, x), np.random.default_rng(seed)
    drawn = [int((g**2).sum(axis=1).argmax())]
    while len(drawn) < 12:
        centres = [np.zeros_like(g[0]), *g[drawn]]  # the origin counts as drawn
        distances = np.min([((g - one) ** 2).sum(axis=1) for one in centres], axis=0)
        distances[drawn] = 0
        drawn.append(int(rng.choice(40, p=distances / distances.sum())))
    assert found == drawn


def test_doubtful_songs_come_before_sure_ones_and_copies_last():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 8))
    doubtful = rng.uniform(0.4, 0.6, 30)
    doubtful[10:] = 0.999
    doubtful[1:5], x[1:5] = doubtful[0], x[0]  # five songs that are one
    p = np.stack([doubtful, 1 - doubtful], axis=1)
    found = spread_of_doubt(p, p == p.max(axis=1, keepdims=True), x, 6, rng)
    assert max(found) < 10
    assert len({min(place, 1) if place < 5 else place for place in found}) >= 5


def test_all_songs_are_drawn_once_whatever_they_are():
    p = np.array([[1.0, 0.0]] * 5)
    found = spread_of_doubt(p, p > 0.5, np.ones((5, 2)), 9, np.random.default_rng(0))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert spread_of_doubt(p, p > 0.5, np.ones((5, 2)), 0, np.random.default_rng(0)) == []


def test_the_nearest_before_is_the_most_alike():
    x = np.random.default_rng(0).standard_normal((9, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    chosen = [3, 8, 1, 5]
    found = nearest_before(x, chosen)
    assert found[0] == (-1, 0.0)
    for number in (1, 2, 3):
        alike = {k: float(x[k] @ x[chosen[number]]) for k in chosen[:number]}
        assert found[number] == (max(alike, key=alike.get), pytest.approx(max(alike.values())))
