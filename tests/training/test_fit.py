"""A dataset and a recipe to a model: members by folds, and what a stop leaves."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from songbag.console import Console
from songbag.errors import TrainingError
from songbag.inference.model_file import load_model, save_model
from songbag.inference.predictor import Predictor
from songbag.training import checkpoint, fit
from songbag.training.plan import TrainingPlan
from tests.helpers.networks import RECIPE, noise_songs


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model of all branches in two folds each, and the songs it was learned from."""
    heard = noise_songs(24)
    warned = [replace(bag, warnings=("narrow: nothing above 4 kHz",)) for bag in heard[:13]]
    heard = replace(heard, bags=[*warned, *heard[13:]])
    path = tmp_path_factory.mktemp("members") / "auto.songbag"
    plan = TrainingPlan(RECIPE, ("a", "b", "c"), Console(quiet=True), threads=1)
    fitted = fit.fit(heard, plan)
    save_model(path, fitted.model)
    return heard, path, fitted, plan


@pytest.mark.full
def test_one_file_holds_all_members(learned):
    heard, path, fitted, _ = learned
    model = load_model(path)
    assert model.card.narrow  # as 13 of 24 songs
    assert any(row["layer"].startswith("2 x ") for row in model.card.layers)
    assert {row["member"] for row in fitted.history} == {1, 2}
    found = Predictor(model).predict(iter([heard[0].features]), lambda: heard[0].samples)
    assert found.probabilities.sum() == pytest.approx(1)
    assert np.abs(found.contributions.sum(axis=0) - found.score).max() <= 1e-5


@pytest.mark.full
def test_members_are_not_trained_again_after_a_stop(learned, tmp_path, monkeypatch):
    heard, path, _, plan = learned
    kept = tmp_path / "auto.songbag"
    real, calls = fit.train_with_bar, []

    def stop_at_second(dataset, plan, title, **options):
        calls.append(title)
        if len(calls) == 2:
            raise RuntimeError("the power went")
        return real(dataset, plan, title, **options)

    monkeypatch.setattr(fit, "train_with_bar", stop_at_second)
    with pytest.raises(RuntimeError):
        fit.fit(heard, plan, model_path=kept)
    monkeypatch.setattr(fit, "train_with_bar", real)
    assert len(list(tmp_path.glob("*.state"))) == 1
    save_model(kept, fit.fit(heard, plan, model_path=kept, resume=True).model)
    checkpoint.remove_checkpoints(kept)
    assert kept.read_bytes() == path.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == ["auto.songbag"]


def test_songs_that_cannot_be_held_out_are_refused_before_the_training(monkeypatch):
    heard = noise_songs(24, artists=1)
    plan = TrainingPlan(RECIPE, ("a", "b", "c"), Console(quiet=True), threads=1, unknown=0.1)
    monkeypatch.setattr(fit, "train_with_bar", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(TrainingError, match="no song can be held out"):
        fit.fit(heard, plan)


def test_a_branch_with_fewer_folds_joins_those_of_the_first(monkeypatch):
    cnn, *_, statistics = RECIPE.trainings
    first, further = structs.replace(statistics, folds=4), structs.replace(cnn, folds=2, epochs=1)
    recipe = structs.replace(RECIPE, training=first, branches=(further,))
    dealt, real = [], fit._fit_branch

    def deal(dataset, fold_of, *rest):
        dealt.append(fold_of)
        return real(dataset, fold_of, *rest)

    monkeypatch.setattr(fit, "_fit_branch", deal)
    plan = TrainingPlan(recipe, ("a", "b", "c"), Console(quiet=True), threads=1)
    fitted = fit.fit(noise_songs(24), plan)
    assert [len(set(fold_of)) for fold_of in dealt] == [4, 2]
    assert len({*zip(*dealt, strict=True)}) == 4  # whole folds, so whole artists
    assert {row["member"] for row in fitted.history if row["epoch"] == 1} == {1, 2}
