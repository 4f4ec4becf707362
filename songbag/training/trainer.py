"""Bags and labels to weights: the training loop, and nothing about files or people."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from songbag.data import batches
from songbag.data.batches import streamed
from songbag.data.dataset import BagDataset
from songbag.errors import TrainingError
from songbag.metrics.label_kinds import kind_of
from songbag.models.build import network_for, scale_of, song_pooling
from songbag.models.linear_solver import solve
from songbag.models.losses import LOSSES, smoothed, song_weights
from songbag.models.pooling import SongPooling
from songbag.models.song_network import Ensemble, SongNetwork, song_logits, window_outputs
from songbag.parallel.memory import keep_memory
from songbag.settings import Own, Training
from songbag.training import augmentation, distributed
from songbag.training.optimizers import build_optimizer, build_schedule

Row = dict[str, float]
Labels = NDArray[np.int64]
Watch = Callable[[int, Row | None], None]  # songs done so far; the epoch's row when it ends


@dataclass
class Checkpoint:
    """Where a training's state goes, and one to go on from.

    Attributes
    ----------
    keep : callable
        Takes the state after a batch; at most every ``every_seconds``.
    state : dict or None
        What ``keep`` was given, to go on from.
    """

    keep: Callable[[dict[str, Any]], None] = lambda state: None
    state: dict[str, Any] | None = None
    every_seconds: float = 5.0


@dataclass
class Fit:
    """What a training run left.

    Attributes
    ----------
    network : SongNetwork or Ensemble
        On the CPU, in evaluation mode, with the weights that were kept.
    pooling : SongPooling
    history : list of dict
        One row an epoch: epoch, seconds, songs_per_second, loss, learning_rate, and
        validation_loss, validation_accuracy where there were validation songs.
    kept_epoch : int
    stopped : str
        "" when all epochs ran, else "patience", "interrupted" or "diverged".
    """

    network: SongNetwork | Ensemble
    pooling: SongPooling
    history: list[Row] = field(default_factory=list)
    kept_epoch: int = 0
    stopped: str = ""


def fit(
    bags: BagDataset,
    y: Labels,
    held_out: tuple[BagDataset, Labels],
    classes: int,
    training: Training,
    window_shape: Sequence[int],
    seed: int,
    watch: Watch = lambda songs, row: None,
    own: Own | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a network on songs.

    Parameters
    ----------
    bags, y
        Training songs and their label indices, shape (songs,); or, for multilabel, 0 and 1
        for every label, shape (songs, labels).
    held_out : (bags, y)
        Validation songs that choose the epoch; may be empty.
    window_shape : (frames, bands), or the shape of one window of a table
    seed : int
        Of weights, order, windows and augmentation. The same seed gives the same
        weights on one machine and number of threads.
    watch : callable
        Called after every batch and every epoch. A KeyboardInterrupt anywhere keeps the
        best weights so far.
    own : Own, optional
        A user's network, pooling or loss instead of the named ones.
    checkpoint : Checkpoint, optional
        Keeps the state, also within epochs. Going on from it gives the very weights that
        an undisturbed training gives.
    """
    own = own or Own()
    pooling = song_pooling(training.pooling, own, classes, kind_of(y.ndim == 2))
    keep_memory()  # gradients of 10 MB and more come and go with every batch
    with torch.random.fork_rng(), _flush_denormal():
        torch.manual_seed(seed)
        network = network_for(bags, training, window_shape, pooling, own)
        if training.optimizer == "lbfgs":
            return Fit(network.eval(), pooling, [solve(network, bags, y, pooling, training)], 1)
        run = _Run(network, pooling, bags, y, held_out, training, seed, own)
        if (training.time_mask or training.band_mask) and bags[0].starts is not None:
            run.fill = scale_of(bags)[0]
        return run.fit(watch, checkpoint or Checkpoint())


