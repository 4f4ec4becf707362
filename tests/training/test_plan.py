"""What can be trained, and how songs are dealt out to folds."""

import pytest

from songbag.console import Console
from songbag.errors import SettingsError, TrainingError
from songbag.recipes import load_recipe
from songbag.settings import Recipe
from songbag.training import plan as plan_module
from songbag.training.plan import TrainingPlan
from tests.helpers.networks import LBFGS, RECIPE, noise_songs


def test_no_fold_takes_the_only_songs_of_a_label(capsys):
    plan = TrainingPlan(RECIPE, ("a", "b", "c"), Console())
    heard = noise_songs(12, artists=2)
    fold_of = plan_module.assign_folds(heard.songs, 5, plan)
    assert set(fold_of) == {0, 1}  # two artists a label allow two folds
    assert plan_module.assign_folds(noise_songs(12, artists=1).songs, 5, plan) is None
    assert "is not calibrated" in capsys.readouterr().err


def test_what_is_not_linear_is_not_solved():
    for changes in ({"training.pooling": "vote"}, {"training.loss": "window"}):
        with pytest.raises(TrainingError, match="'lbfgs' solves linear networks"):
            plan_module.require_trainable(load_recipe("fast", changes))
    with pytest.raises(SettingsError, match="nothing could weigh them"):
        Recipe("mine", branches=(LBFGS,))
