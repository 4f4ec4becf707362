"""Bags to a model file: fit, calibrate on songs held out in turn, export, save."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.answers import baselines
from songbag.answers.modelfile import FORMAT, Card, heard_songs, sealed, write_model
from songbag.bags import Bag
from songbag.errors import TrainingError
from songbag.files import replacing
from songbag.jobs import processes
from songbag.jobs.console import Advance, Console
from songbag.settings import Own, Recipe
from songbag.songs.labels import join_labels, split_labels
from songbag.songs.song_bags import bare, checksums, cut_on_grid
from songbag.songs.table import SongTable
from songbag.sound.windows import window_frames

if TYPE_CHECKING:
    from songbag.learning.fitting import Checkpoint, Fit, Watch

Labels: TypeAlias = NDArray[np.int64]
_PACKAGES = ("songbag", "torch", "numpy", "av", "soxr", "onnxruntime")


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
    checkpoint: Path | None = None,
) -> tuple["Fit", Card]:
    """Fit a network on bags and return it with the card of its model.

    With ``checkpoint`` the state of the training is kept in that file, and one that lies
    there is gone on from.
    """
    import torch

    from songbag.learning.building import layer_table
    from songbag.learning.fitting import fit

    if learning.threads:
        torch.set_num_threads(learning.threads)
    recipe, shape = _on_grid(bags, learning.recipe)
    train, held_out = (
        cut_on_grid(part, recipe.sound, recipe.windows) for part in (bags, validation)
    )
    _require_exportable(learning, shape, bags[0].starts is not None)
    y, classes = learning.truths(train), len(learning.labels)
    began = time.monotonic()
    with learning.console.bar("Training", recipe.training.epochs * len(train)) as advance:
        held = (held_out, learning.truths(held_out))
        watch = _watching(advance, len(train))
        training, seed, own = recipe.training, learning.seed, learning.own
        songs = songs_hash(bags, validation)
        kept = None if checkpoint is None else kept_state(checkpoint, learning, songs)
        found = fit(train, y, held, classes, training, shape, seed, watch, own, kept)
    _say_end(found, time.monotonic() - began, learning.console)
    card = Card(
        format=FORMAT,
        labels=learning.labels,
        recipe=recipe,
        window_shape=shape,
        source="table" if bags[0].starts is None else "audio",
        space=found.pooling.pooling.space,
        multilabel=learning.multilabel,
        thresholds=(0.5,) * classes if learning.multilabel else (),
        seed=learning.seed,
        heard=heard_songs(bag.id for part in (bags, validation) for bag in bare(part)),
        songs=songs,
        majority=_majority(y, learning),
        level=None if learning.multilabel else _level(train, y, classes),
        layers=tuple(layer_table(found.network.network)),
        versions={name: version(name) for name in _PACKAGES},
    )
    return found, card


def kept_state(path: Path, learning: Learning, songs: str) -> "Checkpoint":
    """Return where a training keeps its state, and the state that lies there.

    Raises
    ------
    TrainingError
        It is of other songs, settings, seed or threads, or damaged.
    """
    import torch

    from songbag.learning.fitting import Checkpoint

    parts = (learning.recipe, learning.labels, learning.seed, songs, torch.get_num_threads())
    together = (*parts, processes.count())
    key = hashlib.blake2b(msgspec.json.encode(together), digest_size=16).hexdigest()

    def keep(state: dict[str, Any]) -> None:
        with replacing(path) as file:
            torch.save({"key": key, "state": state}, file)

    if not path.exists():
        return Checkpoint(keep)
    try:
        found = torch.load(path, weights_only=True)  # plain values and tensors, nothing is run
        other = found["key"] != key
    except Exception as error:  # torch raises a family of its own
        raise TrainingError(f"{path}: no state of a training ({error}). Delete it.") from None
    if other:
        raise TrainingError(
            f"{path}: the state of a training with other songs, settings, seed or threads. "
            "Repeat that command with --resume, or train without it to begin anew."
        )
    learning.console.say(f"going on after epoch {len(found['state']['history'])}")
    return Checkpoint(keep, found["state"])


def songs_hash(*parts: Sequence[Bag]) -> str:
    """Return a hash of what bags hold, in whatever order they come.

    Packed songs bring the checksum of their frames: nothing is read again.
    """
    each = sorted(_bag_hash(*pair) for bags in parts for pair in zip(bare(bags), checksums(bags)))
    return hashlib.blake2b(b"".join(each), digest_size=16).hexdigest()


def _bag_hash(bag: Bag, checksum: bytes) -> bytes:
    digest = hashlib.blake2b(f"{bag.id}\0{bag.label}\0{bag.samples}".encode(), digest_size=16)
    digest.update(checksum)
    return digest.digest()


def _on_grid(bags: Sequence[Bag], recipe: Recipe) -> tuple[Recipe, tuple[int, ...]]:
    """Return the recipe with the time stride of its network, and the shape of a window."""
    from songbag.learning.building import time_stride

    from_audio, name = bags[0].starts is not None, recipe.training.network
    shape = _window_shape(bags, recipe, from_audio)
    stride = time_stride(name, shape) if from_audio and name != "own" else None
    cut = msgspec.structs.replace(recipe.windows, stride=stride or 1)
    return msgspec.structs.replace(recipe, windows=cut), shape


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
    from songbag.learning.building import build_own
    from songbag.learning.export import export_network, export_pooling
    from songbag.learning.fitting import song_pooling

    own, training = learning.own, learning.recipe.training
    pooling = song_pooling(training.pooling, own, len(learning.labels), learning.multilabel)
    if own.network is not None:
        export_network(build_own(own.network, shape, pooling).eval(), whole_songs, 1)
    if own.pooling is not None:
        export_pooling(pooling)


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


def _level(bags: Sequence[Bag], y: Labels, classes: int) -> dict[str, list[float]] | None:
    levels = [bag.level_db for bag in bare(bags)]
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
        "pooling.onnx": export_pooling(fit.pooling),
    }
    write_model(path, sealed(card, parts))
