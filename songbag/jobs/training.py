"""The main job: songs to a trained, evaluated model file. Read this file first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from songbag.answers import baselines
from songbag.answers.modelfile import (
    FORMAT,
    Card,
    ModelFile,
    read_model,
    sealed,
    short_hash,
    write_model,
)
from songbag.answers.tables import write_csv
from songbag.bags import Bag
from songbag.errors import TrainingError
from songbag.jobs.answering import answer_bags
from songbag.jobs.checks.survey import remarks
from songbag.jobs.console import Console
from songbag.jobs.evaluation import Evaluation, evaluate_model, summary
from songbag.jobs.report import write_report
from songbag.settings import Limits, Own, Recipe
from songbag.songs.song_bags import SongBags, cut_on_grid, hear
from songbag.songs.splits import Certificate, certify, split_sides
from songbag.songs.table import Song, SongTable, require_files, require_labels
from songbag.sound.windows import window_frames

if TYPE_CHECKING:
    from songbag.learning.fitting import Fit

TEST_SHARE = 0.2  # of all songs, whole groups
VALIDATION_SHARE = 0.15  # of the songs not tested; only where it chooses the epoch
_PACKAGES = ("songbag", "torch", "numpy", "av", "soxr", "onnxruntime")


@dataclass
class Trained:
    """What a training leaves: the model file, its evaluation, its history, its split."""

    model_path: Path
    folder: Path
    evaluation: Evaluation | None
    history: list[dict[str, float]]
    certificate: Certificate
    failed: list[tuple[str, str]] = field(default_factory=list)


def train_songs(
    table: SongTable,
    model_path: Path,
    recipe: Recipe,
    cache: Path,
    console: Console,
    seed: int = 0,
    limits: Limits | None = None,
    workers: int | None = None,
    threads: int | None = None,
    own: Own | None = None,
) -> Trained:
    """Train on a labelled table of songs: hear them, then `train_bags`.

    Raises
    ------
    SongTableError, TrainingError
        What is wrong with the songs.
    """
    require_trainable(recipe)
    heard = hear_labelled(table, recipe, cache, console, limits or Limits(), workers)
    return train_bags(heard, model_path, recipe, console, seed, threads, own)


def train_bags(
    heard: SongBags,
    model_path: Path,
    recipe: Recipe,
    console: Console,
    seed: int = 0,
    threads: int | None = None,
    own: Own | None = None,
) -> Trained:
    """Split, fit, save and judge: from bags on, audio and tables of windows are one.

    Beside ``genre.songbag`` the folder ``genre-training`` gets split.csv, history.csv,
    predictions.csv, windows.csv, metrics.json and report.html.

    Raises
    ------
    SongTableError, TrainingError
        What is wrong with the songs.
    """
    require_trainable(recipe)
    require_labels(heard.table())
    sides, certificate = _split(heard, recipe, seed)
    train, validation, test = (
        heard.part([side == name for side in sides]) for name in ("train", "validation", "test")
    )
    labels = heard.table().label_names()
    fit, card = fit_bags(train.bags, validation.bags, labels, recipe, seed, console, threads, own)
    save(fit, msgspec.structs.replace(card, split=certificate), model_path)
    folder = model_path.with_name(f"{model_path.stem}-training")
    evaluation = None
    if len(test):
        evaluation = _evaluated(model_path, test, certificate, console)
    else:
        console.say("no test songs: the model has no figures. Evaluate it on other songs.")
    _write_evidence(folder, heard, sides, fit, evaluation)
    failed = [(song.id, message) for song, _, message in heard.failed]
    return Trained(model_path, folder, evaluation, fit.history, certificate, failed)


def _split(heard: SongBags, recipe: Recipe, seed: int) -> tuple[list[str], Certificate]:
    names = [str(song.label) for song in heard.songs]
    groups = [song.group for song in heard.songs]
    given = [song.split for song in heard.songs]
    share = VALIDATION_SHARE if recipe.training.keep == "best" else 0.0
    sides = split_sides(names, groups, given, seed, TEST_SHARE, share)
    method = split_method(heard.songs, any(given))
    ids = [song.id for song in heard.songs]
    certificate = certify(ids, names, groups, sides, method, None if any(given) else seed)
    return sides, certificate


def hear_labelled(
    table: SongTable,
    recipe: Recipe,
    cache: Path,
    console: Console,
    limits: Limits,
    workers: int | None,
) -> SongBags:
    """Check a table for training, extract it, and report every song that failed."""
    require_labels(table)
    require_files(table)
    for remark in table.remarks:
        console.say(remark)
    heard = hear(table, recipe, cache, limits, workers, console.track)
    for song, _, message in heard.failed:
        console.say(f"left out: {song.id}: {message}")
    for bag in heard:
        for warning in bag.warnings:
            console.say(f"warning: {bag.id}: {warning}")
    for remark in remarks(heard):
        console.say(remark)
    lost = set(table.label_names()) - set(heard.table().label_names())
    if lost:
        raise TrainingError(f"no song labelled {', '.join(sorted(lost))} could be read.")
    return heard


def split_method(songs: Sequence[Song], given: bool) -> str:
    """Say in words how a split was made."""
    column = songs[0].group_by
    by = column if any(song.group_value for song in songs) else f"song (no {column} is known)"
    return f"{'given by the table' if given else 'stratified by label'}, grouped by {by}"


def require_trainable(recipe: Recipe) -> None:
    """Refuse what could not be trained, before any song is read.

    Raises
    ------
    TrainingError
        Packages are missing, or a loss on the song goes through a pooling without a
        gradient.
    """
    missing = [name for name in ("torch", "sklearn", "onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise TrainingError(
            f"training needs packages that are not installed ({', '.join(missing)}). "
            "Install them with: pip install 'songbag[train]'"
        )
    if recipe.training.loss != "window" and recipe.training.pooling == "hard_vote":
        raise TrainingError(
            "pooling 'hard_vote' counts votes and has no gradient, so a loss on the song cannot "
            "be trained through it. Use --loss window with it, or --pooling mean_probability."
        )


def fit_bags(
    bags: Sequence[Bag],
    validation: Sequence[Bag],
    labels: Sequence[str],
    recipe: Recipe,
    seed: int,
    console: Console,
    threads: int | None = None,
    own: Own | None = None,
) -> tuple["Fit", Card]:
    """Fit a network on bags and return it with the card of its model."""
    import torch

    from songbag.learning.fitting import fit
    from songbag.learning.networks import layer_table, time_stride

    if threads:
        torch.set_num_threads(threads)
    own = own or Own()
    recipe = msgspec.structs.replace(recipe, training=own.named(recipe.training))
    from_audio = bags[0].starts is not None
    shape = _window_shape(bags, recipe, from_audio)
    name = recipe.training.network
    stride = time_stride(name, shape) if from_audio and name != "own" else None
    cut = msgspec.structs.replace(recipe.windows, stride=stride or 1)
    recipe = msgspec.structs.replace(recipe, windows=cut)
    train, held_out = (cut_on_grid(part, recipe.sound, cut) for part in (bags, validation))
    _require_exportable(own, shape, len(labels), from_audio)
    y = label_indices(train, labels)
    began = time.monotonic()
    with console.bar("Training", recipe.training.epochs * len(train)) as advance:

        def watch(done: int, row: dict[str, float] | None) -> None:
            epoch, note = watch_state["epoch"], watch_state["note"]
            if row is not None:
                epoch, note = int(row["epoch"]), _note(row)
                watch_state.update(epoch=epoch, note=note)
                done = 0
            advance(epoch * len(train) + done, note)

        watch_state: dict[str, Any] = {"epoch": 0, "note": ""}
        held = (held_out, label_indices(held_out, labels))
        found = fit(train, y, held, len(labels), recipe.training, shape, seed, watch, own)
    _say_end(found, time.monotonic() - began, console)
    card = Card(
        format=FORMAT,
        labels=tuple(labels),
        recipe=recipe,
        window_shape=shape,
        source="audio" if from_audio else "table",
        space=found.pooling.space,
        seed=seed,
        heard=tuple(sorted(short_hash(bag.id) for bag in [*bags, *validation])),
        majority=labels[baselines.majority_label(y, len(labels))],
        level=_level(train, y, len(labels)),
        layers=tuple(layer_table(found.network.network)),
        versions={name: version(name) for name in _PACKAGES},
    )
    return found, card


def _require_exportable(own: Own, shape: tuple[int, ...], classes: int, whole_songs: bool) -> None:
    """Refuse a user's parts that could not be saved, before hours of training."""
    from songbag.learning.export import export_network, export_pooling
    from songbag.learning.networks import build_own
    from songbag.learning.pooling import Pooling

    if own.network is not None:
        export_network(build_own(own.network, shape, classes).eval(), whole_songs, 1)
    if own.pooling is not None:
        export_pooling(Pooling(own.pooling, None), classes)


