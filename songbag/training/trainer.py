"""Train a network on songs: `train_network` builds it, `Trainer` runs the epochs.

An epoch meets every song once, in batches of songs. A batch takes random windows of each song,
or all of them, augments them, and makes one step on the loss of its songs. After each epoch the
validation songs decide whether its weights are kept.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from songbag.data import batches
from songbag.data.dataset import BagDataset, trust
from songbag.errors import TrainingError
from songbag.metrics.label_kinds import kind_of
from songbag.models.build import SOLVERS, network_for, scale_of, song_pooling
from songbag.models.losses import LOSSES, smoothed, song_weights
from songbag.models.optimizers import build_optimizer, build_schedule
from songbag.models.song_network import (
    Ensemble,
    SongNetwork,
    SongPooling,
    song_logits,
    window_outputs,
)
from songbag.parallel.pool import keep_memory
from songbag.settings import Own, Sound, Training
from songbag.training import distributed
from songbag.training.augmentation import augment
from songbag.training.checkpoint import Checkpoint

Row: TypeAlias = dict[str, float]
Indices: TypeAlias = NDArray[np.int64]
# Songs and their truths: label indices (songs,), or 0 and 1 (songs, labels) with multilabel.
LabelledSongs: TypeAlias = tuple[BagDataset, Indices]
Watch: TypeAlias = Callable[[int, Row | None], None]


@dataclass
class TrainedNetwork:
    """A network on the CPU, in evaluation mode, and how its training went."""

    network: SongNetwork | Ensemble
    pooling: SongPooling
    # A row an epoch: epoch, seconds, songs_per_second, loss, learning_rate, and validation_loss,
    # validation_accuracy where there were validation songs.
    history: list[Row] = field(default_factory=list)
    epoch: int = 0  # whose weights the network has
    stopped: str = ""  # "" when all epochs ran, else "patience", "interrupted" or "diverged"


def train_network(
    songs: LabelledSongs,
    classes: int,
    training: Training,
    window_shape: Sequence[int],
    seed: int,
    validation: LabelledSongs | None = None,
    watch: Watch = lambda songs, row: None,
    own: Own | None = None,
    checkpoint: Checkpoint | None = None,
    sound: Sound | None = None,
) -> TrainedNetwork:
    """Build the network of a training and train it on songs.

    Parameters
    ----------
    seed : int
        Of weights, order, windows and augmentation. The same seed gives the same weights on one
        machine and number of threads, also if the training goes on from a checkpoint.
    validation : LabelledSongs, optional
        Songs that choose the epoch.
    watch : callable
        Called with the number of songs that the epoch has met, after every batch and, with the
        epoch's row of history, after every epoch. A KeyboardInterrupt from it, or anywhere,
        ends the training with the best weights so far.

    Raises
    ------
    TrainingError
        The loss was not finite in the first epoch.
    """
    (dataset, y), own = songs, own or Own()
    pooling = song_pooling(training.pooling, own, classes, kind_of(y.ndim == 2))
    keep_memory()  # gradients of 10 MB and more come and go with every batch: decision 0018
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = network_for(dataset, training, window_shape, pooling, own, sound)
        if training.uses_solver:
            row = SOLVERS[training.optimizer].solve(network, dataset, y, pooling, training)
            return TrainedNetwork(network.eval(), pooling, [row], 1)
        checkpoint = checkpoint or Checkpoint()
        trainer = Trainer(
            network, pooling, training, songs, validation, seed, watch, own.loss, checkpoint
        )
        return trainer.train()


class Trainer:
    """Trains one network; `train_network` describes the parameters."""

    def __init__(
        self,
        network: SongNetwork,
        pooling: SongPooling,
        training: Training,
        songs: LabelledSongs,
        validation: LabelledSongs | None,
        seed: int,
        watch: Watch,
        own_loss: Callable[[Tensor, Tensor], Tensor] | None,
        checkpoint: Checkpoint,
    ) -> None:
        self.ranks = distributed.join_ranks()
        if self.ranks.count > 1:
            distributed.synchronise_norms(network)
        self.device = self.ranks.device
        self.network = network.to(self.device)
        self.pooling, self.training = pooling, training
        (self.dataset, self.y), self.validation = songs, validation
        self.watch, self.checkpoint = watch, checkpoint

        kind, classes = pooling.kind, pooling.classes
        targets = kind.targets(self.y, classes).astype(np.float32)
        self.targets = smoothed(targets, kind, training.label_smoothing)
        trusted = trust(self.dataset)
        self.song_weights = song_weights(self.y, classes, kind, training.balance, trusted)
        self.loss, self.own_loss = LOSSES[kind.name], own_loss

        # All ranks draw the same order of songs, but other windows, augmentation and dropout.
        self.order_rng = self.window_rng = np.random.default_rng(seed)
        if self.ranks.count > 1:
            self.window_rng = np.random.default_rng([seed, self.ranks.rank])
            torch.manual_seed(seed + self.ranks.rank)

        self.batches_per_epoch = math.ceil(len(self.dataset) / training.songs_per_batch)
        self.optimizer = build_optimizer(network, training)
        self.schedule = build_schedule(self.optimizer, training, self.batches_per_epoch)
        self.averaged: AveragedModel | None = None
        if training.average:
            average = get_ema_multi_avg_fn(training.average)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        is_quick = self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        self.in_bfloat16 = training.precision == "mixed" and is_quick
        # A shared trunk is exact without batch norm and augmentation; else windows are cut.
        norms = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
        exact = network.time_stride is not None and not norms and not training.augments
        self.share_trunk = training.share and exact
        masks = (training.time_mask or training.band_mask) and self.dataset[0].starts is not None
        self.mask_value = scale_of(self.dataset)[0] if masks else None

        self.history: list[Row] = []
        self.progress: dict[str, Any] | None = None  # in the epoch that is running
        self.best_weights: dict[str, Any] | None = None
        self.best_loss, self.best_epoch = math.inf, 0
        self.saved_at = time.monotonic()

    def train(self) -> TrainedNetwork:
        """Run the epochs that are left and return the network with the best weights."""
        if self.checkpoint.state is not None:
            self.load_state(self.checkpoint.state)
        try:
            stopped = self.train_epochs()
            self.save_state()
        except KeyboardInterrupt:
            if self.best_weights is None:
                raise
            stopped = "interrupted"
        if self.best_weights is None:
            raise TrainingError(
                "the loss was not finite in the first epoch: the training diverged. Lower "
                "training.learning_rate, or take another optimizer."
            )
        self.network.load_state_dict(self.best_weights)
        network = self.network.cpu().eval()
        return TrainedNetwork(network, self.pooling, self.history, self.best_epoch, stopped)

    def train_epochs(self) -> str:
        """Run the epochs that are left; return why they ended early, "" if they did not."""
        training = self.training
        keep_last = training.keep == "last" or self.validation is None
        for epoch in range(len(self.history) + 1, training.epochs + 1):
            waited = epoch - 1 - self.best_epoch
            if training.patience and not keep_last and waited >= training.patience:
                return "patience"
            row = self.train_epoch(epoch)
            self.history.append(row)
            if not math.isfinite(row["loss"]):
                return "diverged"
            loss = row.get("validation_loss", math.inf)
            if loss < self.best_loss or keep_last or self.best_weights is None:
                self.best_weights = copy.deepcopy(self.evaluated_network.state_dict())
                self.best_loss, self.best_epoch = min(loss, self.best_loss), epoch
            self.watch(self.batches_per_epoch * training.songs_per_batch, row)
        return ""

    def train_epoch(self, epoch: int) -> Row:
        """Meet every song once and return a row of history."""
        began, size = time.perf_counter(), self.training.songs_per_batch
        order, lanes, progress = self.begin_epoch()
        done_before = progress["done"]
        self.network.train()
        for first in range(done_before, len(order), size):
            songs = order[first : first + size]
            loss = self.train_batch(songs, None if lanes is None else lanes[songs])
            is_late = time.monotonic() - self.saved_at >= self.checkpoint.every_seconds
            # Rank 0 decides for all when to save: they must do it after the same batch.
            loss, save = self.ranks.all_sum(loss, float(is_late and self.ranks.rank == 0))
            progress["total"] += loss * len(songs)
            progress["done"] += len(songs)
            self.watch(progress["done"], None)
            if save:
                self.save_state()
        self.progress = None
        seconds = time.perf_counter() - began
        return {
            "epoch": epoch,
            "seconds": seconds,
            "songs_per_second": (len(self.dataset) - done_before) / seconds,
            "learning_rate": progress["rate"],
            "loss": progress["total"] / len(self.dataset),
            **self.validate(),
        }

    def begin_epoch(self) -> tuple[Indices, Indices | None, dict[str, Any]]:
        """Return the order of the songs, as a saved state had it, their lanes and the progress."""
        now, progress = self.order_rng.bit_generator.state, self.progress
        if progress is not None:
            self.order_rng.bit_generator.state = progress["numbers"]
        rate = float(self.schedule.get_last_lr()[0])
        self.progress = progress or {"numbers": now, "done": 0, "total": 0.0, "rate": rate}
        lanes = None
        if self.training.shards_at_once:
            count = max(self.training.shards_at_once, self.ranks.count)
            order, lanes = batches.streamed(self.dataset.shards(), count, self.order_rng)
        else:
            order = self.order_rng.permutation(len(self.dataset))
        if progress is not None:
            self.order_rng.bit_generator.state = now
        return order, lanes, self.progress

    def train_batch(self, songs: Indices, lanes: Indices | None) -> float:
        """Make one step on a batch of songs; return this rank's part of its mean loss."""
        self.optimizer.zero_grad(set_to_none=True)
        mine, share = self.ranks.split_batch(songs, lanes)
        groups = [self.augmented(group) for group in self.groups(mine)]
        with torch.autocast(self.device.type, torch.bfloat16, self.in_bfloat16):
            outputs = window_outputs(self.network, [group for group, _ in groups])
        loss = torch.zeros((), device=self.device)
        for (group, targets), of_group in zip(groups, outputs, strict=True):
            losses = self.song_losses(group.songs, targets, of_group.float())
            loss = loss + losses.sum() * share / len(songs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.network)
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        return float(loss.detach())

    def groups(self, songs: Indices) -> list[batches.Group]:
        """Return the windows of a batch, in groups of songs with equally many windows."""
        frames, count = self.network.window_shape[0], self.training.windows_per_song
        if count:
            return list(batches.random_groups(self.dataset, songs, count, frames, self.window_rng))
        return list(batches.groups(self.dataset, songs, frames, self.share_trunk))

    def augmented(self, group: batches.Group) -> tuple[batches.Group, NDArray[np.float32]]:
        """Return a group augmented, and its target shares (songs, classes)."""
        targets = self.targets[group.songs]
        if isinstance(group, batches.Shared):
            return group, targets
        mixes = self.own_loss is None  # a user's loss takes labels, not shares
        windows, targets = augment(
            group.windows, targets, self.training, self.mask_value, mixes, self.window_rng
        )
        return batches.Cut(group.songs, windows), targets

    def song_losses(self, songs: Indices, targets: NDArray[np.float32], outputs: Tensor) -> Tensor:
        """Return the weighted loss (songs,) of songs from the outputs of their windows."""
        if self.own_loss is not None:
            y = torch.from_numpy(self.y[songs]).to(self.device)
            losses = self.own_loss(self.pooling.song(outputs), y)
            return losses.expand(len(songs)) if losses.ndim == 0 else losses
        truth = torch.from_numpy(targets).to(self.device)
        weights = torch.from_numpy(self.song_weights[songs].astype(np.float32)).to(self.device)
        if self.training.loss == "window":
            logits = self.pooling.logits(outputs)
            return weights * self.loss(logits, truth[:, None]).mean(dim=1)
        return weights * self.loss(self.pooling.song(outputs), truth)

    @property
    def evaluated_network(self) -> SongNetwork:
        """The network that is validated and saved: with averaged weights, if they are averaged."""
        if self.averaged is None:
            return self.network
        assert isinstance(self.averaged.module, SongNetwork)
        return self.averaged.module

    def validate(self) -> Row:
        """Return loss and accuracy on the validation songs; nothing without any."""
        if self.validation is None:
            return {}
        dataset, y = self.validation
        kind, classes = self.pooling.kind, self.pooling.classes
        logits = song_logits(self.evaluated_network, self.pooling, dataset)
        losses = self.loss(logits, torch.from_numpy(kind.targets(y, classes)).float())
        probabilities = kind.probabilities(logits.numpy())
        right = kind.shares_right(probabilities, y, kind.default_thresholds(classes))
        return {
            "validation_loss": float(losses.mean()),
            "validation_accuracy": float(right.mean()),
        }

    # --- the state ---

    def stateful_parts(self) -> dict[str, Any]:
        """Return what has a ``state_dict``."""
        parts = {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        return parts if self.averaged is None else parts | {"averaged": self.averaged}

    def save_state(self) -> None:
        """Save all that the next batches depend on, as tensors and plain values."""
        state = {
            **{name: part.state_dict() for name, part in self.stateful_parts().items()},
            "best": self.best_weights,
            "best_loss": self.best_loss,
            "kept_epoch": self.best_epoch,
            "history": self.history,
            "within": self.progress,
            "numbers": self.order_rng.bit_generator.state,
            "drawn": self.ranks.all_gather(self.window_rng.bit_generator.state),
            "torch_numbers": self.ranks.all_gather(torch.get_rng_state()),
        }
        if self.ranks.rank == 0:
            self.checkpoint.save(state)
        self.saved_at = time.monotonic()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        for name, part in self.stateful_parts().items():
            part.load_state_dict(state[name])
        self.best_weights, self.best_loss = state["best"], state["best_loss"]
        self.best_epoch, self.history = state["kept_epoch"], list(state["history"])
        self.progress = state["within"]
        self.order_rng.bit_generator.state = state["numbers"]
        self.window_rng.bit_generator.state = state["drawn"][self.ranks.rank]
        torch.set_rng_state(state["torch_numbers"][self.ranks.rank])
