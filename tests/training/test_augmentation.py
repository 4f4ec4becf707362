"""Masks and mixed songs."""

import numpy as np

from songbag.training import augmentation


def test_masks_hide_behind_the_mean():
    rng = np.random.default_rng(0)
    windows = np.ones((2, 50, 30, 8), np.float32)
    augmentation.mask(windows, np.full(8, 5, np.float32), 10, 4, rng)
    assert (windows == 5).any()
    assert set(np.unique(windows)) <= {1, 5}
    assert (windows == 5).all(axis=3).sum(axis=2).max() <= 10


def test_mixup_mixes_inputs_and_targets_alike():
    rng = np.random.default_rng(0)
    targets = np.eye(4, dtype=np.float32)
    windows = targets[:, None, None, :] * np.ones((4, 3, 5, 4), np.float32)
    mixed, mixed_targets = augmentation.mix(windows, targets, 0.4, rng)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2)), mixed_targets, atol=1e-6)
    assert (np.diag(mixed_targets) >= 0.5).all()
