"""Losses and weights of songs."""

import numpy as np
import pytest

from songbag.metrics.label_kinds import SINGLE_LABEL
from songbag.models import losses


def test_rare_labels_weigh_more():
    y = np.array([0, 0, 0, 1])
    weights = losses.song_weights(y, 2, SINGLE_LABEL, balance=True)
    assert weights.mean() == pytest.approx(1)
    assert weights[3] == pytest.approx(3 * weights[0])
