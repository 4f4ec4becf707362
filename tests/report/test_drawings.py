"""Positions of ticks and bars."""

import numpy as np
import pytest

from songbag.report.drawings import Axis, timeline
from songbag.report.pages import clock


@pytest.mark.parametrize("low", [0.0, -3.2, 0.31, 1e-5])
@pytest.mark.parametrize("width", [1e-4, 0.08, 0.5, 1, 7, 1234])
def test_ticks_are_few_round_and_inside(low, width):
    axis = Axis(low, low + width)
    ticks = axis.ticks(5)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= low + width + 1e-9 for tick in ticks)
    assert all(0 <= axis.at(tick) <= 100 for tick in ticks)


def test_a_timeline_has_signs_and_a_limit():
    bars = timeline([1.0, -0.5, 0.0])
    assert [bar["side"] for bar in bars] == ["for", "against", "for"]
    assert bars[0]["height"] == 48
    assert bars[1]["y"] == 50
    long = timeline(np.sin(np.arange(5000)).tolist())
    assert len(long) == 240
    assert clock(59.96) == "1:00"
    assert clock(67.5) == "1:07.5"