def _window_shape(bags: Sequence[Bag], recipe: Recipe, from_audio: bool) -> tuple[int, ...]:
    """Return the shape of one window, refusing matrices for named networks of other shapes."""
    if from_audio:
        return window_frames(recipe.sound, recipe.windows), recipe.sound.bands
    shape = bags[0].features.shape[1:]
    if recipe.training.network in ("founding", "cnn") and len(shape) != 2:
        raise TrainingError(
            f"network '{recipe.training.network}' takes windows that are matrices (bands, "
            f"frames); these have the shape {shape}. Use --network mlp, or give --shape."
        )
    return shape


def _note(row: dict[str, float]) -> str:
    note = f"loss {row['loss']:.3f}"
    if "validation_accuracy" in row:
        note += f", validation {row['validation_accuracy']:.2f}"
    return note


def _say_end(found: "Fit", seconds: float, console: Console) -> None:
    last = found.history[-1]
    text = f"trained {int(last['epoch'])} epochs in {seconds:.0f} s; kept epoch {found.kept_epoch}"
    if found.stopped == "patience":
        text += "; stopped because the validation songs no longer improved"
    if found.stopped == "diverged":
        text += "; stopped because the loss was no longer finite (lower the learning rate)"
    if found.stopped == "interrupted":
        text += "; interrupted, the best so far is kept"
    console.say(text)


