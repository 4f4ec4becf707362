"""What can be trained, what a recipe changes by itself, and how songs are dealt out to folds."""

import pytest

from songbag.console import Console
from songbag.encoders.choose import choose_recipe
from songbag.errors import SettingsError, TrainingError
from songbag.recipes.load import load_recipe
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
        with pytest.raises(TrainingError, match="'lbfgs' solves the networks linear"):
            plan_module.require_trainable(load_recipe("fast", changes))
    with pytest.raises(SettingsError, match="nothing could weigh branches"):
        Recipe("mine", branches=(LBFGS,))
    with pytest.raises(SettingsError, match="folds is 1"):
        load_recipe("fast", {"training.folds": 1})


def test_few_songs_take_the_last_branch_and_say_so(capsys):
    recipe = load_recipe("auto")
    found = plan_module.adapt_recipe(recipe, noise_songs(12), Console())
    assert [one.network for one in found.trainings] == ["statistics"]
    assert found.training.folds == recipe.training.folds
    assert "12 songs are too few" in capsys.readouterr().err
    assert (
        plan_module.adapt_recipe(RECIPE, noise_songs(12), Console()).trainings == RECIPE.trainings
    )


def test_short_recordings_get_short_windows_and_many_songs_fewer_epochs(capsys):
    short = plan_module.adapt_recipe(RECIPE, noise_songs(9, seconds=4.0), Console())
    assert (short.windows.seconds, short.windows.hop_seconds) == (2.0, 1.0)
    tiny = plan_module.adapt_recipe(RECIPE, noise_songs(9, seconds=0.5), Console())
    assert tiny.windows.seconds == 1.0
    many = load_recipe("auto", {"adapt.most_visits": 90, "adapt.below_songs": 0})
    assert plan_module.adapt_recipe(many, noise_songs(9), Console()).training.epochs == 10
    said = capsys.readouterr().err
    assert "windows of 2 s instead of 5 s" in said
    assert "10 instead of 60" in said


def test_changes_of_frames_in_db_are_refused_for_a_single_network_with_an_encoder():
    plan_module.require_trainable(choose_recipe("auto"))
    gain = {"training.network": "cnn", "training.gain": 10.0}
    with pytest.raises(TrainingError, match="musicnn' gives vectors"):
        plan_module.require_trainable(choose_recipe("ears", gain))
