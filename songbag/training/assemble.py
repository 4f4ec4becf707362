"""A trained network to a model in memory: its card, weights and graphs."""

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from songbag.audio.meter import warnings_of
from songbag.data import batches
from songbag.data.dataset import BagDataset, MemoryDataset
from songbag.data.song import join_labels
from songbag.encoders.known import find_encoder
from songbag.errors import TrainingError
from songbag.inference.model_file import TYPICALITY, Card, Model, song_hashes
from songbag.metrics.calibration import Calibration
from songbag.metrics.classification import fit_level
from songbag.metrics.typicality import Typicality
from songbag.models.gaussian import fit_typicality
from songbag.training.checkpoint import dataset_hash
from songbag.training.plan import Labels, TrainingPlan, assign_folds, sound_of, window_shape

if TYPE_CHECKING:
    from songbag.models.song_network import Ensemble, SongNetwork, SongPooling
    from songbag.models.window_vectors import Whitened
    from songbag.training.trainer import TrainedNetwork

_PACKAGES = ("songbag", "torch", "numpy", "av", "soxr", "onnxruntime")
_TYPICALITY_FOLDS = 5
_WINDOWS_OF_SONG = 8  # at most, whose distances are kept
_WINDOWS_AT_ONCE = 256  # to bound memory


def assemble(
    result: "TrainedNetwork",
    dataset: BagDataset,
    plan: TrainingPlan,
    calibration: Calibration,
    described: "tuple[Whitened, Typicality] | None" = None,
) -> Model:
    """Return the model of a trained network; ``described`` is of `fit_vectors`."""
    from songbag.models.build import layer_table

    y, classes = plan.truths(dataset.songs), len(plan.labels)
    levels, narrow = list[float | None](), 0
    for bag in dataset.without_features():
        levels.append(bag.level_db)
        narrow += bool(warnings_of("narrow", bag.warnings))
    judged_by_level = not plan.kind.multilabel and None not in levels
    card = Card(
        format=3 if plan.unknown else 2 if plan.recipe.sound.encoding else 1,
        labels=plan.labels,
        recipe=plan.recipe,
        window_shape=window_shape(dataset, plan.recipe),
        source="table" if dataset[0].starts is None else "audio",
        space=result.pooling.part.space,
        features=dataset.columns if isinstance(dataset, MemoryDataset) else (),
        multilabel=plan.kind.multilabel,
        encoder=find_encoder(plan.recipe.sound).facts if plan.recipe.sound.encoding else None,
        seed=plan.seed,
        heard=song_hashes(song.id for song in dataset.songs),
        songs=dataset_hash(dataset),
        majority=join_labels(plan.kind.majority(y, plan.labels)),
        background=next((s.label or "" for s in dataset.songs if s.background), ""),
        level=fit_level(np.array(levels, np.float64), y, classes) if judged_by_level else None,
        narrow=narrow > len(levels) / 2,
        unknown=plan.unknown,
        layers=tuple(layer_table(result.network)),
        versions={name: version(name) for name in _PACKAGES},
    ).calibrated(calibration)
    return Model.of_parts(card, _export(result.network, result.pooling, card, described))


def _export(
    network: "SongNetwork | Ensemble",
    pooling: "SongPooling",
    card: Card,
    described: "tuple[Whitened, Typicality] | None",
) -> dict[str, bytes]:
    """Return a model's weights and graphs, the encoder's among them."""
    from safetensors.torch import save as save_weights

    from songbag.models.window_vectors import WithVectors
    from songbag.training.to_onnx import export_network, export_pooling

    sound, windows = card.recipe.sound, card.recipe.windows
    hop = int(windows.hop_seconds * sound.sample_rate / sound.step)
    hop_frames = max(1, hop // windows.stride) * windows.stride
    # Copies, because a Keras model lists its weights under two names; in plain order.
    state = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
    seen = WithVectors(network, described[0]) if described else network
    parts = {
        "weights.safetensors": save_weights(state),
        "network.onnx": export_network(seen, card.source == "audio", hop_frames),
        "pooling.onnx": export_pooling(pooling),
    }
    if sound.encoding:
        parts["encoder.onnx"] = find_encoder(sound).graph
    if described:
        parts[TYPICALITY] = described[1].part()
    return parts


def typicality_folds(dataset: BagDataset, plan: TrainingPlan, fold_of: Labels | None) -> Labels:
    """Return the folds of the training, or five where it has none.

    Raises
    ------
    TrainingError
        No song can be held out.
    """
    if fold_of is None:
        fold_of = assign_folds(dataset.songs, _TYPICALITY_FOLDS, plan)
    if fold_of is None:
        raise TrainingError(
            "--unknown compares songs with others, and no song can be held out: a label has songs "
            "of one artist only. Train without --unknown, or give every label two artists."
        )
    return fold_of


def fit_vectors(
    dataset: BagDataset, plan: TrainingPlan, fold_of: Labels
) -> "tuple[Whitened, Typicality]":
    """Describe the windows of all songs by vectors, and fit how typical such vectors are.

    Distances are calibrated on songs held out in turn.
    """
    import torch

    from songbag.models.window_vectors import Whitened, describe_windows

    shape = window_shape(dataset, plan.recipe)
    describe, values = describe_windows(sound_of(dataset, plan.recipe), shape)
    sums, missing = np.zeros((2, len(dataset), values))
    windows = list[NDArray[np.float32]]()
    for song, bag in enumerate(dataset):
        with torch.no_grad():
            blocks = batches.window_blocks(bag, shape[0], _WINDOWS_AT_ONCE)
            vectors = np.concatenate([describe(torch.from_numpy(cut)).numpy() for cut in blocks])
        absent = np.isnan(vectors)
        sums[song] = np.where(absent, 0, vectors).mean(axis=0)
        missing[song] = absent.mean(axis=0)
        chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), _WINDOWS_OF_SONG))
        windows.append(vectors[chosen.round().astype(int)])
    mean = sums.sum(axis=0) / np.maximum((1 - missing).sum(axis=0), 1e-9)  # of what is not missing
    filled = [np.where(np.isnan(few), mean, few) for few in windows]
    single = not plan.kind.multilabel
    classes = plan.truths(dataset.songs) if single else np.zeros(len(dataset), np.int64)
    drawn = np.array([not song.chosen_by_model for song in dataset.songs])
    gaussian, typicality = fit_typicality(sums + missing * mean, filled, classes, fold_of, drawn)
    return Whitened(describe, gaussian), typicality
