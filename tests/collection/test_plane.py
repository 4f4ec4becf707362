"""Vectors on a plane: the same each time, clusters stay together, few and equal songs work."""

import numpy as np
import pytest

from songbag.collection import plane
from songbag.collection.plane import on_a_plane


def clusters(each):
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(3, 20), each, axis=0) + 0.05 * rng.standard_normal((3 * each, 20))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("most", [plane.MOST_TSNE, 0])
def test_clusters_stay_together_and_the_map_is_the_same_each_time(monkeypatch, most):
    monkeypatch.setattr(plane, "MOST_TSNE", most)  # 0: principal components
    points = on_a_plane(clusters(20))
    assert np.array_equal(points, on_a_plane(clusters(20)))
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(60)
    nearest = distances.argmin(axis=1)
    assert (nearest // 20 == np.arange(60) // 20).all()


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_few_songs_and_equal_songs_have_points(count):
    for vectors in (clusters(3)[:count], np.repeat(clusters(1)[:1], count, axis=0)):
        points = on_a_plane(vectors)
        assert points.shape == (count, 2) and np.isfinite(points).all()
