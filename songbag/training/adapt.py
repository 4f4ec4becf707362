"""What a recipe changes by itself when the songs are few, short or very many."""

import msgspec
import numpy as np

from songbag.console import Console
from songbag.data.dataset import BagDataset
from songbag.settings import Recipe, Windows

_SHORTEST = 1.0  # seconds of a window
_FEWEST = 5  # epochs


def adapt_recipe(recipe: Recipe, dataset: BagDataset, console: Console) -> Recipe:
    """Return the recipe as its ``adapt`` wants it for these songs, and say each change."""
    few = recipe.adapt.below_songs
    if recipe.branches and len(dataset) < few:
        last = msgspec.structs.replace(recipe.branches[-1], folds=recipe.training.folds)
        console.say(
            f"{len(dataset)} songs are too few for a network to learn features from (fewer than "
            f"{few}): taking only '{last.network}'. To insist: --set adapt.below_songs=0"
        )
        recipe = msgspec.structs.replace(recipe, training=last, branches=())
    recipe = msgspec.structs.replace(recipe, windows=_windows(recipe, dataset, console))
    trainings = []
    epochs = max(_FEWEST, recipe.adapt.most_visits // len(dataset))
    for training in recipe.trainings:
        if recipe.adapt.most_visits and not training.uses_solver and epochs < training.epochs:
            console.say(
                f"{len(dataset)} songs need fewer epochs: {epochs} instead of {training.epochs}. "
                "To insist: --set adapt.most_visits=0"
            )
            training = msgspec.structs.replace(training, epochs=epochs)
        trainings.append(training)
    return msgspec.structs.replace(recipe, training=trainings[0], branches=tuple(trainings[1:]))


def _windows(recipe: Recipe, dataset: BagDataset, console: Console) -> Windows:
    cut = recipe.windows
    if not recipe.adapt.short_windows or dataset[0].starts is None:
        return cut
    middle = (
        float(np.median([bag.samples for bag in dataset.without_features()]))
        / recipe.sound.sample_rate
    )
    seconds = max(_SHORTEST, round(middle / 2, 1))
    if seconds >= cut.seconds:
        return cut
    console.say(
        f"half of the recordings are shorter than {middle:.1f} s: windows of {seconds:g} s instead "
        f"of {cut.seconds:g} s. To insist: --set adapt.short_windows=false"
    )
    hop = cut.hop_seconds * seconds / cut.seconds
    return msgspec.structs.replace(cut, seconds=seconds, hop_seconds=hop)
