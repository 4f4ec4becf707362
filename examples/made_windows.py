"""A made-up table of window features, for the other examples: name, label, feature."""

import numpy as np
import pandas


def made_windows(
    songs: int = 40, windows: int = 7, shape: tuple[int, ...] = (5,)
) -> pandas.DataFrame:
    """Return a row a window; half of a song's windows tell its label, half tell nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for song in range(songs):
        label = ("classical", "metal")[song % 2]
        for window in range(windows):
            feature = rng.standard_normal(shape).astype(np.float32)
            feature[0] += (window % 2) * (4 if label == "metal" else -4)
            rows.append((f"song_{song}_frame{window}", label, feature))
    return pandas.DataFrame(rows, columns=["name", "label", "feature"])
