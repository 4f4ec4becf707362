"""Copies of songs with their sound changed: trained on beside their song, and never tested."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replace_record

import songbag
from songbag.audio.cache import Index
from songbag.console import Console
from songbag.data import audio_dataset as audio_dataset_module, batches
from songbag.data.changed_songs import TRAINED_ON, with_copies
from songbag.data.dataset import MemoryDataset, as_they_are, trust
from songbag.encoders.choose import choose_recipe
from songbag.errors import SettingsError
from songbag.inference.model_file import song_hashes
from songbag.models import linear_solver
from songbag.recipes.load import load_recipe
from songbag.settings import Excerpt
from songbag.tasks.cross_validate import cross_validate
from songbag.tasks.train import load_labelled, train
from songbag.training import fit
from songbag.training.plan import TrainingPlan
from tests.helpers.songs import QUIET, audio_dataset

COPIES = 2


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("fast", {"augment": COPIES, "training.folds": 3})


@pytest.fixture(scope="module")
def songs_with_copies(songs, recipe):
    return load_labelled(audio_dataset(songs, workers=2), recipe, QUIET)


def test_copies_stand_behind_the_songs_and_nowhere_else(songs_with_copies, songs, recipe):
    dataset, plain = songs_with_copies, audio_dataset(songs).load(recipe)
    assert [song.id for song in dataset.songs] == [song.id for song in plain.songs]
    assert len(dataset) == len(list(dataset)) == len(list(dataset.without_features()))
    assert len(dataset.augmented) == (1 + COPIES) * len(dataset)
    assert list(dataset.checksums()) == list(plain.checksums())
    for own, alone in zip(dataset, plain, strict=True):
        assert np.array_equal(own.features, alone.features)
    changes = {song.id: {song.change} for song in dataset.songs}
    for bag in dataset.augmented[len(dataset) :]:
        changes[bag.song.id].add(bag.song.change)
    assert all(len(found) == 1 + COPIES for found in changes.values())
    assert set.union(*changes.values()) == {"", *TRAINED_ON}


def test_a_subset_keeps_the_copies_of_its_songs(songs_with_copies):
    selected = np.arange(len(songs_with_copies)) % 3 == 0
    part = songs_with_copies.subset(selected)
    ids = [song.id for song in part.songs]
    assert ids == [song.id for song in songs_with_copies.songs][::3]
    assert [song.id for song in part.augmented.songs] == ids * (1 + COPIES)


def test_songs_that_do_not_fit_into_memory_are_predicted_one_by_one(songs, recipe, monkeypatch):
    monkeypatch.setattr(audio_dataset_module, "_MOST_BYTES", 0)
    dataset = load_labelled(audio_dataset(songs), recipe, QUIET)
    read, read_bag = [], audio_dataset_module.read_bag
    monkeypatch.setattr(
        audio_dataset_module, "read_bag", lambda song, *a: read.append(song) or read_bag(song, *a)
    )
    inputs = iter(dataset.inputs(recipe))
    assert next(inputs).song.id == dataset.songs[0].id
    assert len(read) == 1
    assert len(list(inputs)) == len(dataset) - 1
    assert not any(song.change for song in read)


def test_copies_that_cannot_be_read_are_counted(songs, recipe, tmp_path, capsys):
    dataset = audio_dataset(songs, tmp_path / "cache", workers=1)
    gone = replace(dataset.songs[0], path=str(tmp_path / "gone.wav"))
    few = dataset.with_songs([gone, *dataset.songs[1:4]])
    own = few.load(recipe)
    short = replace(few, limits=replace_record(few.limits, native_samples=1.0))
    copied = with_copies(short, own, recipe, Console())
    assert len(copied) == len(copied.augmented) == 3
    assert "6 copies could not be read, such as of" in capsys.readouterr().err
    assert len(with_copies(few, own, recipe, Console()).augmented) == 9
    assert "could not be read" not in capsys.readouterr().err  # the song's failure is no copy's


def test_copies_are_heard_once_and_are_no_songs(songs, recipe, tmp_path):
    dataset = audio_dataset(songs, tmp_path, workers=2)
    few = dataset.with_songs(dataset.songs[:3])
    own = few.load(recipe)
    with_copies(few, own, recipe, QUIET)
    copies = [replace(song, change="telephone") for song in few.songs]
    excerpt = Excerpt(20.0, "middle")
    sources = [song.source(recipe.excerpt) for song in few.songs]
    sources += [song.source(excerpt) for song in copies]
    receipts = Index(tmp_path, recipe.sound).lookup(sources)
    assert all(receipts[:3])
    telephones = [one for one in receipts[3:] if one is not None]
    assert telephones, "with three changes and two copies most songs have this one"
    assert not {one.key for one in telephones} & {one.key for one in receipts[:3]}


def test_no_copy_of_a_song_held_out_is_trained_on(songs, recipe, monkeypatch):
    """Whatever holds a song out, a split, an outer or an inner fold: its copies are out, too."""
    trained_on = []
    solve = fit._solve_branch

    def watched(dataset, fold_of, plan):
        songs_of = {}
        for song, fold in zip(dataset.songs, fold_of, strict=True):
            songs_of.setdefault(song.id, set()).add(int(fold))
        assert all(len(folds) == 1 for folds in songs_of.values())
        trained_on.append(set(songs_of))
        return solve(dataset, fold_of, plan)

    monkeypatch.setattr(fit, "_solve_branch", watched)
    dataset = audio_dataset(songs, workers=2)
    training = train(dataset, recipe, QUIET)
    tested = {s.id for s, side in zip(dataset.songs, training.split.sides, strict=True)
              if side == "test"}  # fmt: skip
    assert tested and not tested & trained_on[0]
    assert {song.id for song in training.evaluation.songs} == tested
    assert {song.change for song in training.evaluation.songs} == {""}
    assert training.model.card.recipe.augment == COPIES
    assert len(training.model.card.heard[0]) == len(song_hashes(trained_on[0])[0])


def test_a_cross_validation_tests_every_song_once(songs_with_copies, recipe, tmp_path):
    evaluation = cross_validate(songs_with_copies, tmp_path, recipe, QUIET, 3)
    ids = [song.id for song in evaluation.songs]
    assert sorted(ids) == sorted(song.id for song in songs_with_copies.songs)


def test_networks_by_gradient_hear_the_copies(songs, monkeypatch):
    changes = {"epochs": 1, "pooling": "mean_logit", "windows_per_song": 2}
    changes = {"augment": 1, **{f"training.{name}": value for name, value in changes.items()}}
    recipe = load_recipe("founding", changes)
    batched, random_groups = [], batches.random_groups

    def watched(bags, songs, *rest):
        batched.extend((bags.songs[k].id, bags.songs[k].change) for k in songs)
        return random_groups(bags, songs, *rest)

    monkeypatch.setattr(batches, "random_groups", watched)
    dataset = audio_dataset(songs, workers=2)
    training = train(dataset, recipe, QUIET)
    changed = {song: change for song, change in batched if change}
    assert changed and set(changed.values()) <= set(TRAINED_ON)
    assert set(changed) == {song for song, change in batched if not change}
    assert not set(changed) & {song.id for song in training.evaluation.songs}


def test_windows_and_packed_songs_have_no_copies(songs_with_copies, recipe):
    bags = MemoryDataset(list(songs_with_copies))
    assert load_labelled(bags, recipe, QUIET) is bags


def test_the_default_makes_one_copy_where_an_encoder_listens():
    assert choose_recipe("auto").augment == 1
    assert choose_recipe("auto").without.augment == 0
    assert choose_recipe("auto", encoder="none").augment == 0
    assert choose_recipe("auto", {"augment": 2}, "none").augment == 2
    assert choose_recipe("auto", {"augment": 0}).augment == 0


def test_copies_weigh_a_quarter_and_choose_no_penalty(songs_with_copies, recipe, monkeypatch):
    """Temperatures, by which penalties are chosen, are asked about songs alone."""
    everything = songs_with_copies.augmented
    own = as_they_are(everything)
    assert own.sum() == len(songs_with_copies) and own[: len(songs_with_copies)].all()
    assert trust(everything)[~own] == pytest.approx(0.25)
    asked = []
    fit_temperature = linear_solver.fit_temperature
    monkeypatch.setattr(
        linear_solver,
        "fit_temperature",
        lambda logits, y, kind: asked.append(len(y)) or fit_temperature(logits, y, kind),
    )
    fit.fit(songs_with_copies, TrainingPlan.of(songs_with_copies, recipe, QUIET))
    assert set(asked) == {len(songs_with_copies)}


def test_on_the_command_line_and_in_python(songs, tmp_path):
    result = songbag.train(songs, recipe="fast", encoder="none", augment=1, quiet=True)
    assert result.model.card.recipe.augment == 1
    with pytest.raises(SettingsError, match="augment"):
        songbag.train(songs, recipe="fast", encoder="none", augment=4, quiet=True)
