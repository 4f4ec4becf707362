"""Save and load the state of a training, with a hash that tells whether it is the same training."""

import glob
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from songbag.data.dataset import BagDataset
from songbag.errors import TrainingError
from songbag.parallel.pool import is_rank_zero, world_size
from songbag.storage.files import atomic_write
from songbag.training.plan import TrainingPlan


@dataclass
class Checkpoint:
    """Where the state of a training is saved, and a saved state to go on from."""

    # Takes the state: after a batch, at most every ``every_seconds``, and at the end.
    save: Callable[[dict[str, Any]], None] = lambda state: None
    state: dict[str, Any] | None = None  # what ``save`` took, to go on from
    every_seconds: float = 5.0


def checkpoint_path(model_path: Path | None, member: str = "") -> Path | None:
    """Return the checkpoint of a model to come, or of one of its members; None without a file."""
    if model_path is None:
        return None
    return model_path.with_name(f"{model_path.name}{member}.state")


def remove_checkpoints(model_path: Path) -> None:
    """Remove the checkpoints of a model's trainings; of several processes, rank 0 does."""
    if not is_rank_zero():
        return
    for path in model_path.parent.glob(f"{glob.escape(model_path.name)}*.state"):
        path.unlink(missing_ok=True)


def open_checkpoint(path: Path | None, plan: TrainingPlan, dataset: BagDataset) -> Checkpoint:
    """Return where a training saves its state, with the state that lies there.

    Without a path nothing is saved, and the songs are not hashed. A damaged state, or one of
    other songs, settings, seed or threads, raises TrainingError.
    """
    import torch

    if path is None:
        return Checkpoint()
    parts = (
        plan.recipe,
        plan.labels,
        plan.seed,
        dataset_hash(dataset),
        torch.get_num_threads(),
        world_size(),
    )
    key = hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()

    def save(state: dict[str, Any]) -> None:
        with atomic_write(path) as file:
            torch.save({"key": key, "state": state}, file)

    if not path.exists():
        return Checkpoint(save)
    try:
        stored = torch.load(path, weights_only=True)  # plain values and tensors, nothing is run
        same = stored["key"] == key
    except Exception as error:  # torch raises a family of its own
        raise TrainingError(f"{path}: no state of a training ({error}). Delete it.") from None
    if not same:
        raise TrainingError(
            f"{path}: the state of a training with other songs, settings, seed or threads. "
            "Repeat that command with --resume, or train without it to begin anew."
        )
    plan.console.say(f"going on after epoch {len(stored['state']['history'])}")
    return Checkpoint(save, stored["state"])


def dataset_hash(dataset: BagDataset) -> str:
    """Return a hash of songs, labels and features that does not depend on their order.

    Packed songs bring the checksum of their frames: nothing is read again.
    """
    hashes = []
    for bag, checksum in zip(dataset.without_features(), dataset.checksums(), strict=True):
        text = f"{bag.id}\0{bag.label}\0{bag.samples}".encode()
        hashes.append(hashlib.blake2b(text + checksum, digest_size=16).digest())
    return hashlib.blake2b(b"".join(sorted(hashes)), digest_size=16).hexdigest()
