"""Linear networks solved exactly, against scikit-learn."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from sklearn.linear_model import LogisticRegression

from songbag.metrics.label_kinds import MULTILABEL
from songbag.models import build, linear_solver
from songbag.settings import Own
from tests.helpers.networks import BANDS, LBFGS, mean_logit, noise_songs


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("penalty", [0.03, 1.0])
def test_the_exact_solution_is_scikit_learns(classes, penalty):
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=60)
    x = rng.normal(5, 3, (60, 8)) + y[:, None] * rng.normal(0, 1, 8)
    network = build.build("linear", (8,), mean_logit(classes), 0.0, None)
    head = linear_solver.linear_head(network)
    pooling = mean_logit(classes)
    linear_solver.solve_head(head, torch.from_numpy(x), y, pooling, LBFGS, penalty)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    model = LogisticRegression(
        C=1 / (penalty * len(y)), class_weight="balanced", tol=1e-10, max_iter=2000
    ).fit(scaled, y)
    with torch.no_grad():
        found = network(torch.from_numpy(x.astype(np.float32))).softmax(dim=1)
    np.testing.assert_allclose(found, model.predict_proba(scaled), atol=2e-4)


@pytest.mark.parametrize("songs", [60, 20])
def test_whitening_is_a_penalty_by_the_covariance_within_labels(songs):
    rng, share, penalty = np.random.default_rng(0), 0.8, 0.1
    y = np.arange(songs) % 3
    x = rng.normal(0, 1, (songs, 30)) @ rng.normal(0, 1, (30, 30)) + y[:, None]
    network = build.build("linear", (30,), mean_logit(3), 0.0, None)
    head, training = linear_solver.linear_head(network), replace(LBFGS, whitening=share)
    linear_solver.solve_head(head, torch.from_numpy(x), y, mean_logit(3), training, penalty)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    away = scaled - np.stack([scaled[y == label].mean(axis=0) for label in y])
    covariance = away.T @ away / songs
    shrunk = share * covariance / np.diag(covariance).mean() + (1 - share) * np.eye(30)
    white = scaled @ np.linalg.inv(np.linalg.cholesky(shrunk)).T
    model = LogisticRegression(C=1 / (penalty * songs), class_weight="balanced", max_iter=9000)
    model.set_params(tol=1e-10).fit(white, y)
    with torch.no_grad():
        solved = network(torch.from_numpy(x.astype(np.float32))).softmax(dim=1)
    np.testing.assert_allclose(solved, model.predict_proba(white), atol=2e-4)


@pytest.mark.parametrize("multilabel", [False, True])
def test_where_labels_have_no_covariance_nothing_is_whitened(multilabel):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(0, 1, (2, 4)), 1 if multilabel else 3, axis=0)
    y = np.eye(2, dtype=np.int64) if multilabel else np.repeat([0, 1], 3)
    pooling = mean_logit(2, MULTILABEL) if multilabel else mean_logit(2)
    weights = []
    for share in (0.0, 0.9):
        network = build.build("linear", (4,), pooling, 0.0, None)
        head, training = linear_solver.linear_head(network), replace(LBFGS, whitening=share)
        linear_solver.solve_head(head, torch.from_numpy(x), y, pooling, training, 0.1)
        weights.append(head.linear.weight.detach().numpy())
    np.testing.assert_array_equal(*weights)


def test_with_several_labels_every_label_is_its_own_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (80, 5))
    y = (x[:, :3] + rng.normal(0, 1, (80, 3)) > 0).astype(np.int64)
    network = build.build("linear", (5,), mean_logit(3, MULTILABEL), 0.0, None)
    head = linear_solver.linear_head(network)
    linear_solver.solve_head(head, torch.from_numpy(x), y, mean_logit(3, MULTILABEL), LBFGS, 0.1)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    found = torch.sigmoid(network(torch.from_numpy(x.astype(np.float32)))).detach()
    for label in range(3):  # the loss is the mean over labels, so each has a third of it
        model = LogisticRegression(C=1 / (3 * 0.1 * 80), tol=1e-10).fit(scaled, y[:, label])
        np.testing.assert_allclose(found[:, label], model.predict_proba(scaled)[:, 1], atol=2e-4)


def test_folds_are_predicted_without_themselves_and_solutions_averaged():
    heard = noise_songs(18)
    y = np.arange(18) % 3
    fold_of = np.arange(18) // 3 % 3
    shape = (108, BANDS)
    network = build.network_for(heard, LBFGS, shape, mean_logit(3), Own())
    logits, row = linear_solver.solve_folds(network, heard, y, fold_of, mean_logit(3), LBFGS)
    assert row["penalty"] in linear_solver.MULTIPLES
    again = build.network_for(heard, LBFGS, shape, mean_logit(3), Own())
    x = linear_solver.song_features(again, heard)
    head, each = linear_solver.linear_head(again), []
    for fold in range(3):
        taught = torch.from_numpy(fold_of != fold)
        linear_solver.solve_head(
            head, x[taught], y[fold_of != fold], mean_logit(3), LBFGS, row["penalty"]
        )
        with torch.no_grad():
            said = head.linear((x.float() - head.mean) / head.deviation).numpy()
        each.append(said)
        np.testing.assert_allclose(logits[fold_of == fold], said[fold_of == fold], atol=1e-4)
    with torch.no_grad():
        together = linear_solver.linear_head(network)
        mean_logits = together.linear((x.float() - together.mean) / together.deviation).numpy()
    np.testing.assert_allclose(mean_logits, np.mean(each, axis=0), atol=1e-4)
