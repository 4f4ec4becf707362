"""The level baseline against scikit-learn and cases computed by hand."""

import json

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from songbag.metrics import baselines, classification


def test_level_baseline_is_gaussian_naive_bayes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    level = rng.normal(-20 + 3 * y, 1 + y)
    parameters = json.loads(json.dumps(baselines.fit_level(level, y, 4)))
    model = GaussianNB(var_smoothing=0).fit(level[:, None], y)
    new = np.linspace(-60, 20, 50)
    expected = model.predict_proba(new[:, None])
    np.testing.assert_allclose(baselines.level_probabilities(parameters, new), expected, atol=1e-9)
    np.testing.assert_allclose(parameters["prior"], np.bincount(y) / 300)


def test_level_baseline_floor_and_absent_label():
    parameters = baselines.fit_level(np.array([-10.0, -10.0, -20.0]), np.array([0, 0, 2]), 3)
    assert parameters["deviation"][0] == parameters["deviation"][2] == 0.5
    assert parameters["mean"][0] == -10 and parameters["prior"] == pytest.approx([2 / 3, 0, 1 / 3])
    p = baselines.level_probabilities(parameters, np.array([-10.0, -20.0, -15.0, 300.0]))
    assert p.argmax(axis=1).tolist() == [0, 2, 0, 0] and (p[:, 1] == 0).all()
    np.testing.assert_allclose(p[2], [2 / 3, 0, 1 / 3])
    classification.accuracy(np.array([0, 2, 0, 0]), p)
    for level in ([-10.0, -np.inf, 0.0], [1.0, 2.0]):
        with pytest.raises(ValueError):
            baselines.fit_level(np.array(level), np.array([0, 0, 2]), 3)
