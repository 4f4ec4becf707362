"""Planted label noise is ranked first."""

import numpy as np

from songbag.quality.label_noise import suspicious_labels


def test_planted_mistakes_are_ranked_first():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 150)
    logits = rng.normal(0, 1, (150, 3)) + 3 * np.eye(3)[truth]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = truth.copy()
    given[:8] = (truth[:8] + 1) % 3
    ranked = suspicious_labels(shares, given)
    assert len(set(ranked[:12]) & set(range(8))) >= 7
    assert all(shares[song].argmax() != given[song] for song in ranked)
    assert shares[ranked[0], given[ranked[0]]] < 0.2
    assert suspicious_labels(np.eye(3)[truth], truth) == []