class _flush_denormal:
    """Denormal numbers cost a hundred times an ordinary multiplication: flush them."""

    def __enter__(self) -> None:
        torch.set_flush_denormal(True)

    def __exit__(self, *_: object) -> None:
        torch.set_flush_denormal(False)


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        network: SongNetwork,
        pooling: SongPooling,
        bags: BagDataset,
        y: Labels,
        held_out: tuple[BagDataset, Labels],
        training: Training,
        seed: int,
        own: Own,
    ) -> None:
        self.ranks = distributed.joined()
        if self.ranks.count > 1:
            distributed.share_norms(network)
        self.device = self.ranks.device
        self.network = network.to(self.device)
        quick = self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        self.mixed = training.precision == "mixed" and quick
        self.bags, self.y, self.held_out = bags, y, held_out
        self.pooling, self.training = pooling, training
        kind, classes = pooling.kind, pooling.classes
        targets = kind.targets(y, classes).astype(np.float32)
        self.targets = smoothed(targets, kind, training.label_smoothing)
        self.loss = LOSSES[kind.name]
        self.rng = self.drawn = np.random.default_rng(seed)
        if self.ranks.count > 1:  # the same order of songs for all, other windows and dropout
            self.drawn = np.random.default_rng([seed, self.ranks.rank])
            torch.manual_seed(seed + self.ranks.rank)
        self.shards = bags.shards() if training.shards_at_once else None
        self.within: dict[str, Any] | None = None  # how far an epoch is, and how it began
        self.kept = time.monotonic()
        self.own_loss = own.loss
        self.steps = math.ceil(len(bags) / training.songs_per_batch)
        self.optimizer = build_optimizer(network, training)
        self.schedule = build_schedule(self.optimizer, training, self.steps)
        self.weights = song_weights(y, classes, kind, training.balance)
        self.averaged: AveragedModel | None = None
        if training.average:
            average = get_ema_multi_avg_fn(training.average)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.best: dict[str, Any] | None = None  # weights of the epoch that is kept so far
        self.best_loss = math.inf
        self.fill: NDArray[np.float32] | None = None  # what SpecAugment's masks hide behind
        # A shared trunk is exact without batch norm and augmentation, else windows are cut.
        norms = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
        augments = training.mixup or training.time_mask or training.band_mask
        augments = augments or training.gain or training.filtering
        exact = network.time_stride is not None and not norms and not augments
        self.share = training.share and exact

    def fit(self, watch: Watch, checkpoint: Checkpoint) -> Fit:
        """Run the epochs and keep the best."""
        result = Fit(self.network, self.pooling)
        if checkpoint.state is not None:
            self._go_on(checkpoint.state, result)
        try:
            self._epochs(result, watch, checkpoint)
            self._keep(result, checkpoint)
        except KeyboardInterrupt:
            if self.best is None:
                raise
            result.stopped = "interrupted"
        if self.best is None:
            raise TrainingError(
                "the loss was not finite in the first epoch: the training diverged. Lower "
                "training.learning_rate, or take another optimizer."
            )
        self.network.load_state_dict(self.best)
        self.network.cpu().eval()
        return result

    def _epochs(self, result: Fit, watch: Watch, checkpoint: Checkpoint) -> None:
        patience = self.training.patience
        keep_last = self.training.keep == "last" or not self.held_out[0]
        for epoch in range(len(result.history) + 1, self.training.epochs + 1):
            if patience and not keep_last and epoch - 1 - result.kept_epoch >= patience:
                result.stopped = "patience"
                return
            row = self._epoch(epoch, watch, result, checkpoint)
            result.history.append(row)
            if not math.isfinite(row["loss"]):
                result.stopped = "diverged"
                return
            loss = row.get("validation_loss", math.inf)
            if loss < self.best_loss or keep_last or self.best is None:
                self.best = copy.deepcopy(self._scored().state_dict())
                self.best_loss, result.kept_epoch = min(loss, self.best_loss), epoch
            watch(self.steps * self.training.songs_per_batch, row)

    def _keep(self, result: Fit, checkpoint: Checkpoint) -> None:
        state = self._state(result)  # all ranks say their part, one keeps it
        if self.ranks.rank == 0:
            checkpoint.keep(state)
        self.kept = time.monotonic()

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        return parts if self.averaged is None else parts | {"averaged": self.averaged}

    def _state(self, result: Fit) -> dict[str, Any]:
        """Return all that the next epochs depend on, as tensors and plain values."""
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "best": self.best,
            "best_loss": self.best_loss,
            "kept_epoch": result.kept_epoch,
            "history": result.history,
            "within": self.within,
            "numbers": self.rng.bit_generator.state,
            "drawn": self.ranks.gathered(self.drawn.bit_generator.state),
            "torch_numbers": self.ranks.gathered(torch.get_rng_state()),
        }

    def _go_on(self, state: dict[str, Any], result: Fit) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.best, self.best_loss = state["best"], state["best_loss"]
        result.kept_epoch, result.history = state["kept_epoch"], list(state["history"])
        self.within = state["within"]
        self.rng.bit_generator.state = state["numbers"]
        self.drawn.bit_generator.state = state["drawn"][self.ranks.rank]
        torch.set_rng_state(state["torch_numbers"][self.ranks.rank])

    def _scored(self) -> SongNetwork:
        """Return the network that validation scores and that is kept."""
        if self.averaged is None:
            return self.network
        assert isinstance(self.averaged.module, SongNetwork)
        return self.averaged.module

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, dict[str, Any]]:
        """Return the songs of an epoch, their lanes, and how far it is: also one gone on with."""
        now, within = self.rng.bit_generator.state, self.within
        if within is not None:
            self.rng.bit_generator.state = within["numbers"]
        self.within = within or {"numbers": now, "done": 0, "total": 0.0, "rate": self._rate()}
        if self.shards is None:
            order, lanes = self.rng.permutation(len(self.bags)), None
        else:
            count = max(self.training.shards_at_once, self.ranks.count)
            order, lanes = streamed(self.shards, count, self.rng)
        if within is not None:
            self.rng.bit_generator.state = now
        return order, lanes, self.within

    def _rate(self) -> float:
        return float(self.schedule.get_last_lr()[0])

    def _epoch(self, epoch: int, watch: Watch, result: Fit, checkpoint: Checkpoint) -> Row:
        began, batch = time.perf_counter(), self.training.songs_per_batch
        order, lanes, within = self._order()
        begun = within["done"]
        self.network.train()
        for first in range(begun, len(order), batch):
            songs = order[first : first + batch]
            loss = self._step(songs, None if lanes is None else lanes[songs])
            late = time.monotonic() - self.kept >= checkpoint.every_seconds
            loss, due = self.ranks.added(loss, float(late and self.ranks.rank == 0))
            within["total"] += loss * len(songs)
            within["done"] += len(songs)
            watch(within["done"], None)
            if due:
                self._keep(result, checkpoint)
        self.within = None
        seconds = time.perf_counter() - began
        row: Row = {
            "epoch": epoch,
            "seconds": seconds,
            "songs_per_second": (len(self.bags) - begun) / seconds,
            "learning_rate": within["rate"],
            "loss": within["total"] / len(self.bags),
        }
        bags, y = self.held_out
        if bags:
            logits = song_logits(self._scored(), self.pooling, bags)
            kind = self.pooling.kind
            targets = torch.from_numpy(kind.targets(y, self.pooling.classes)).float()
            shares_right = kind.shares_right(
                kind.probabilities(logits.numpy()), y, kind.default_thresholds(logits.shape[1])
            )
            row["validation_loss"] = float(self.loss(logits, targets).mean())
            row["validation_accuracy"] = float(shares_right.mean())
        return row

    def _step(self, songs: NDArray[np.int64], lanes: NDArray[np.int64] | None = None) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        mine, counts = self.ranks.share(songs, lanes)
        prepared = [self._prepared(group) for group in self._groups(mine)]
        with torch.autocast(self.device.type, torch.bfloat16, self.mixed):
            outputs = window_outputs(self.network, [group for group, _ in prepared])
        loss = torch.zeros((), device=self.device)
        for (group, targets), found in zip(prepared, outputs, strict=True):
            loss = loss + self._losses(group, targets, found.float()).sum() * counts / len(songs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.add_gradients(self.network)
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        return float(loss.detach())

    def _groups(self, songs: NDArray[np.int64]) -> Iterator[batches.Group]:
        frames, chosen = self.network.window_shape[0], self.training.windows_per_song
        if chosen:
            return batches.random_groups(self.bags, songs, chosen, frames, self.drawn)
        return batches.groups(self.bags, songs, frames, self.share)

    def _prepared(self, group: batches.Group) -> tuple[batches.Group, NDArray[np.float32]]:
        """Return the group augmented, and its target shares (songs, classes)."""
        targets = self.targets[group.songs]
        if isinstance(group, batches.Shared):
            return group, targets
        windows = group.windows
        if self.fill is not None:
            masks = self.training.time_mask, self.training.band_mask
            windows = augmentation.masked(windows, self.fill, *masks, self.drawn)
        if self.training.gain or self.training.filtering:
            limits = self.training.gain, self.training.filtering
            windows = augmentation.coloured(windows, *limits, self.drawn)
        if self.training.mixup and len(windows) > 1 and self.own_loss is None:
            windows, targets = augmentation.mixed(windows, targets, self.training.mixup, self.drawn)
        return batches.Cut(group.songs, windows), targets

    def _losses(
        self, group: batches.Group, targets: NDArray[np.float32], outputs: Tensor
    ) -> Tensor:
        """Return the weighted loss of every song of a group."""
        if self.own_loss is not None:
            y = torch.from_numpy(self.y[group.songs]).to(self.device)
            own: Tensor = self.own_loss(self.pooling.song(outputs), y)
            return own.expand(len(group.songs)) if own.ndim == 0 else own
        truth = self._tensor(targets)
        weights = self._tensor(self.weights[group.songs].astype(np.float32))
        if self.training.loss == "window":
            logits = self.pooling.logits(outputs)
            return weights * self.loss(logits, truth[:, None]).mean(dim=1)
        return weights * self.loss(self.pooling.song(outputs), truth)

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(self.device)
