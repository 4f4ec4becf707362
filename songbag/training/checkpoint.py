"""What a stopped training goes on from: its state, and what says that it is the same."""

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from songbag.data.bag import Bag
from songbag.data.dataset import bare, checksums
from songbag.errors import TrainingError
from songbag.parallel import ranks
from songbag.storage.files import atomic_write

if TYPE_CHECKING:
    from songbag.training.fit import Learning
    from songbag.training.trainer import Checkpoint


def state_path(model_path: Path, member: str = "") -> Path:
    """Return where the training of a model, or of one of its members, keeps its state."""
    return model_path.with_name(f"{model_path.name}{member}.state")


def forget_states(model_path: Path) -> None:
    """Remove what trainings of a model left to go on from (of several processes, one does)."""
    if not ranks.is_rank_zero():
        return
    for path in model_path.parent.glob(f"{glob.escape(model_path.name)}*.state"):
        path.unlink(missing_ok=True)


def kept_state(path: Path, learning: "Learning", songs: str) -> "Checkpoint":
    """Return where a training keeps its state, and the state that lies there.

    Parameters
    ----------
    songs : str
        `songs_hash` of what is trained on.

    Raises
    ------
    TrainingError
        It is of other songs, settings, seed or threads, or damaged.
    """
    import torch

    from songbag.training.trainer import Checkpoint

    parts = (learning.recipe, learning.labels, learning.seed, songs, torch.get_num_threads())
    together = (*parts, ranks.world_size())
    key = hashlib.blake2b(msgspec.json.encode(together), digest_size=16).hexdigest()

    def keep(state: dict[str, Any]) -> None:
        with atomic_write(path) as file:
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


def songs_hash(bags: Sequence[Bag]) -> str:
    """Return a hash of what bags hold, in whatever order they come.

    Packed songs bring the checksum of their frames: nothing is read again.
    """
    each = sorted(map(_bag_hash, bare(bags), checksums(bags)))
    return hashlib.blake2b(b"".join(each), digest_size=16).hexdigest()


def _bag_hash(bag: Bag, checksum: bytes) -> bytes:
    digest = hashlib.blake2b(f"{bag.id}\0{bag.label}\0{bag.samples}".encode(), digest_size=16)
    digest.update(checksum)
    return digest.digest()
