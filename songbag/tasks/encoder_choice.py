"""Whether a recipe's own encoder helps with these songs: songs held out say so."""

from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import BagDataset, SongDataset
from songbag.settings import Recipe
from songbag.training.fit import held_out_logits, song_losses
from songbag.training.plan import TrainingPlan, adapt_recipe

_MOST_SONGS = 500  # that are asked: more change nothing, and each is decoded once more
_SURE = 1.0  # standard errors by which the songs must be answered better without the encoder


def encoder_helps(
    songs: SongDataset,
    trained: BagDataset,
    losses: NDArray[np.float64] | None,
    recipe: Recipe,
    console: Console,
    seed: int = 0,
) -> bool:
    """Return whether songs held out in turn are answered as well with the encoder as without it.

    Linear networks are solved on the songs of ``trained``, with what `Recipe.without` hears, which
    is also what lies above the encoder's band. ``losses`` (songs,) are of networks with the
    encoder, if they are known. Nothing is asked where the user named the encoder, or where there
    is no audio to hear again.
    """
    without, encoding = recipe.without, recipe.sound.encoding
    if without is None or encoding is None or not isinstance(songs, AudioDataset):
        return True
    if len(trained) > _MOST_SONGS:
        asked = np.zeros(len(trained), dtype=np.bool_)
        asked[np.random.default_rng(seed).permutation(len(trained))[:_MOST_SONGS]] = True
        trained, losses = trained.subset(asked), None
    if losses is None:
        losses = _losses(trained, recipe, seed)
    ids = [song.id for song in trained.songs]
    known = set(ids)
    again = replace(songs, songs=[song for song in songs.songs if song.id in known])
    linear = msgspec.structs.replace(without.trainings[-1], folds=recipe.training.folds)
    console.say(f"asking whether encoder {encoding.name} helps: the songs are read without it, too")
    plain = again.load(without, console.track)
    others = _losses(plain, msgspec.structs.replace(without, training=linear, branches=()), seed)
    if losses is None or others is None:
        return True
    theirs = dict(zip((song.id for song in plain.songs), others.tolist(), strict=True))
    pairs = [(ours, theirs[i]) for i, ours in zip(ids, losses.tolist(), strict=True) if i in theirs]
    with_it, without_it = np.array(pairs).T
    excess = with_it - without_it
    helps = bool(excess.mean() <= _SURE * excess.std() / np.sqrt(len(excess)))
    means = f"{with_it.mean():.2f}, without it {without_it.mean():.2f} (less is better)"
    found = f"loss of songs held out {means}"
    if helps:
        console.say(f"encoder {encoding.name}: {found}")
    else:
        console.say(
            f"encoder {encoding.name} does not help with these songs ({found}): training without "
            f"it. To insist: --encoder {encoding.name}"
        )
    return helps


def linear_only(recipe: Recipe) -> Recipe:
    """Return a recipe with an encoder without the networks that are trained in epochs."""
    linear = tuple(training for training in recipe.branches if training.uses_solver)
    return msgspec.structs.replace(recipe, branches=linear)


def _losses(dataset: BagDataset, recipe: Recipe, seed: int) -> NDArray[np.float64] | None:
    quiet = Console(quiet=True)
    recipe = linear_only(recipe)
    plan = TrainingPlan.of(dataset, adapt_recipe(recipe, dataset, quiet), quiet, seed)
    logits = held_out_logits(dataset, plan)
    return None if logits is None else song_losses(logits, dataset, plan)
