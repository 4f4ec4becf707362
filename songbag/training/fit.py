"""Bags to a model file: fit, calibrate on songs held out in turn, export, save."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.windows import window_and_hop, window_frames
from songbag.console import Advance, Console
from songbag.data.bag import Bag
from songbag.data.dataset import bare, cut_on_grid
from songbag.data.labels import join_labels, split_labels
from songbag.data.song_table import SongTable
from songbag.errors import TrainingError
from songbag.inference.model_file import FORMAT, Card, heard_songs, sealed, write_model
from songbag.metrics import baselines
from songbag.metrics.label_kinds import kind_of
from songbag.settings import Own, Recipe, Training
from songbag.training.checkpoint import songs_hash

if TYPE_CHECKING:
    from songbag.training.trainer import Checkpoint, Fit, Watch

Labels: TypeAlias = NDArray[np.int64]
_PACKAGES = ("songbag", "torch", "numpy", "av", "soxr", "onnxruntime")


def require_trainable(recipe: Recipe) -> None:
    """Refuse what could not be trained, before any song is read.

    Raises
    ------
    SettingsError
        A network or pooling is not installed.
    TrainingError
        Packages are missing, or a loss on the song goes through a pooling without a
        gradient.
    """
    for training in recipe.trainings:
        training.require_known_parts()
        _require_solvable(training)
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
    """Refuse to solve exactly what is not linear in the songs' mean features."""
    linear = training.network_part.linear and training.pooling_part.linear
    if training.optimizer == "lbfgs" and not (linear and training.loss == "song"):
        raise TrainingError(
            "optimizer 'lbfgs' solves linear networks ('linear', 'statistics') with the loss on "
            f"the song through mean_logit; this recipe has network '{training.network}', loss "
            f"'{training.loss}', pooling '{training.pooling}'. Take --recipe cnn, or --set "
            "training.optimizer=adamw."
        )


@dataclass(frozen=True)
class Learning:
    """How bags become a model: all that stays the same from fold to fold.

    Attributes
    ----------
    recipe : Recipe
    labels : tuple of str
        In the order of every probability column.
    console : Console
    seed : int
    multilabel : bool
        Whether a song may have any number of the labels.
    threads : int or None
        Threads of torch; None leaves its own choice.
    own : Own
        A user's network, pooling or loss.
    """

    recipe: Recipe
    labels: tuple[str, ...]
    console: Console
    seed: int = 0
    multilabel: bool = False
    threads: int | None = None
    own: Own = field(default_factory=Own)

    @classmethod
    def of(
        cls,
        table: SongTable,
        recipe: Recipe,
        console: Console,
        seed: int,
        threads: int | None,
        own: Own | None,
    ) -> "Learning":
        """Return how the songs of a table are learned."""
        own = own or Own()
        recipe = msgspec.structs.replace(recipe, training=own.named(recipe.training))
        labels = tuple(table.label_names())
        return cls(recipe, labels, console, seed, table.multilabel, threads, own)

    def truths(self, bags: Sequence[Bag]) -> Labels:
        """Return label indices (songs,), or 0 and 1 (songs, labels) with multilabel."""
        index = {label: number for number, label in enumerate(self.labels)}
        if not self.multilabel:
            return np.fromiter((index[str(bag.label)] for bag in bare(bags)), np.int64, len(bags))
        y = np.zeros((len(bags), len(self.labels)), dtype=np.int64)
        for row, bag in zip(y, bare(bags), strict=True):
            row[[index[label] for label in split_labels(bag.label or "")]] = 1
        return y


def fit_bags(
    bags: Sequence[Bag],
    validation: Sequence[Bag],
    learning: Learning,
    title: str = "Training",
    checkpoint: "Checkpoint | None" = None,
) -> "Fit":
    """Fit the network of ``learning.recipe.training`` on bags cut on its grid.

    Parameters
    ----------
    bags, validation : sequence of Bag
        As `on_grid` cuts them.
    title : str
        Of the progress bar.
    checkpoint : Checkpoint, optional
        Where the state of the training is kept, and what it goes on from.
    """
    import torch

    from songbag.training.trainer import fit

    if learning.threads:
        torch.set_num_threads(learning.threads)
    training, seed, own = learning.recipe.training, learning.seed, learning.own
    y, shape, classes = learning.truths(bags), window_shape(bags, learning), len(learning.labels)
    began = time.monotonic()
    with learning.console.bar(title, training.epochs * len(bags)) as advance:
        held = (validation, learning.truths(validation))
        watch = _watching(advance, len(bags))
        found = fit(bags, y, held, classes, training, shape, seed, watch, own, checkpoint)
    _say_end(found, time.monotonic() - began, learning.console)
    return found


def card_of(fit: "Fit", bags: Sequence[Bag], learning: Learning) -> Card:
    """Return the card of a model fitted on bags, uncalibrated.

    Parameters
    ----------
    bags : sequence of Bag
        All that were heard in training, validation songs too, as `on_grid` cuts them.
    """
    from songbag.models.build import layer_table

    y, classes = learning.truths(bags), len(learning.labels)
    return Card(
        format=FORMAT,
        labels=learning.labels,
        recipe=learning.recipe,
        window_shape=window_shape(bags, learning),
        source="table" if bags[0].starts is None else "audio",
        space=fit.pooling.part.space,
        multilabel=learning.multilabel,
        thresholds=(0.5,) * classes if learning.multilabel else (),
        seed=learning.seed,
        heard=heard_songs(bag.id for bag in bare(bags)),
        songs=songs_hash(bags),
        majority=_majority(y, learning),
        level=None if learning.multilabel else _level(bags, y, classes),
        layers=tuple(layer_table(fit.network)),
        versions={name: version(name) for name in _PACKAGES},
    )