def label_indices(
    bags: Sequence[Bag], labels: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the index of every bag's label."""
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[str(bag.label)] for bag in bags], dtype=np.int64)


def _level(
    bags: Sequence[Bag], y: np.ndarray[Any, np.dtype[np.int64]], classes: int
) -> dict[str, list[float]] | None:
    levels = [bag.level_db for bag in bags]
    if any(level is None for level in levels):
        return None
    return baselines.fit_level(np.array(levels, dtype=np.float64), y, classes)


def save(fit: "Fit", card: Card, path: Path) -> None:
    """Export, check and write a model file."""
    from safetensors.torch import save as save_weights

    from songbag.learning.export import export_network, export_pooling

    grid = card.recipe.windows.stride
    hop = card.recipe.windows.hop_seconds * card.recipe.sound.sample_rate
    hop_frames = max(1, int(hop / card.recipe.sound.hop_length) // grid) * grid
    # Copies, because a Keras model lists its weights under two names; in plain order.
    state = {name: value.contiguous().clone() for name, value in fit.network.state_dict().items()}
    parts = {
        "weights.safetensors": save_weights(state),
        "network.onnx": export_network(fit.network, card.source == "audio", hop_frames),
        "pooling.onnx": export_pooling(fit.pooling, len(card.labels)),
    }
    write_model(path, sealed(card, parts))


def _evaluated(
    model_path: Path, test: SongBags, certificate: Certificate, console: Console
) -> Evaluation:
    """Judge the test songs from the saved file, and write the figures into it."""
    answers = answer_bags(test, model_path)
    found = evaluate_model(model_path, test.table(), answers, console)
    for row in found.rows:
        row["side"] = "test"
    found.figures["split"] = msgspec.to_builtins(certificate)
    model = read_model(model_path, ("weights.safetensors", "network.onnx", "pooling.onnx"))
    card = msgspec.structs.replace(model.card, figures=found.figures)
    write_model(model_path, ModelFile(card, model.parts))
    console.say(summary(found.figures))
    return found


def _write_evidence(
    folder: Path,
    heard: SongBags,
    sides: Sequence[str],
    fit: "Fit",
    evaluation: Evaluation | None,
) -> None:
    columns = ["id", "label", "group", "side"]
    rows = [
        {"id": song.id, "label": song.label, "group": song.group_value, "side": side}
        for song, side in zip(heard.songs, sides, strict=True)
    ]
    write_csv(folder / "split.csv", rows, columns)
    write_csv(folder / "history.csv", fit.history, list(fit.history[0]))
    if evaluation is not None:
        evaluation.write(folder)
        write_report(folder)
