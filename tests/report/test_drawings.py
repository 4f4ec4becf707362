"""Positions of ticks and bars."""

import numpy as np
import pytest

from songbag.report.drawings import SHARES, Axis, polyline, symmetric_axis, timeline
from songbag.report.pages import clock, metric, points, short, time


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


def test_lines_and_axes():
    assert polyline([0, 5], [0.2, 1.0], Axis(0, 10), SHARES) == "0,80 50,0"
    assert symmetric_axis([0.5, None, -1.0]) == Axis(-1.06, 1.06)
    assert Axis(0.0, 20.0).ticks() == [0, 5, 10, 15, 20]


def test_numbers_are_written_for_readers():
    assert [clock(67.5), clock(59.96)] == ["1:07.5", "1:00"]
    assert [points(0.123), points(-0.05), points(0.0001)] == ["+12.3", "−5.0", "0.0"]
    assert [short("0.123456"), short("12"), short("middle")] == ["0.123", "12", "middle"]
    times = [time(seconds) for seconds in (12.3, 204, 4320, 7200)]
    assert times == ["12\u00a0s", "3.4\u00a0min", "72\u00a0min", "2.0\u00a0h"]
    assert metric("my_own") == ("my own", "")