def on_grid(bags: Sequence[Bag], learning: Learning) -> tuple[Sequence[Bag], Learning]:
    """Return bags cut where all networks of a recipe can share their trunks, and the recipe so.

    Raises
    ------
    TrainingError, ExportError
        Windows of a shape that a network cannot take; a part of the user's that could not
        be saved.
    """
    from songbag.models.build import time_stride

    recipe, shape = learning.recipe, window_shape(bags, learning)
    _require_exportable(learning, shape, bags[0].starts is not None)
    names = [training.network for training in recipe.trainings if training.network != "own"]
    strides = [time_stride(name, shape) for name in names] if bags[0].starts is not None else []
    grid = math.lcm(*(stride or 1 for stride in strides))
    cut = msgspec.structs.replace(recipe.windows, stride=grid)
    recipe = msgspec.structs.replace(recipe, windows=cut)
    return cut_on_grid(bags, recipe.sound, cut), replace(learning, recipe=recipe)


def _watching(advance: Advance, songs: int) -> "Watch":
    """Return what moves a bar of songs over all epochs."""
    epoch, note = 0, ""

    def watch(done: int, row: dict[str, float] | None) -> None:
        nonlocal epoch, note
        if row is not None:
            epoch, note, done = int(row["epoch"]), _note(row), 0
        advance(epoch * songs + done, note)

    return watch


def _majority(y: Labels, learning: Learning) -> str:
    """Return the most frequent label; with multilabel all that half of the songs have."""
    if learning.multilabel:
        often = y.mean(axis=0) >= 0.5
        return join_labels([name for name, on in zip(learning.labels, often, strict=True) if on])
    return learning.labels[baselines.majority_label(y, len(learning.labels))]


def _require_exportable(learning: Learning, shape: tuple[int, ...], whole_songs: bool) -> None:
    """Refuse a user's parts that could not be saved, before hours of training."""
    from songbag.models.build import build_own, song_pooling
    from songbag.training.to_onnx import export_network, export_pooling

    own, training = learning.own, learning.recipe.training
    kind = kind_of(learning.multilabel)
    pooling = song_pooling(training.pooling, own, len(learning.labels), kind)
    if own.network is not None:
        export_network(build_own(own.network, shape, pooling).eval(), whole_songs, 1)
    if own.pooling is not None:
        export_pooling(pooling)


def window_shape(bags: Sequence[Bag], learning: Learning) -> tuple[int, ...]:
    """Return the shape of one window.

    Raises
    ------
    TrainingError
        A network of the recipe takes matrices, and these are none.
    """
    recipe = learning.recipe
    if bags[0].starts is not None:
        return window_frames(recipe.sound, recipe.windows), recipe.sound.bands
    shape = bags[0].features.shape[1:]
    for training in recipe.trainings:
        if training.network_part.takes == "matrix" and len(shape) != 2:
            raise TrainingError(
                f"network '{training.network}' takes windows that are matrices (bands, frames); "
                f"these have the shape {shape}. Use --network mlp, or give --shape."
            )
    return shape


def _note(row: dict[str, float]) -> str:
    note = f"loss {row['loss']:.3f}"
    if "validation_accuracy" in row:
        note += f", validation {row['validation_accuracy']:.2f}"
    return note


def _say_end(found: "Fit", seconds: float, console: Console) -> None:
    last = found.history[-1]
    if last["epoch"] == 1:
        console.say(f"solved in {seconds:.0f} s")
        return
    text = f"trained {int(last['epoch'])} epochs in {seconds:.0f} s; kept epoch {found.kept_epoch}"
    if found.stopped == "patience":
        text += "; stopped because the validation songs no longer improved"
    if found.stopped == "diverged":
        text += "; stopped because the loss was no longer finite (lower the learning rate)"
    if found.stopped == "interrupted":
        text += "; interrupted, the best so far is kept"
    console.say(text)


def _level(bags: Sequence[Bag], y: Labels, classes: int) -> dict[str, list[float]] | None:
    levels = [bag.level_db for bag in bare(bags)]
    if any(level is None for level in levels):
        return None
    return baselines.fit_level(np.array(levels, dtype=np.float64), y, classes)


def save(fit: "Fit", card: Card, path: Path, encoder: bytes = b"") -> None:
    """Export, check and write a model file; with an encoder it becomes part of the network."""
    from safetensors.torch import save as save_weights

    from songbag.training.to_onnx import export_network, export_pooling

    grid = card.recipe.windows.stride
    hop = card.recipe.windows.hop_seconds * card.recipe.sound.sample_rate
    hop_frames = max(1, int(hop / card.recipe.sound.hop_length) // grid) * grid
    network = export_network(fit.network, card.source == "audio" and not encoder, hop_frames)
    if encoder:
        from songbag.inference.encoder_graph import encoded_network

        samples = window_and_hop(card.recipe.sound, card.recipe.windows)[0]
        frames, width = card.window_shape
        network = encoded_network(encoder, network, frames, width, samples)
    # Copies, because a Keras model lists its weights under two names; in plain order.
    state = {name: value.contiguous().clone() for name, value in fit.network.state_dict().items()}
    parts = {
        "weights.safetensors": save_weights(state),
        "network.onnx": network,
        "pooling.onnx": export_pooling(fit.pooling),
    }
    write_model(path, sealed(card, parts))
