"""One of several processes that train together, for tests: gloo on this machine."""

import os

import numpy as np
import torch
from safetensors.torch import save_file

from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset
from songbag.data.packed import PackedDataset
from songbag.data.song import Song
from songbag.recipes.load import load_recipe
from songbag.settings import Training
from songbag.training.checkpoint import Checkpoint
from songbag.training.trainer import train_network


def songs(count=19):
    rng = np.random.default_rng(0)
    bags = []
    for k in range(count):
        frames = rng.normal(k % 3, 2, (60 + 8 * (k % 2), 16)).astype(np.float32)
        starts = np.arange(0, len(frames) - 39, 10)
        bags.append(Bag(Song(f"s{k}", "", "aab"[k % 3]), frames, starts))
    y = np.array([int(bag.label == "b") for bag in bags])
    return MemoryDataset(bags), y, (40, 16)


def packed(folder):
    recipe = load_recipe("founding", {"windows.seconds": 1.0, "windows.hop_seconds": 0.5})
    bags = PackedDataset.open(folder).load(recipe)
    return bags, np.arange(len(bags)) % 3, (44, 13)


def train(rank, count, port, out, settings, folder=None, state=None, stop=0):
    """Fit and write the weights and each epoch's loss; with ``stop`` die after so many states."""
    if count > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.set_num_threads(1)
    bags, y, shape = songs() if folder is None else packed(folder)
    kept = 0

    def keep(found):
        nonlocal kept
        kept += 1
        torch.save(found, f"{out}.state")
        if kept == stop:
            os._exit(0)

    old = None if state is None else torch.load(state, weights_only=True)
    checkpoint = Checkpoint(keep if stop else lambda found: None, old, 0.0)
    training = Training(**settings)
    classes = int(y.max()) + 1
    found = train_network((bags, y), classes, training, shape, 0, checkpoint=checkpoint)
    losses = torch.tensor([row["loss"] for row in found.history], dtype=torch.float64)
    if rank == 0:
        state = found.network.state_dict() | {"losses": losses}
        save_file({name: value.contiguous() for name, value in state.items()}, out)
    else:
        assert stop == 0
