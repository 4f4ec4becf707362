"""Songs to one model: a single network, or members by folds that calibrate each other.

*The members are the folds*: every network is fitted on all but one fold and asked about
that one. What they say of songs they had not heard gives the weights of the recipe's
branches and the calibration, in the pass that makes the members; nothing is fitted twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.bag import Bag
from songbag.data.dataset import SongBags, chosen
from songbag.data.song_table import Song, split_names
from songbag.data.splits import folds
from songbag.encoders.onnx_file import embedded
from songbag.errors import TrainingError
from songbag.inference.model_file import Card
from songbag.metrics.calibration import Calibration, branch_weights, calibrate
from songbag.metrics.label_kinds import kind_of
from songbag.settings import Recipe
from songbag.training.calibrate import calibrated
from songbag.training.checkpoint import forget_states, kept_state, songs_hash, state_path
from songbag.training.fit import Labels, Learning, card_of, fit_bags, on_grid, window_shape

if TYPE_CHECKING:
    from songbag.models.song_network import SongNetwork
    from songbag.training.trainer import Fit

_CALIBRATION_FOLDS = 3  # of a single network whose pooling is overconfident


@dataclass(frozen=True)
class Branch:
    """Networks of one kind, each fitted on all but one fold.

    Attributes
    ----------
    members : list of SongNetwork
    logits : ndarray, shape (songs, classes)
        Of every song, pooled, from the member that had not heard it.
    history : list of dict
        As `Fit.history`, with the number of the member.
    """

    members: "list[SongNetwork]"
    logits: NDArray[np.float64]
    history: list[dict[str, float]]


def chooses_epoch(recipe: Recipe) -> bool:
    """Tell whether songs are held out to choose the epoch; members need none."""
    return recipe.training.keep == "best" and not recipe.training.folds


def learn(
    heard: SongBags, held: NDArray[np.bool_], learning: Learning, model_path: Path, resume: bool
) -> "tuple[Fit, Card]":
    """Fit a recipe on songs, and return the network with the card of its model.

    Parameters
    ----------
    held : ndarray of bool, shape (songs,)
        Songs that choose the epoch.
    model_path : Path
        States of the training lie beside it, to go on from with ``resume``.

    Raises
    ------
    TrainingError
        The state that lies there is of another training.
    """
    if not resume:
        forget_states(model_path)
    audio, learning = on_grid(heard.bags, learning)
    bags = audio
    if learning.own.encoder:
        bags = embedded(audio, learning.own.encoder, learning.recipe, learning.console)
    training = learning.recipe.training
    overconfident = training.pooling_part.overconfident
    count = training.folds or (_CALIBRATION_FOLDS if overconfident else 0)
    fold_of = inner_folds(heard, count, learning)
    calibration = Calibration()
    if training.folds and fold_of is not None:
        fit, calibration = _by_folds(bags, fold_of, learning, model_path)
    else:
        fit = _single(bags, held, learning, model_path)
        if fold_of is not None:
            learning.console.say("calibration on songs held out in turn")
            voted = _branch(bags, fold_of, learning, model_path, "vote")
            calibration = _calibration(voted.logits, bags, learning)
    return fit, calibrated(card_of(fit, audio, learning), calibration)


def inner_folds(heard: SongBags, count: int, learning: Learning) -> Labels | None:
    """Deal songs out to at most ``count`` folds, so that no label is in one fold alone.

    None where no folds are asked for, or the songs allow none: then somebody is told.
    """
    names, groups = split_names(heard.songs), [song.group for song in heard.songs]
    for fewer in range(count, 1, -1):
        try:
            fold_of = folds(names, groups, fewer, learning.seed)
        except TrainingError:
            continue
        if all(len(on) > 1 for on in folds_by_label(heard.songs, fold_of).values()):
            return fold_of
    if count:
        learning.console.say(
            "no song can be held out, because a label has songs of one artist only: the model "
            "is a single network, and is not calibrated"
        )
    return None


def folds_by_label(songs: Sequence[Song], fold_of: Labels) -> dict[str, set[int]]:
    """Return the folds in which each label is found."""
    found: dict[str, set[int]] = defaultdict(set)
    for song, fold in zip(songs, fold_of.tolist(), strict=True):
        for label in song.labels:
            found[label].add(fold)
    return found


def _single(
    bags: Sequence[Bag], held: NDArray[np.bool_], learning: Learning, model_path: Path
) -> "Fit":
    taught, judging = (chosen(bags, on) for on in (~held, held))
    state = kept_state(state_path(model_path), learning, songs_hash(bags))
    return fit_bags(taught, judging, learning, checkpoint=state)


def _by_folds(
    bags: Sequence[Bag], fold_of: Labels, learning: Learning, model_path: Path
) -> "tuple[Fit, Calibration]":
    """Fit the members of all branches, weigh the branches, and calibrate the whole."""
    from songbag.models.build import song_pooling
    from songbag.models.song_network import Ensemble
    from songbag.training.trainer import Fit

    branches = []
    for training in learning.recipe.trainings:
        recipe = msgspec.structs.replace(learning.recipe, training=training, branches=())
        one = replace(learning, recipe=recipe)
        branches.append(_branch(bags, fold_of, one, model_path, training.network))
    y, kind = learning.truths(bags), kind_of(learning.multilabel)
    weights = branch_weights([branch.logits for branch in branches], y, kind)
    logits = np.sum([w * b.logits for w, b in zip(weights, branches, strict=True)], axis=0)
    name, classes = learning.recipe.training.pooling, len(learning.labels)
    pooling = song_pooling(name, learning.own, classes, kind)
    heard = [k for k, weight in enumerate(weights) if weight > 0]
    members = [branches[k].members for k in heard]
    network = Ensemble(members, [weights[k] for k in heard], pooling).eval()
    history = [row for branch in branches for row in branch.history]
    return Fit(network, pooling, history), _calibration(logits, bags, learning)


def _calibration(
    logits: NDArray[np.float64], bags: Sequence[Bag], learning: Learning
) -> Calibration:
    kind = kind_of(learning.multilabel)
    return calibrate(kind.probabilities(logits), learning.truths(bags), kind)


def _branch(
    bags: Sequence[Bag], fold_of: Labels, learning: Learning, model_path: Path, name: str
) -> Branch:
    """Fit one network for each fold, and ask it about the songs of that fold."""
    from songbag.models.song_network import SongNetwork, song_logits

    if learning.recipe.training.optimizer == "lbfgs":
        return _solved(bags, fold_of, learning)
    found, count = Branch([], np.zeros((len(bags), len(learning.labels))), []), fold_of.max() + 1
    for fold in range(count):
        taught, asked = (chosen(bags, on) for on in (fold_of != fold, fold_of == fold))
        one = replace(learning, seed=1000 * learning.seed + fold)
        path = state_path(model_path, f".{name}{fold + 1}")
        state = kept_state(path, one, songs_hash(taught))
        fit = fit_bags(taught, [], one, f"Training {name}, {fold + 1} of {count}", state)
        assert isinstance(fit.network, SongNetwork)
        found.members.append(fit.network)
        found.logits[fold_of == fold] = song_logits(fit.network, fit.pooling, asked).numpy()
        found.history.extend({"member": fold + 1, **row} for row in fit.history)
    return found


def _solved(bags: Sequence[Bag], fold_of: Labels, learning: Learning) -> Branch:
    """Solve a linear network for each fold; their mean is one linear network."""
    from songbag.models.build import network_for, song_pooling
    from songbag.models.linear_solver import solve_folds

    training, classes = learning.recipe.training, len(learning.labels)
    kind = kind_of(learning.multilabel)
    pooling = song_pooling(training.pooling, learning.own, classes, kind)
    shape = window_shape(bags, learning)
    network = network_for(bags, training, shape, pooling, learning.own)
    with learning.console.bar(f"Solving {training.network}", len(bags)) as advance:
        y = learning.truths(bags)
        logits, row = solve_folds(network, bags, y, fold_of, pooling, training, advance)
    return Branch([network.eval()], logits, [{"member": 1, "epoch": 1, **row}])
