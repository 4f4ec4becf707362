"""What is killed: jobs in small, for processes that have imported everything already."""

import os
import signal
from pathlib import Path

import numpy as np
import onnx  # noqa: F401 (imported before the fork)
import pyarrow.parquet  # noqa: F401
import torch
from safetensors.torch import save

import songbag
from songbag.collection.answers import label_names
from songbag.collection.journal import JOURNAL, Entry, open_collection
from songbag.collection.sort_files import moved_files, plan_steps, take_steps
from songbag.collection.undo import undo
from songbag.collection.write_tags import write_tags
from songbag.console import Console
from songbag.inference.model_file import load_model
from songbag.recipes.load import load_recipe
from songbag.storage.files import write_bytes
from songbag.tasks.compare import compare as compare_systems, systems_of
from songbag.tasks.export import export_model
from songbag.tasks.pack import pack_songs
from songbag.training.checkpoint import open_checkpoint
from songbag.training.plan import TrainingPlan
from songbag.training.trainer import train_network
from tests.helpers.songs import audio_dataset

QUIET = Console(quiet=True)


def pack(songs, folder, cache):
    recipe = load_recipe("founding")
    pack_songs(audio_dataset(songs, cache), recipe, folder, QUIET, shard_bytes=40_000)


def export(model, graph):
    export_model(load_model(model), graph, QUIET)


def bags(count=24):
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(count), 6)
    features = rng.normal(songs[:, None] % 3, 2, (len(songs), 5)).astype(np.float32)
    names = [f"song {k:02d}" for k in songs]
    return songbag.bags_from_arrays(features, np.array(list("abc"))[songs % 3], names)


def train(folder):
    """Fit, keeping the state after every epoch, and write the weights."""
    torch.set_num_threads(1)
    dataset = bags()
    recipe = load_recipe("mlp", {"training.epochs": 12, "training.dropout": 0.2})
    plan = TrainingPlan.of(dataset, recipe, QUIET, 0, 1)
    y = plan.truths(dataset.songs)
    checkpoint = open_checkpoint(folder / "state", plan, dataset)
    checkpoint.every_seconds = 0.0
    songs = (dataset, y)
    found = train_network(songs, 3, recipe.training, (5,), 0, checkpoint=checkpoint)
    write_bytes(folder / "weights.safetensors", save(found.network.state_dict()))


def compare(folder):
    torch.set_num_threads(1)
    recipe = load_recipe("mlp", {"training.epochs": 6})
    systems = systems_of([recipe], ["mean_logit", "max"], [], QUIET)
    compare_systems(bags(), systems, folder, QUIET, (0,), 2, 1)


def _die_at(moment):
    """Kill this process before its so manieth change of the disk, never at 0."""
    count = 0

    def dying(change):
        def changed(*arguments, **options):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return changed

    for name in ("link", "unlink", "symlink", "rename", "replace", "fsync", "mkdir", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))


def sort_files(answers, folder, action, moment):
    """What `songbag.tasks.sort.Sorting.carry_out` does after it has predicted."""
    _die_at(moment)
    is_new = not folder.exists()
    with open_collection(folder / JOURNAL) as journal:
        if is_new:
            journal.append(Entry(do="folder"))
        moved = moved_files(journal)
        left = [one for one in answers if one.path not in moved]
        result = take_steps(
            plan_steps(left, folder, label_names(["a", "b/c", "d"])), action, journal
        )
        assert not result.problems, result.problems


def tag_files(answers, journal_path, moment):
    _die_at(moment)
    with open_collection(journal_path) as journal:
        result = write_tags(answers, "genre", journal, Path(journal_path.parent / "cache"))
        assert not result.problems, result.problems


def undo_changes(place, moment):
    _die_at(moment)
    assert undo(place)[1] == []
