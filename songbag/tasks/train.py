"""Train a model: songs to a split, a fitted model and its evaluation. Read this file first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.console import Console
from songbag.data.audio_dataset import AudioDataset
from songbag.data.changed_songs import with_copies
from songbag.data.chosen_songs import decided_songs, only_trained_on, training_remark
from songbag.data.dataset import BagDataset, MemoryDataset, SongDataset
from songbag.data.packed import PackedDataset
from songbag.data.song import Song, joined_groups, stratification_labels
from songbag.data.song_table import require_labels
from songbag.data.splits import Certificate, certify, split_sides
from songbag.encoders.choose import NO_ENCODER
from songbag.errors import TrainingError
from songbag.inference.model_file import Model, save_model
from songbag.parallel.pool import is_rank_zero
from songbag.parts import networks
from songbag.report.write import write_report
from songbag.settings import Own, Recipe
from songbag.storage.files import write_csv
from songbag.tasks.check import report_problems
from songbag.tasks.encoder_choice import encoder_helps
from songbag.tasks.evaluate import Evaluation, evaluate_model, summary
from songbag.tasks.neighbours import write_neighbours
from songbag.tasks.same_split import EarlierSplit
from songbag.training.callbacks import Callback
from songbag.training.checkpoint import remove_checkpoints
from songbag.training.fit import History, fit
from songbag.training.plan import (
    TrainingPlan,
    adapt_recipe,
    needs_validation,
    require_trainable,
)

TEST_SHARE = 0.2  # of all songs, whole groups
VALIDATION_SHARE = 0.15  # of the songs not tested; only where it chooses the epoch


@dataclass(frozen=True)
class Split:
    """Which songs are trained on and which are tested."""

    sides: NDArray[np.str_]  # (songs,), "train", "validation" or "test"
    certificate: Certificate


@dataclass(frozen=True)
class Training:
    """A trained model with its evidence."""

    model: Model
    evaluation: Evaluation | None  # where there are test songs
    history: History
    split: Split
    dataset: BagDataset


def train(
    songs: SongDataset,
    recipe: Recipe,
    console: Console,
    seed: int = 0,
    threads: int | None = None,
    own: Own | None = None,
    model_path: Path | None = None,
    resume: bool = False,
    test_share: float = TEST_SHARE,
    allow_crossing: bool = False,
    callbacks: tuple[Callback, ...] = (),
    unknown: float = 0.0,
    same_split: Path | None = None,
) -> Training:
    """Split labelled songs, fit a recipe on one part, and evaluate the model on the other.

    Songs held out say whether the encoder helped; if not, all is done again without it. With
    ``allow_crossing`` a group may stand on two sides of a split that the table gives. With a
    ``test_share`` of 0 all songs are fitted and none is tested. Checkpoints of the training,
    from which ``resume`` goes on, lie beside ``model_path``, the file of the model to come. The
    ``callbacks`` follow the training. With ``unknown`` the model also learns to set aside songs
    unlike those of the training, and about this share of songs like them. With ``same_split``,
    the file of an earlier model, its test songs are tested again (see
    `songbag.tasks.same_split.EarlierSplit`).
    """
    earlier = EarlierSplit.of(same_split) if same_split else None
    dataset = load_labelled(songs, recipe, console)
    adapted = adapt_recipe(recipe, dataset, console)
    split = split_dataset(dataset, adapted, seed, test_share, allow_crossing, earlier)
    if earlier is not None:
        console.say(earlier.in_words(dataset.songs, split.sides.tolist()))
    training_songs = dataset.subset(split.sides != "test")
    validation = split.sides[split.sides != "test"] == "validation"
    plan = TrainingPlan.of(dataset, adapted, console, seed, threads, own)
    plan = replace(plan, callbacks=callbacks, unknown=unknown)
    fitted = fit(training_songs, plan, validation, model_path, resume)
    if not encoder_helps(songs, training_songs, fitted.losses, recipe, console, seed):
        assert recipe.without is not None
        rest = (console, seed, threads, own, model_path, resume, test_share, allow_crossing)
        return train(songs, recipe.without, *rest, callbacks, unknown, same_split)
    model, evaluation = fitted.model.with_card(split=split.certificate), None
    if is_rank_zero() and (split.sides == "test").any():
        test_songs = dataset.subset(split.sides == "test")
        evaluation = evaluate_model(model, test_songs, console, side="test")
        evaluation.figures["split"] = msgspec.to_builtins(split.certificate)
        model = model.with_card(figures=evaluation.figures)
    for callback in callbacks:
        callback.on_end(evaluation.figures if evaluation else {})
    return Training(model, evaluation, fitted.history, split, dataset)


def write_training(training: Training, model_path: Path, console: Console) -> Path:
    """Write a model file, and its evidence into a folder beside it, which is returned.

    Beside ``genre.songbag`` the folder ``genre-training`` gets split.csv, history.csv,
    predictions.csv, windows.csv, heard.csv, audio.csv, metrics.json and report.html, and
    neighbours.csv where an encoder listened; without test songs only the first two. Only rank 0
    writes.
    """
    folder = model_path.with_name(f"{model_path.stem}-training")
    if not is_rank_zero():
        return folder
    save_model(model_path, training.model)
    remove_checkpoints(model_path)
    rows = [
        {"id": song.id, "label": song.label, "group": song.group_value, "side": side}
        for song, side in zip(training.dataset.songs, training.split.sides.tolist(), strict=True)
    ]
    write_csv(folder / "split.csv", rows, ["id", "label", "group", "side"])
    write_csv(folder / "history.csv", training.history, list(training.history[0]))
    if training.evaluation is None:
        groups = len(set(joined_groups(training.dataset.songs)))
        why = "all songs are of one recording or group" if groups == 1 else "no test songs"
        console.say(f"{why}: the model has no figures. Evaluate it on other songs.")
        return folder
    console.say(summary(training.evaluation.figures))
    training.evaluation.write(folder, training.dataset.songs)
    folds = np.where(training.split.sides == "test", 0, -1)
    write_neighbours(folder, training.dataset, training.model.card.recipe.sound, folds, console)
    write_report(folder)
    return folder


def default_encoder(songs: SongDataset, named: Mapping[str, object]) -> str | None:
    """Return NO_ENCODER for packed frames and for a ``named`` network, which takes frames.

    None leaves the choice to the recipe.
    """
    if isinstance(songs, PackedDataset) and songs.sound.encoding is None:
        return NO_ENCODER
    network = named["network"]
    hears = isinstance(network, str) and networks()[network].takes == "hidden"
    return None if network is None or hears else NO_ENCODER


def default_recipe(
    songs: SongDataset,
    named: Mapping[str, object],
    encoder: str | None,
    audio: str = "auto",
    epochs: object = None,
) -> str:
    """Return the recipe of a training that names none; ``audio`` is that of audio files.

    A network, pooling or loss that is ``named`` is one network's, where ``auto`` trains several
    and ``windows`` none by gradient; ``epochs`` are of a training by gradient, too.
    """
    one_network = any(part is not None for part in named.values())
    if isinstance(songs, MemoryDataset):
        by_gradient = one_network or epochs is not None or audio == "ears"
        return "mlp" if by_gradient else "windows"
    if one_network or audio == "ears":
        return "cnn" if encoder == NO_ENCODER else "ears"
    return audio


def load_and_choose(
    songs: SongDataset, recipe: Recipe, console: Console, seed: int
) -> tuple[BagDataset, Recipe]:
    """Return the songs of a cross-validation, and the recipe, without an encoder that hinders.

    All songs are asked at once whether it helps, each by networks that were not trained on it.
    """
    dataset = load_labelled(songs, recipe, console)
    if recipe.without and not encoder_helps(songs, dataset, None, recipe, console, seed):
        return load_labelled(songs, recipe.without, console), recipe.without
    return dataset, recipe


def load_labelled(songs: SongDataset, recipe: Recipe, console: Console) -> BagDataset:
    """Return a dataset with the features of a recipe, and report what is wrong with its songs."""
    require_trainable(recipe)  # before an hour of decoding
    songs = decided_songs(without_strays(songs, console), console)
    require_labels(songs.songs, songs.origin)
    dataset = songs.load(recipe, console.track)
    if songs.checked:
        for remark in dataset.remarks:
            console.say(remark)
        if dataset.failures:
            console.say(f"{len(dataset.failures)} songs could not be read when they were packed")
    else:
        report_problems(dataset, console)
    lost = {label for failure in dataset.failures for label in failure.song.labels}
    if lost := lost - set(dataset.labels):
        raise TrainingError(f"no song labelled {', '.join(sorted(lost))} could be read.")
    require_labels(dataset.songs, dataset.origin)  # a label may have lost all songs but one
    stated = any(song.split or song.fold for song in dataset.songs)
    if remark := training_remark(dataset.songs, stated):
        console.say(remark)
    return with_copies(songs, dataset, recipe, console)


def without_strays(songs: SongDataset, console: Console) -> SongDataset:
    """Leave out files that lie in no label's folder, and songs whose label no other song has.

    Songs of a table are returned as they are: what a table says is meant.
    """
    stated = any(song.line is not None or song.multilabel for song in songs.songs)
    if not isinstance(songs, AudioDataset) or stated:
        return songs
    counts = Counter(label for song in songs.songs for label in song.labels)
    good = [counts[song.label or ""] > 1 for song in songs.songs]
    if all(good) or len({song.label for song in compress(songs.songs, good)}) < 2:
        return songs
    for song in compress(songs.songs, [not one for one in good]):
        why = f"the only song of '{song.label}'" if song.label else "without a label"
        console.say(f"left out: {song.id}: it is {why}")
    return songs.with_songs(list(compress(songs.songs, good)))


def split_dataset(
    dataset: BagDataset,
    recipe: Recipe,
    seed: int,
    test_share: float = TEST_SHARE,
    allow_crossing: bool = False,
    earlier: EarlierSplit | None = None,
) -> Split:
    """Split songs by groups into train, validation and test, or as their table says.

    The test songs of an ``earlier`` split stay test songs.
    """
    songs = dataset.songs
    labels, groups = stratification_labels(songs), joined_groups(songs)
    given = [song.split for song in songs]
    stated = any(given)
    only_trained = only_trained_on(songs)
    if stated:
        given = [side or ("train" if song.chosen_by_model else None)
                 for side, song in zip(given, songs, strict=True)]  # fmt: skip
    elif len({group for group, only in zip(groups, only_trained, strict=True) if not only}) < 2:
        test_share = 0.0  # one recording, or one artist: nothing can be held out
    share = VALIDATION_SHARE if needs_validation(recipe) else 0.0
    if earlier is not None:
        given = earlier.sides(songs, seed, test_share, only_trained)
    sides = split_sides(labels, groups, given, seed, test_share, share, only_trained)
    method = split_method(songs, stated)
    if stated or earlier is not None:
        how = f"test songs as of {earlier.path.name}" if earlier else "given by the table"
        groups, said = split_groups(songs, sides, allow_crossing)
        method = f"{how}, {said}"
    kept = list(compress(songs, [side != "test" for side in sides]))
    method += f"; {remark}" if (remark := training_remark(kept, stated)) else ""
    ids = [song.id for song in songs]
    certificate = certify(ids, labels, groups, sides, method, None if stated else seed)
    return Split(np.array(sides), certificate)


def split_groups(
    songs: Sequence[Song], sides: Sequence[str], allow_crossing: bool
) -> tuple[list[str], str]:
    """Return the groups that a split given by the table must keep whole, and it in words.

    With ``allow_crossing`` they are files and contents only, and the words count the groups that
    stand on two sides.
    """
    groups = joined_groups(songs)
    if not allow_crossing:
        return groups, split_method(songs, given=True).partition(", ")[2]
    sides_of: dict[str, set[str]] = {}
    for group, side in zip(groups, sides, strict=True):
        sides_of.setdefault(group, set()).add(side)
    crossing = sum(len(on) > 1 for on in sides_of.values())
    alone = [replace(song, group_by="", artist=None) for song in songs]
    return joined_groups(alone), f"{crossing} groups stand on two sides, which was allowed"


def split_method(songs: Sequence[Song], given: bool) -> str:
    """Return in words how a split was made."""
    column = songs[0].group_by
    by = column if any(song.group_value for song in songs) else f"song (no {column} is known)"
    own, joined = {song.group for song in songs}, set(joined_groups(songs))
    files = "; what shares a file or its content is kept together" if len(joined) < len(own) else ""
    return f"{'given by the table' if given else 'stratified by label'}, grouped by {by}{files}"
