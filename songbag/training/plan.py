"""Plan a training: the recipe as it suits the songs, what cannot be trained, and the folds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import shortened, window_frames
from songbag.console import Console
from songbag.data.cell_spectra import CellSpectraDataset
from songbag.data.dataset import BagDataset
from songbag.data.song import Song, joined_groups, stratification_labels
from songbag.data.splits import folds
from songbag.errors import TrainingError
from songbag.metrics.calibration import Calibration, calibrate
from songbag.metrics.label_kinds import SINGLE_LABEL, LabelKind
from songbag.parts import networks
from songbag.settings import Own, Recipe, Sound, Training, Windows
from songbag.training.callbacks import Callback

Labels: TypeAlias = NDArray[np.int64]

_FEWEST_EPOCHS = 5


@dataclass(frozen=True)
class TrainingPlan:
    """How songs become a model: all that stays the same from fold to fold."""

    recipe: Recipe
    labels: tuple[str, ...]  # in the order of every probability column
    console: Console
    seed: int = 0
    kind: LabelKind = SINGLE_LABEL
    threads: int | None = None  # of torch; None leaves its own choice
    own: Own = field(default_factory=Own)
    callbacks: tuple[Callback, ...] = ()
    unknown: float = 0.0  # share of known songs that may be set aside; 0: nothing is

    @classmethod
    def of(
        cls,
        dataset: BagDataset,
        recipe: Recipe,
        console: Console,
        seed: int = 0,
        threads: int | None = None,
        own: Own | None = None,
    ) -> "TrainingPlan":
        """Return the plan for a dataset; its labels and their kind come from the songs."""
        own = own or Own()
        training = own.named(recipe.training)
        recipe = msgspec.structs.replace(recipe, training=training, without=None)
        return cls(recipe, dataset.labels, console, seed, dataset.kind, threads, own)

    def report_epoch(self, row: dict[str, float], member: int | None = None) -> None:
        """Call the user's callbacks with a row of history of one network."""
        figures = {"network": self.recipe.training.network, **row}
        if member is not None:
            figures["member"] = member
        for callback in self.callbacks:
            callback.on_epoch(int(row["epoch"]), figures)

    def truths(self, songs: Sequence[Song]) -> Labels:
        """Return label indices (songs,), or 0 and 1 (songs, labels) with multilabel."""
        return self.kind.truths([song.labels for song in songs], self.labels)

    def calibration(self, logits: NDArray[np.float64], songs: Sequence[Song]) -> Calibration:
        """Return what calibrates logits (songs, classes) of songs held out.

        Songs that a model chose are harder than others, so they calibrate nothing.
        """
        drawn = np.array([not song.chosen_by_model for song in songs])
        if not drawn.any():
            self.console.say("not calibrated: a model chose all songs")
            return Calibration()
        shares = self.kind.probabilities(logits[drawn])
        return calibrate(shares, self.truths(songs)[drawn], self.kind)


