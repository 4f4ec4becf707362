"""Plots for notebooks: each draws into matplotlib axes and returns them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from songbag.errors import SettingsError

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_BINS = 10  # of equally many songs, where confidence is compared with what is right


def new_axes(axes: "Axes | None", width: float = 5.0, height: float = 4.0) -> "Axes":
    """Return axes to draw into: those given, else new ones.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    """
    if axes is not None:
        return axes
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SettingsError(
            "plots need matplotlib. Install it with: pip install 'songbag[plot]'"
        ) from None
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def draw_confusion(
    songs: "pandas.DataFrame", labels: Sequence[str], axes: "Axes | None" = None
) -> "Axes":
    """Draw how many songs of each label (rows) got which (columns)."""
    judged = songs[songs["predicted"].notna() & songs["label"].notna()]
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    rows, columns = (judged[name].map(places).to_numpy() for name in ("label", "predicted"))
    np.add.at(counts, (rows, columns), 1)
    side = 2.2 + 0.6 * len(labels)
    axes = new_axes(axes, side, side)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="label", title="Songs")
    return axes


def draw_calibration(songs: "pandas.DataFrame", axes: "Axes | None" = None) -> "Axes":
    """Draw the share of songs that are right against how sure the model was."""
    judged = songs[songs["predicted"].notna() & songs["label"].notna()]
    axes = new_axes(axes)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    judged = judged.sort_values("confidence")
    right = (judged["predicted"] == judged["label"]).to_numpy()
    parts = [p for p in np.array_split(np.arange(len(judged)), min(_BINS, len(judged))) if len(p)]
    sure = [judged["confidence"].to_numpy()[part].mean() for part in parts]
    axes.plot(sure, [right[part].mean() for part in parts], marker="o")
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share right")
    axes.set_title(f"Calibration, {len(judged)} songs")
    return axes


def draw_timeline(
    windows: "pandas.DataFrame", labels: Sequence[str], title: str, axes: "Axes | None" = None
) -> "Axes":
    """Draw the probability of each label along the windows of one song."""
    axes = new_axes(axes, 8.0, 3.0)
    by_time = "start" in windows.index.names
    x = np.arange(len(windows), dtype=float)
    if by_time:
        places = (windows.index.get_level_values(end).to_numpy() for end in ("start", "end"))
        x = np.mean([*places], axis=0)
    for label in labels:
        axes.plot(x, windows[f"p_{label}"].to_numpy(), marker=".", label=label)
    axes.set(ylim=(-0.02, 1.02), xlabel="seconds" if by_time else "window", ylabel="probability")
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def draw_comparison(systems: "pandas.DataFrame", metric: str, axes: "Axes | None" = None) -> "Axes":
    """Draw the metric of each system with its interval, the best on top."""
    axes = new_axes(axes, 7.0, 1.2 + 0.4 * len(systems))
    upwards = systems.iloc[::-1]
    values = upwards[metric].to_numpy(dtype=float)
    low, high = (upwards[f"{metric}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    ends = np.nan_to_num([values - low, high - values])  # no interval of very few songs
    places = range(len(upwards))
    axes.errorbar(values, places, xerr=ends, fmt="o", capsize=3)
    axes.set_yticks(places, [str(name) for name in upwards.index])
    axes.set(xlabel=metric, ylim=(-0.5, len(upwards) - 0.5))
    return axes
