"""Statistics of windows, against NumPy."""

import numpy as np
import pytest
import torch

from songbag.audio.features import cepstrum_matrix
from songbag.models.song_statistics import WindowStatistics
from tests.helpers.networks import BANDS


def test_statistics_are_what_numpy_computes():
    windows = np.random.default_rng(0).normal(-30, 8, (3, 108, BANDS)).astype(np.float32)
    statistics = WindowStatistics((108, BANDS))
    found, rates = statistics(torch.from_numpy(windows)).numpy(), statistics.rate.shape[1]
    levelled = windows.mean(axis=1) - windows.mean(axis=(1, 2))[:, None]
    np.testing.assert_allclose(found[:, :64], levelled, atol=1e-4)
    np.testing.assert_allclose(found[:, 64:128], windows.std(axis=1), atol=1e-3)
    np.testing.assert_allclose(found[:, 128:192], np.diff(windows, axis=1).std(axis=1), atol=1e-3)
    cubes = ((windows - windows.mean(axis=1, keepdims=True)) ** 3).mean(axis=1)
    wanted = cubes / (windows.std(axis=1) ** 3 + 1)
    np.testing.assert_allclose(found[:, 192:256], wanted, atol=1e-3)
    cepstra = windows @ cepstrum_matrix(BANDS, 20)
    covariance = [np.cov(one.T, bias=True)[np.triu_indices(20)] for one in cepstra]
    np.testing.assert_allclose(found[:, 256:466], covariance, rtol=2e-3, atol=2e-2)
    grouped = windows.reshape(3, 108, 16, 4).mean(axis=3)
    hann = np.hanning(109)[:108, None]
    power = np.abs(np.fft.rfft((grouped - grouped.mean(axis=1, keepdims=True)) * hann, axis=1)) ** 2
    slowest = np.log(power[:, 1] / 108 + 1e-3)
    np.testing.assert_allclose(found[:, 466::rates], slowest, atol=1e-3)


def test_statistics_do_not_depend_on_loudness():
    windows = torch.randn(4, 108, BANDS) * 8 - 40
    statistics = WindowStatistics((108, BANDS))
    np.testing.assert_allclose(statistics(windows + 12.0), statistics(windows), atol=2e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 22, 500])
@pytest.mark.parametrize("bands", [1, 2, 13, 128])
def test_statistics_take_windows_of_any_size_and_stay_finite(frames, bands):
    statistics = WindowStatistics((frames, bands))
    silence = torch.full((2, frames, bands), -100.0, requires_grad=True)
    found = statistics(silence)
    assert found.shape == (2, statistics.values)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(silence.grad).all()
