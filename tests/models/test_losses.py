"""Losses and weights of songs."""

import numpy as np
import pytest

from songbag.metrics.label_kinds import MULTILABEL, SINGLE_LABEL
from songbag.models import losses


def test_rare_labels_weigh_more():
    y = np.array([0, 0, 0, 1])
    weights = losses.song_weights(y, 2, SINGLE_LABEL, balance=True)
    assert weights.mean() == pytest.approx(1)
    assert weights[3] == pytest.approx(3 * weights[0])


def test_smoothing_deals_out_over_classes_or_over_yes_and_no():
    targets = np.array([[0.0, 0.0, 1.0]])
    smoothed = losses.smoothed(targets, SINGLE_LABEL, 0.3)
    np.testing.assert_allclose(smoothed, [[0.1, 0.1, 0.8]])
    smoothed = losses.smoothed(targets, MULTILABEL, 0.3)
    np.testing.assert_allclose(smoothed, [[0.15, 0.15, 0.85]])
