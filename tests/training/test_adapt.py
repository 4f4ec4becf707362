"""What a recipe changes by itself."""

from songbag.console import Console
from songbag.recipes import load_recipe
from songbag.training.adapt import adapt_recipe
from tests.helpers.networks import RECIPE, noise_songs


def test_few_songs_take_the_last_branch_and_say_so(capsys):
    recipe = load_recipe("auto")
    found = adapt_recipe(recipe, noise_songs(12), Console())
    assert [one.network for one in found.trainings] == ["statistics"]
    assert found.training.folds == recipe.training.folds
    assert "12 songs are too few" in capsys.readouterr().err
    assert adapt_recipe(RECIPE, noise_songs(12), Console()).trainings == RECIPE.trainings


def test_short_recordings_get_short_windows_and_many_songs_fewer_epochs(capsys):
    short = adapt_recipe(RECIPE, noise_songs(9, seconds=4.0), Console())
    assert (short.windows.seconds, short.windows.hop_seconds) == (2.0, 1.0)
    tiny = adapt_recipe(RECIPE, noise_songs(9, seconds=0.5), Console())
    assert tiny.windows.seconds == 1.0
    many = load_recipe("auto", {"adapt.most_visits": 90, "adapt.below_songs": 0})
    assert adapt_recipe(many, noise_songs(9), Console()).training.epochs == 10
    said = capsys.readouterr().err
    assert "windows of 2 s instead of 5 s" in said
    assert "10 instead of 60" in said
