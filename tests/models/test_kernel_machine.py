"""The kernel machine: its closed form is least squares, however the windows come."""

import numpy as np
import pandas
import pytest
import torch

import songbag
from songbag.errors import SongTableError, TrainingError
from songbag.metrics.label_kinds import MULTILABEL, SINGLE_LABEL
from songbag.models import kernel_machine
from songbag.models.build import network_for, song_pooling
from songbag.recipes.load import load_recipe
from songbag.settings import Own

TRAINING = load_recipe("windows").training


def bags_of(songs=12, classes=3, seed=0, values=4, most=9):
    """Songs of one to nine windows; the label is in their mean."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most + 1, songs)
    ids = np.repeat([f"song {n:03d}" for n in range(songs)], counts)
    label = np.repeat(np.arange(songs) % classes, counts)
    features = rng.normal(label[:, None], 1.0, (len(ids), values)) ** 3  # heavy tails
    bags = songbag.bags_from_arrays(features, np.array(list("abcd"))[label], ids)
    return bags, np.arange(songs) % classes


def made(bags, classes, kind=SINGLE_LABEL):
    pooling = song_pooling("mean_logit", Own(), classes, kind)
    return network_for(bags, TRAINING, bags[0].features.shape[1:], pooling, Own()), pooling


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("block", [4, 8192])
def test_the_solution_is_that_of_weighted_least_squares(classes, block, monkeypatch):
    """Against a plain solver on all rows at once: windows, and songs as their means."""
    monkeypatch.setattr(kernel_machine, "_BLOCK", block)
    bags, y = bags_of(30, classes)
    network, pooling = made(bags, classes)
    kernel_machine.solve(network, bags, y, pooling, TRAINING)
    features, head = network.network.head.features, network.network.head
    with torch.no_grad():
        phi = [features(torch.from_numpy(bag.features)).double().numpy() for bag in bags]
    songs = np.stack([rows.mean(axis=0) for rows in phi])
    of_song = len(y) / (classes * np.bincount(y))[y]
    weights = np.concatenate(
        [np.full(len(r), w / len(r)) for r, w in zip(phi, of_song)] + [of_song]
    )
    rows = np.concatenate([*phi, songs])
    labels = np.concatenate([np.repeat(y, [len(r) for r in phi]), y])
    targets = (np.eye(classes)[labels] - 1 / classes)[:, -pooling.outputs :]
    weights /= weights.sum()
    # Minimise sum w (x b + c - t)^2 + penalty b'Kb as an ordinary least squares problem.
    likeness = features.likeness().numpy()
    root = np.linalg.cholesky(
        TRAINING.weight_decay * likeness + kernel_machine._JITTER * np.eye(len(likeness))
    )
    left = np.vstack([
        np.sqrt(weights)[:, None] * np.hstack([rows, np.ones((len(rows), 1))]),
        np.hstack([root.T, np.zeros((len(root), 1))]),
    ])  # fmt: skip
    right = np.vstack([np.sqrt(weights)[:, None] * targets, np.zeros((len(root), pooling.outputs))])
    truth = np.linalg.lstsq(left, right, rcond=None)[0]
    answers = (
        songs @ head.linear.weight.detach().double().numpy().T + head.linear.bias.detach().numpy()
    )
    np.testing.assert_allclose(answers, songs @ truth[:-1] + truth[-1], atol=2e-3)


def test_folds_are_answered_by_solutions_without_them():
    bags, y = bags_of(40)
    fold_of = np.arange(40) % 4
    network, pooling = made(bags, 3)
    logits, row = kernel_machine.solve_folds(network, bags, y, fold_of, pooling, TRAINING)
    assert row["penalty"] in kernel_machine.PENALTIES
    changed = y.copy()
    changed[fold_of == 2] = (y[fold_of == 2] + 1) % 3  # labels that no solution of fold 2 may see
    monkey, _ = made(bags, 3)
    others, _ = kernel_machine.solve_folds(monkey, bags, changed, fold_of, pooling, TRAINING)
    shape = lambda z: z[fold_of == 2] / np.abs(z[fold_of == 2]).max()  # noqa: E731
    assert (shape(logits).argmax(axis=1) == shape(others).argmax(axis=1)).all()


def test_the_sums_of_songs_and_windows_follow_the_loss():
    bags, y = bags_of(60, seed=3)
    answers = []
    for loss in ("song", "window"):
        network, pooling = made(bags, 3)
        training = load_recipe("windows", {"training.loss": loss}).training
        kernel_machine.solve(network, bags, y, pooling, training)
        with torch.no_grad():
            answers.append(network(torch.from_numpy(bags[0].features)))
    assert not torch.allclose(*answers)


def test_a_table_is_learned_and_answered_without_torch(tmp_path):
    bags, _ = bags_of(90)
    found = songbag.train(bags, tmp_path / "m.songbag", quiet=True)
    assert found.model.card.recipe.training.network == "kernel"
    assert found.metrics["metrics"]["accuracy"]["value"] >= 0.7
    again = found.model.predict(bags)
    assert len(again) == 90
    windows = found.model.predict(bags, windows=True)
    first = windows.loc[bags[0].id]
    contributions = first[[f"contribution_{label}" for label in "abc"]].sum()
    assert contributions.idxmax() == f"contribution_{again.iloc[0].predicted}"


def test_several_labels():
    bags, _ = bags_of(60)
    labels = [f"{bag.label};x" if n % 2 else bag.label for n, bag in enumerate(bags)]
    ids = np.repeat([bag.id for bag in bags], [bag.window_count for bag in bags])
    many = songbag.bags_from_arrays(
        np.concatenate([bag.features for bag in bags]),
        np.repeat(labels, [bag.window_count for bag in bags]),
        ids,
        multilabel=True,
    )
    found = songbag.train(many, quiet=True)
    assert set(found.model.labels) == {"a", "b", "c", "x"}
    assert found.model.predict(many)["p_a"].between(0, 1).all()
    assert MULTILABEL.multilabel


@pytest.mark.parametrize("case", ["few", "constant", "one window", "huge", "copies"])
def test_awkward_values_are_learned_from(case):
    bags, _ = bags_of(16, most=1 if case == "one window" else 6)
    features = np.concatenate([bag.features for bag in bags])
    features[:, 0] = {"constant": 7.0, "huge": features[:, 0] * 1e12}.get(case, features[:, 0])
    if case == "copies":
        features = np.repeat(features[:1], len(features), axis=0)
    counts = [bag.window_count for bag in bags]
    again = songbag.bags_from_arrays(
        features, np.repeat([bag.label for bag in bags], counts), np.repeat(range(16), counts)
    )
    found = songbag.train(again, quiet=True)
    assert np.isfinite(found.model.predict(again)["confidence"]).all()


def test_missing_values_are_imputed_where_that_is_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"song": f"s{n}", "label": "ab"[n % 2], "x": rng.normal(n % 2 * 3.0), "y": rng.normal()}
        for n in range(40)
        for _ in range(4)
    ]
    table = pandas.DataFrame(rows)
    table.loc[(table["label"] == "b") & (table.index % 2 == 0), "y"] = np.nan  # missing tells
    table.loc[::7, "x"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(
        SongTableError, match=r"row 1: value 0 of the window is nan.*--missing impute"
    ):
        songbag.bags_from_table(tmp_path / "t.csv", "song", "label")
    bags = songbag.bags_from_table(tmp_path / "t.csv", "song", "label", missing="impute")
    found = songbag.train(bags, quiet=True)
    assert found.metrics["metrics"]["accuracy"]["value"] >= 0.9
    assert (found.model.predict(bags)["status"] == "ok").all()
    with pytest.raises(TrainingError, match="network 'mlp' takes none that are"):
        songbag.train(bags, recipe="mlp", quiet=True)
    infinite = table.assign(x=table["x"].fillna(np.inf))
    with pytest.raises(SongTableError, match="is inf"):
        songbag.bags_from_table(infinite, "song", "label", missing="impute")
