"""The main job: songs to a trained, evaluated model file. Read this file first."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from songbag.audio.cache import Receipt
from songbag.console import Console
from songbag.data.dataset import SongBags, Track, hear
from songbag.data.song_table import Song, SongTable, require_files, require_labels, split_names
from songbag.data.splits import Certificate, certify, split_sides
from songbag.data.unpacking import hear_packed
from songbag.errors import TrainingError
from songbag.inference.model_file import PARTS, ModelFile, read_model, write_model
from songbag.inference.predict import answer_bags
from songbag.parallel.pool import worker_count
from songbag.parallel.ranks import is_rank_zero
from songbag.report import write_report
from songbag.settings import Limits, Own, Recipe
from songbag.storage.csv_files import write_csv
from songbag.tasks.check import remarks
from songbag.tasks.evaluate import Evaluation, evaluate_model, summary
from songbag.training.adapt import adapted
from songbag.training.checkpoint import forget_states
from songbag.training.fit import Learning, require_trainable, save
from songbag.training.members import chooses_epoch, learn

if TYPE_CHECKING:
    from songbag.training.trainer import Fit

TEST_SHARE = 0.2  # of all songs, whole groups
VALIDATION_SHARE = 0.15  # of the songs not tested; only where it chooses the epoch
_WORTH_IT = 16  # songs a process for which it hears long enough to import something else


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
    resume: bool = False,
) -> Trained:
    """Split, fit, save and judge: from bags on, audio and tables of windows are one.

    Beside ``genre.songbag`` the folder ``genre-training`` gets split.csv, history.csv,
    predictions.csv, windows.csv, metrics.json and report.html. While it learns,
    genre.songbag.state keeps where it is; ``resume`` goes on from there.

    Raises
    ------
    SongTableError, TrainingError
        What is wrong with the songs.
    """
    require_trainable(recipe)
    require_labels(heard.table())
    recipe = adapted(recipe, heard, console)
    sides, certificate = _split(heard, recipe, seed)
    taught, test = (heard.part([(side == "test") is on for side in sides]) for on in (False, True))
    held = np.array([side == "validation" for side in sides if side != "test"])
    learning = Learning.of(heard.table(), recipe, console, seed, threads, own)
    fit, card = learn(taught, held, learning, model_path, resume)
    folder = model_path.with_name(f"{model_path.stem}-training")
    if not is_rank_zero():
        return Trained(model_path, folder, None, fit.history, certificate)
    card = msgspec.structs.replace(card, split=certificate)
    save(fit, card, model_path, learning.own.encoder)
    forget_states(model_path)
    evaluation = None
    if len(test):
        evaluation = _evaluated(model_path, test, certificate, console)
    else:
        console.say("no test songs: the model has no figures. Evaluate it on other songs.")
    _write_evidence(folder, heard, sides, fit, evaluation)
    failed = [(song.id, message) for song, _, message in heard.failed]
    return Trained(model_path, folder, evaluation, fit.history, certificate, failed)


def _split(heard: SongBags, recipe: Recipe, seed: int) -> tuple[list[str], Certificate]:
    names = split_names(heard.songs)
    groups = [song.group for song in heard.songs]
    given = [song.split for song in heard.songs]
    share = VALIDATION_SHARE if chooses_epoch(recipe) else 0.0
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
    track: Track = console.track
    if worker_count(workers, len(table.songs) // _WORTH_IT) > 1:
        track = partial(_importing_ahead, track)
    heard = hear(table, recipe, cache, limits, workers, track)
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


def _importing_ahead(track: Track, made: Iterable[Receipt], count: int) -> Iterator[Receipt]:
    """Track songs, and import torch meanwhile: most of a second of one core.

    After the first song: processes that hear are copies of this one, which needs it without
    threads. Not in a daemon: a program that ends in the middle of torch's import may crash.
    """
    importing = threading.Thread(target=import_module, args=("torch",))
    for receipt in track(made, count):
        if importing.ident is None:
            importing.start()
        yield receipt


def open_labelled(folder: Path, recipe: Recipe, console: Console) -> SongBags:
    """Open a packed collection for training; it was checked when it was packed.

    Raises
    ------
    SettingsError, SongTableError, TrainingError
        What is wrong with the folder or its songs.
    """
    heard = hear_packed(folder, recipe)
    if heard.failed:
        console.say(f"{len(heard.failed)} songs could not be heard when they were packed")
    lost = {label for song, _, _ in heard.failed for label in song.labels}
    if lost := lost - set(heard.table().label_names()):
        raise TrainingError(f"no song labelled {', '.join(sorted(lost))} could be read.")
    return heard


def split_method(songs: Sequence[Song], given: bool) -> str:
    """Say in words how a split was made."""
    column = songs[0].group_by
    by = column if any(song.group_value for song in songs) else f"song (no {column} is known)"
    return f"{'given by the table' if given else 'stratified by label'}, grouped by {by}"


def _evaluated(
    model_path: Path, test: SongBags, certificate: Certificate, console: Console
) -> Evaluation:
    """Judge the test songs from the saved file, and write the figures into it."""
    answers = answer_bags(test, model_path)
    found = evaluate_model(model_path, test.table(), answers, console)
    for row in found.rows:
        row["side"] = "test"
    found.figures["split"] = msgspec.to_builtins(certificate)
    model = read_model(model_path, PARTS)
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
    rows = (
        {"id": song.id, "label": song.label, "group": song.group_value, "side": side}
        for song, side in zip(heard.songs, sides, strict=True)
    )
    write_csv(folder / "split.csv", rows, columns)
    write_csv(folder / "history.csv", fit.history, list(fit.history[0]))
    if evaluation is not None:
        evaluation.write(folder)
        write_report(folder)
