"""Bags through a network in torch: window outputs of groups, song logits of songs."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from songbag.data import batches
from songbag.data.bag import Bag
from songbag.models.ensemble import Ensemble
from songbag.models.networks import SongNetwork
from songbag.models.pooling import SongPooling

_SCORED_AT_ONCE = 16  # songs scored together without gradients


def window_outputs(
    network: SongNetwork | Ensemble, groups: Sequence[batches.Group]
) -> list[Tensor]:
    """Return outputs (songs, windows, classes + k) of each group.

    Cut windows of all groups go through the network together, so that batch norm sees
    the whole batch and not one group of equally long songs, whose labels may be alike.
    """
    device = next(network.parameters()).device
    cut = [group for group in groups if isinstance(group, batches.Cut)]
    flat = [group.windows.reshape(-1, *network.window_shape) for group in cut]
    together: Iterator[Tensor] = iter(())
    if cut:
        outputs = network(torch.from_numpy(np.concatenate(flat)).to(device))
        together = iter(outputs.split([len(windows) for windows in flat]))
    found = []
    for group in groups:
        if isinstance(group, batches.Shared):
            starts = torch.from_numpy(group.starts).to(device)
            found.append(network.song(torch.from_numpy(group.frames).to(device), starts))
        else:
            shape = group.windows.shape[:2]
            found.append(next(together).reshape(*shape, -1))
    return found


def song_logits(
    network: SongNetwork | Ensemble, pooling: SongPooling, bags: Sequence[Bag]
) -> Tensor:
    """Return song logits (songs, classes) in evaluation mode, all windows heard."""
    network.eval()
    found = torch.zeros(len(bags), pooling.classes)
    frames, share = network.window_shape[0], network.time_stride is not None
    with torch.no_grad():
        for first in range(0, len(bags), _SCORED_AT_ONCE):
            songs = np.arange(first, min(first + _SCORED_AT_ONCE, len(bags)))
            groups = list(batches.groups(bags, songs, frames, share))
            for group, outputs in zip(groups, window_outputs(network, groups), strict=True):
                found[torch.from_numpy(group.songs)] = pooling.song(outputs).float().cpu()
    return found
