"""A dataset and a recipe to a model in memory: fit, and calibrate on held-out songs.

Networks are trained (`songbag.training.trainer`), models are fitted. A recipe with folds gives an
ensemble whose *members are the folds*: each network is trained on all but one fold and predicts
that one. These out-of-fold predictions weight the recipe's branches and calibrate the whole, in
the pass that makes the members; nothing is trained twice. Linear members are stored as one
network, their mean. What each recipe trains: docs/explanation/recipes.md.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.cell_spectra import CellSpectraDataset
from songbag.data.dataset import BagDataset
from songbag.inference.model_file import Model
from songbag.metrics.calibration import (
    Calibration,
    branch_weights,
    fit_temperature,
)
from songbag.metrics.typicality import require_enough
from songbag.parts import networks
from songbag.settings import Training
from songbag.training.assemble import assemble, fit_vectors, typicality_folds
from songbag.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    open_checkpoint,
    remove_checkpoints,
)
from songbag.training.plan import (
    Labels,
    TrainingPlan,
    assign_folds,
    require_trainable,
    sound_of,
    window_shape,
)

if TYPE_CHECKING:
    from songbag.models.song_network import SongNetwork
    from songbag.training.trainer import TrainedNetwork

History: TypeAlias = list[dict[str, float]]

_ENDINGS = {  # of a training, by why it stopped
    "": "",
    "patience": "; stopped because the validation songs no longer improved",
    "diverged": "; stopped because the loss was no longer finite (lower the learning rate)",
    "interrupted": "; interrupted, the best so far is kept",
}
_CALIBRATION_FOLDS = 3  # of a single network whose pooling is overconfident


@dataclass(frozen=True)
class Fitted:
    """A fitted model, one row of history an epoch and member, and how it did on songs held out.

    ``losses`` (songs,) are in nats, calibrated, each from networks that were not trained on the
    song; None where no songs were held out.
    """

    model: Model
    history: History
    losses: NDArray[np.float64] | None = None


def fit(
    dataset: BagDataset,
    plan: TrainingPlan,
    validation: NDArray[np.bool_] | None = None,
    model_path: Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a recipe on the songs of a dataset.

    Parameters
    ----------
    validation : ndarray of bool, shape (songs,), optional
        Songs that choose the epoch.
    model_path : Path, optional
        File of the model to come: checkpoints lie beside it, to go on from with ``resume``.

    Raises
    ------
    TrainingError
        Windows have a shape that a network cannot take; a checkpoint is of another training.
    SettingsError
        Songs are too few for the level at which unknown ones are set aside.
    ExportError
        A part of the user's could not be saved.
    """
    require_trainable(plan.recipe)
    require_enough(sum(not song.chosen_by_model for song in dataset.songs), plan.unknown)
    if model_path is not None and not resume:
        remove_checkpoints(model_path)
    if validation is None:
        validation = np.zeros(len(dataset), dtype=np.bool_)
    plan, dataset = _on_grid(plan, dataset)
    training = plan.recipe.training
    overconfident = training.pooling_part.overconfident
    count = training.folds or (_CALIBRATION_FOLDS if overconfident else 0)
    fold_of = assign_folds(dataset.songs, count, plan)
    typical_folds = typicality_folds(dataset, plan, fold_of) if plan.unknown else None
    calibration, losses = Calibration(), None
    if training.folds and fold_of is not None:
        result, logits, plan = _fit_ensemble(dataset, fold_of, plan, model_path)
        calibration = plan.calibration(logits, dataset.songs)
        losses = song_losses(logits / calibration.temperature, dataset, plan)
    else:
        checkpoint = open_checkpoint(checkpoint_path(model_path), plan, dataset)
        songs, held_out = dataset.subset(~validation), dataset.subset(validation)
        result = train_with_bar(songs.augmented, plan, validation=held_out, checkpoint=checkpoint)
        if fold_of is not None:
            plan.console.say("calibration on songs held out in turn")
            branch = _fit_branch(*_with_copies(dataset, fold_of), plan, model_path, "vote")
            calibration = plan.calibration(branch.logits[: len(dataset)], dataset.songs)
    typicality = None if typical_folds is None else fit_vectors(dataset, plan, typical_folds)
    model = assemble(result, dataset, plan, calibration, typicality)
    return Fitted(model, list(result.history), losses)


def held_out_logits(dataset: BagDataset, plan: TrainingPlan) -> NDArray[np.float64] | None:
    """Return calibrated logits (songs, classes), each from networks not trained on the song.

    None where the songs allow no folds (see `songbag.training.plan.assign_folds`).
    """
    require_trainable(plan.recipe)
    plan, dataset = _on_grid(plan, dataset)
    fold_of = assign_folds(dataset.songs, plan.recipe.training.folds, plan)
    if fold_of is None:
        return None
    logits = _fit_ensemble(dataset, fold_of, plan, None)[1]
    calibrated: NDArray[np.float64] = logits / plan.calibration(logits, dataset.songs).temperature
    return calibrated