def adapt_recipe(recipe: Recipe, dataset: BagDataset, console: Console) -> Recipe:
    """Return the recipe as its ``adapt`` wants it for these songs, and say each change."""
    few = recipe.adapt.below_songs
    if recipe.branches and len(dataset) < few and not recipe.sound.encoding:
        last = msgspec.structs.replace(recipe.branches[-1], folds=recipe.training.folds)
        console.say(
            f"{len(dataset)} songs are too few for a network to learn features from (fewer than "
            f"{few}): taking only '{last.network}'. To insist: --set adapt.below_songs=0"
        )
        recipe = msgspec.structs.replace(recipe, training=last, branches=())
    windows = _short_windows(recipe, dataset, console)
    trainings = []
    epochs = max(_FEWEST_EPOCHS, recipe.adapt.most_visits // len(dataset))
    for training in recipe.trainings:
        if recipe.adapt.most_visits and not training.uses_solver and epochs < training.epochs:
            console.say(
                f"{len(dataset)} songs need fewer epochs: {epochs} instead of {training.epochs}. "
                "To insist: --set adapt.most_visits=0"
            )
            training = msgspec.structs.replace(training, epochs=epochs)
        trainings.append(training)
    first, *others = trainings
    return msgspec.structs.replace(recipe, windows=windows, training=first, branches=tuple(others))


def _short_windows(recipe: Recipe, dataset: BagDataset, console: Console) -> Windows:
    """Return the recipe's windows, or shorter ones for short recordings."""
    cut = recipe.windows
    if not recipe.adapt.short_windows or dataset[0].starts is None:
        return cut
    samples = float(np.median([bag.samples for bag in dataset.without_features()]))
    middle = samples / recipe.sound.sample_rate
    windows = shortened(cut, middle)
    if windows != cut:
        what = "labelled spans" if dataset.songs[0].end is not None else "recordings"
        console.say(
            f"half of the {what} are shorter than {middle:.1f} s: windows of "
            f"{windows.seconds:g} s instead of {cut.seconds:g} s. To insist: --set "
            "adapt.short_windows=false"
        )
    return windows


def require_trainable(recipe: Recipe) -> None:
    """Refuse what could not be trained, before any song is read.

    Raises
    ------
    SettingsError
        A network or pooling is not installed.
    TrainingError
        Packages are missing; a loss on the song goes through a pooling without a gradient;
        or the exact solver is asked for what it cannot solve.
    """
    for training in recipe.trainings:
        training.require_known_parts()
        if training.uses_solver:
            _require_solvable(training)
        if training.network_part.takes == "hidden" and not recipe.sound.encoding:
            raise TrainingError(
                f"network '{training.network}' takes the hidden layer of an encoder, and none "
                "listens. Give --encoder musicnn, or another network."
            )
        masks = training.gain or training.filtering or training.time_mask or training.band_mask
        # Members of folds that take spectra are trained on these alone; a single network is not.
        in_db = recipe.training.folds and training.network_part.takes == "matrix"
        if recipe.sound.encoding and masks and not in_db:
            raise TrainingError(
                "gain, filtering, time_mask and band_mask change frames in dB, and the encoder "
                f"'{recipe.sound.encoding.name}' gives vectors. Set them to 0, or --encoder none."
            )
    missing = [name for name in ("torch", "sklearn", "onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise TrainingError(
            f"training needs packages that are not installed ({', '.join(missing)}). "
            "Install them with: pip install 'songbag[train]'"
        )
    training = recipe.training
    if training.loss != "window" and not training.pooling_part.differentiable:
        raise TrainingError(
            f"pooling '{training.pooling}' has no gradient, so a loss on the song cannot be "
            "trained through it. Use --loss window with it, or --pooling mean_probability."
        )


def _require_solvable(training: Training) -> None:
    part, solver = training.network_part, training.optimizer
    losses = ("song", "window") if solver == "ridge" else ("song",)
    linear = part.linear and training.pooling_part.linear
    if linear and part.solver == solver and training.loss in losses:
        return
    solved = [n for n in networks() if networks()[n].linear and networks()[n].solver == solver]
    raise TrainingError(
        f"optimizer '{solver}' solves the networks {', '.join(solved)} with the loss on the "
        f"{' or '.join(losses)} through mean_logit; this recipe has network '{training.network}', "
        f"loss '{training.loss}', pooling '{training.pooling}'. Take --recipe "
        f"{'mlp' if solver == 'ridge' else 'cnn'}, or --set training.optimizer=adamw."
    )


def needs_validation(recipe: Recipe) -> bool:
    """Return whether songs are held out to choose the epoch; members of folds need none."""
    return recipe.training.keep == "best" and not recipe.training.folds


def window_shape(dataset: BagDataset, recipe: Recipe) -> tuple[int, ...]:
    """Return the shape of one window: (frames or cells, values) of audio, any of a table.

    Raises TrainingError if a network of the recipe takes matrices, and these are none.
    """
    if isinstance(dataset, CellSpectraDataset):
        return dataset.window_shape
    if dataset[0].starts is not None:
        return window_frames(recipe.sound, recipe.windows), recipe.sound.bands
    shape = dataset[0].features.shape[1:]
    if not all(training.network_part.missing for training in recipe.trainings):
        for bag in dataset:
            if np.isnan(bag.features).any():
                raise TrainingError(
                    f"values of song '{bag.id}' are missing, and network "
                    f"'{recipe.training.network}' takes none that are. Take recipe windows, which "
                    "imputes them, or fill them before."
                )
    for training in recipe.trainings:
        if training.network_part.takes == "matrix" and len(shape) != 2:
            raise TrainingError(
                f"network '{training.network}' takes windows that are matrices (bands, frames); "
                f"these have the shape {shape}. Use --network mlp, or give --shape."
            )
    return shape


def sound_of(dataset: BagDataset, recipe: Recipe) -> Sound | None:
    """Return the sound that a dataset's frames were made with, None for windows of a table."""
    if isinstance(dataset, CellSpectraDataset):
        return recipe.sound.frames
    return recipe.sound if dataset[0].starts is not None else None


def assign_folds(songs: Sequence[Song], count: int, plan: TrainingPlan) -> Labels | None:
    """Assign songs to at most ``count`` folds, so that no label is in one fold alone.

    None where no folds are asked for, or the songs allow none, which is then said.
    """
    names, groups = stratification_labels(songs), joined_groups(songs)
    for fewer in range(count, 1, -1):
        try:
            fold_of = folds(names, groups, fewer, plan.seed)
        except TrainingError:
            continue
        if all(len(numbers) > 1 for numbers in folds_by_label(songs, fold_of).values()):
            return fold_of
    if count:
        plan.console.say(
            "no song can be held out, because a label has songs of one artist only: the model "
            "is a single network, and is not calibrated"
        )
    return None


def folds_by_label(songs: Sequence[Song], fold_of: Labels) -> dict[str, set[int]]:
    """Return the folds in which each label is found."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for song, fold in zip(songs, fold_of.tolist(), strict=True):
        for label in song.labels:
            numbers[label].add(fold)
    return numbers