def song_losses(
    logits: NDArray[np.float64], dataset: BagDataset, plan: TrainingPlan
) -> NDArray[np.float64]:
    """Return the loss (songs,) of calibrated logits (songs, classes), in nats."""
    from songbag.models.losses import SLOPES

    targets = plan.kind.targets(plan.truths(dataset.songs), len(plan.labels))
    return SLOPES[plan.kind.name](logits, targets)[0]


def _on_grid(plan: TrainingPlan, dataset: BagDataset) -> tuple[TrainingPlan, BagDataset]:
    """Return the plan with a stride of windows that suits all trunks, and the songs cut by it.

    Own parts that could not be saved are refused.
    """
    from songbag.models.build import build_own, require_usable, song_pooling, time_stride
    from songbag.training.to_onnx import export_network, export_pooling

    recipe, own, shape = plan.recipe, plan.own, window_shape(dataset, plan.recipe)
    sound = sound_of(dataset, plan.recipe)
    # A user's parts that could not be saved are refused now, before hours of training.
    pooling = song_pooling(recipe.training.pooling, own, len(plan.labels), plan.kind)
    require_usable(own, pooling)
    if own.network is not None:
        export_network(build_own(own.network, shape, pooling, sound).eval(), sound is not None, 1)
    if own.pooling is not None:
        export_pooling(pooling)
    names = [training.network for training in recipe.trainings if training.network != "own"]
    shares = sound is not None and not sound.encoding  # with an encoder they begin at any cell
    strides = [time_stride(name, shape) or 1 for name in names] if shares else []
    windows = msgspec.structs.replace(recipe.windows, stride=math.lcm(*strides))
    recipe = msgspec.structs.replace(recipe, windows=windows)
    return replace(plan, recipe=recipe), dataset.cut(recipe.sound, windows)


# --- networks ---------------------------------------------------------------------------


def train_with_bar(
    dataset: BagDataset,
    plan: TrainingPlan,
    title: str = "Training",
    validation: BagDataset | None = None,
    checkpoint: Checkpoint | None = None,
    member: int | None = None,
) -> "TrainedNetwork":
    """Train the network of ``plan.recipe.training``, show its progress and say how it ended."""
    import torch

    from songbag.training.trainer import train_network

    if plan.threads:
        torch.set_num_threads(plan.threads)
    training, console = plan.recipe.training, plan.console
    y, shape = plan.truths(dataset.songs), window_shape(dataset, plan.recipe)
    held_out = (validation, plan.truths(validation.songs)) if validation else None
    began, classes = time.monotonic(), len(plan.labels)
    with console.bar(title, training.epochs * len(dataset)) as advance:
        finished, note = 0, ""

        def watch(songs: int, row: dict[str, float] | None) -> None:
            nonlocal finished, note
            if row is not None:
                finished, songs = int(row["epoch"]) * len(dataset), 0
                note = f"loss {row['loss']:.3f}"
                if "validation_accuracy" in row:
                    note += f", validation {row['validation_accuracy']:.2f}"
                plan.report_epoch(row, member)
            advance(finished + songs, note)

        songs, seed, own, sound = (dataset, y), plan.seed, plan.own, sound_of(dataset, plan.recipe)
        result = train_network(
            songs, classes, training, shape, seed, held_out, watch, own, checkpoint, sound
        )
    seconds, epochs = time.monotonic() - began, int(result.history[-1]["epoch"])
    if training.uses_solver:
        plan.report_epoch(result.history[-1], member)
        console.say(f"solved in {seconds:.0f} s")
    else:
        console.say(
            f"trained {epochs} epoch{'s' if epochs > 1 else ''} in {seconds:.0f} s; kept epoch "
            f"{result.epoch}{_ENDINGS[result.stopped]}"
        )
    return result


@dataclass(frozen=True)
class Branch:
    """Networks of one kind, each trained on all but one fold, or the one that is their mean."""

    name: str  # of its network
    members: "list[SongNetwork]"
    logits: NDArray[np.float64]  # (songs, classes), from a network not trained on the song
    history: History  # as `TrainedNetwork.history`, with the number of the member


def _fit_ensemble(
    dataset: BagDataset,
    fold_of: Labels,
    plan: TrainingPlan,
    model_path: Path | None,
) -> "tuple[TrainedNetwork, NDArray[np.float64], TrainingPlan]":
    """Train the members of all branches on songs and their copies, and weight them.

    Returns the ensemble, its logits of songs held out, and the plan with the branches that were
    trained. Copies of songs weigh nothing.
    """
    from songbag.models.build import song_pooling
    from songbag.models.song_network import Ensemble
    from songbag.training.trainer import TrainedNetwork

    branches, trained, y = list[Branch](), list[Training](), plan.truths(dataset.songs)
    everything, fold_of = _with_copies(dataset, fold_of)
    for training in plan.recipe.trainings:
        if training.spectra_weigh and _spectra_share(branches, y, plan) < training.spectra_weigh:
            continue
        recipe = msgspec.structs.replace(plan.recipe, training=training, branches=())
        branch_plan = replace(plan, recipe=recipe)
        # Where a branch has fewer folds, those of one remainder are joined.
        own_folds = fold_of % training.folds if training.folds else fold_of
        branch = _fit_branch(everything, own_folds, branch_plan, model_path, training.network)
        branches.append(replace(branch, logits=branch.logits[: len(dataset)]))
        trained.append(training)
    weights = branch_weights([branch.logits for branch in branches], y, plan.kind)
    pairs = list(zip(weights, branches, strict=True))
    logits = np.sum([weight * branch.logits for weight, branch in pairs], axis=0)
    pooling = song_pooling(plan.recipe.training.pooling, plan.own, len(plan.labels), plan.kind)
    used = [(weight, branch.members) for weight, branch in pairs if weight > 0]
    if len(branches) > 1:
        shares = zip(branches, _shares(branches, weights, y, plan), strict=True)
        said = ", ".join(f"{branch.name} {share:.0%}" for branch, share in shares)
        plan.console.say(f"weights by songs held out: {said}")
    network = Ensemble([members for _, members in used], [w for w, _ in used], pooling).eval()
    history = [row for branch in branches for row in branch.history]
    recipe = msgspec.structs.replace(plan.recipe, training=trained[0], branches=tuple(trained[1:]))
    return TrainedNetwork(network, pooling, history), logits, replace(plan, recipe=recipe)


def _with_copies(dataset: BagDataset, fold_of: Labels) -> tuple[BagDataset, Labels]:
    """Return the songs and their copies, and the fold of each: a copy's is that of its song."""
    everything = dataset.augmented
    fold_by_id = {song.id: fold for song, fold in zip(dataset.songs, fold_of, strict=True)}
    return everything, np.array([fold_by_id[song.id] for song in everything.songs])


def _shares(
    branches: "Sequence[Branch]", weights: Sequence[float], y: Labels, plan: TrainingPlan
) -> list[float]:
    """Return the share of each branch, its logits at their best temperature."""
    shares = [
        weight * fit_temperature(branch.logits, y, plan.kind).temperature
        for weight, branch in zip(weights, branches, strict=True)
    ]
    return [share / sum(shares) for share in shares]


def _spectra_share(branches: "Sequence[Branch]", y: Labels, plan: TrainingPlan) -> float:
    """Return how much of the weight solved branches have that take spectra."""
    solved = [branch for branch in branches if networks()[branch.name].linear]
    weights = branch_weights([branch.logits for branch in solved], y, plan.kind)
    shares = zip(solved, _shares(solved, weights, y, plan), strict=True)
    return sum(share for branch, share in shares if networks()[branch.name].takes == "matrix")


def _fit_branch(
    dataset: BagDataset,
    fold_of: Labels,
    plan: TrainingPlan,
    model_path: Path | None,
    name: str,
) -> Branch:
    """Train one network for each fold, and predict the songs of that fold with it."""
    from songbag.models.encoded import on_cells
    from songbag.models.song_network import SongNetwork, song_logits

    if plan.recipe.training.uses_solver:
        return _solve_branch(dataset, fold_of, plan)
    count = int(fold_of.max()) + 1
    branch = Branch(
        plan.recipe.training.network, [], np.zeros((len(dataset), len(plan.labels))), []
    )
    cells, sound = dataset, plan.recipe.sound
    if sound.encoding and plan.recipe.training.network_part.takes == "matrix":
        dataset = CellSpectraDataset(cells, plan.recipe)
    for fold in range(count):
        songs = dataset.subset(fold_of != fold)
        member_plan = replace(plan, seed=1000 * plan.seed + fold)
        path = checkpoint_path(model_path, f".{name}{fold + 1}")
        checkpoint = open_checkpoint(path, member_plan, songs)
        title = f"Training {name}, {fold + 1} of {count}"
        result = train_with_bar(songs, member_plan, title, checkpoint=checkpoint, member=fold + 1)
        network = result.network
        assert isinstance(network, SongNetwork)
        if dataset is not cells:
            network = on_cells(network, sound, window_shape(cells, plan.recipe))
        branch.members.append(network)
        held_out = cells.subset(fold_of == fold)
        branch.logits[fold_of == fold] = song_logits(network, result.pooling, held_out)
        branch.history.extend({"member": fold + 1, **row} for row in result.history)
    return branch


def _solve_branch(dataset: BagDataset, fold_of: Labels, plan: TrainingPlan) -> Branch:
    """Solve a linear network for each fold; their mean is one linear network."""
    from songbag.models.build import SOLVERS, network_for, song_pooling
    from songbag.models.encoded import without_hidden

    training = plan.recipe.training
    pooling = song_pooling(training.pooling, plan.own, len(plan.labels), plan.kind)
    shape = window_shape(dataset, plan.recipe)
    network = network_for(
        dataset, training, shape, pooling, plan.own, sound_of(dataset, plan.recipe)
    )
    y = plan.truths(dataset.songs)
    with plan.console.bar(f"Solving {training.network}", len(dataset)) as advance:
        solver = SOLVERS[training.optimizer]
        logits, row = solver.solve_folds(network, dataset, y, fold_of, pooling, training, advance)
    plan.report_epoch({"epoch": 1, **row})
    network = without_hidden(network).eval()
    return Branch(training.network, [network], logits, [{"member": 1, "epoch": 1, **row}])
