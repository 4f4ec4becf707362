"""A page that shows all songs as points, to be coloured, searched and heard.

The page is one file. What it draws is JSON inside it; colours and shapes are chosen here, so that
its script only draws.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.data.song import Song
from songbag.report.pages import percent, render
from songbag.report.recordings import link_to
from songbag.storage.files import write_bytes

# Told apart by people with any kind of colour vision, beside paper and beside black
# (tests/report/test_song_map.py measures it).
LIGHT = ("#3486ff", "#86170a", "#20a26c", "#bd8000", "#6f2e59", "#aa80bb", "#000200", "#003490")
DARK = ("#00d4ff", "#fb6000", "#d0ff95", "#de3a95", "#ffff00", "#407eff", "#e7ffec", "#ca5c50")
_REST = {"light": "#a9a294", "dark": "#6b655a", "shape": 0}  # of songs without a class of their own
_UNSURE_TO_SURE = {"light": ((217, 84, 0), (10, 60, 140)), "dark": ((255, 150, 60), (80, 170, 255))}
# Pairs of a colour and a shape: circle, square, triangle, diamond.
_PAINTS = [
    {"light": LIGHT[colour], "dark": DARK[colour], "shape": (colour + again) % 4}
    for again in range(4)
    for colour in range(len(LIGHT))
]
_EXTENT = 100_000  # coordinates are whole numbers up to this


def _class_of(value: str | float) -> str:
    if isinstance(value, str):
        return value or "none"  # of several labels
    step = min(9, math.floor(10 * value + 1e-9))
    return f"{10 * step} to {10 * step + 10} %"


# Of each tenth by its name, from orange to blue.
_STEP_PAINTS: dict[str, dict[str, Any]] = {
    _class_of(step / 10): {"shape": 0}
    | {
        scheme: "#" + "".join(f"{round(a + (b - a) * step / 9):02x}" for a, b in zip(*ends))
        for scheme, ends in _UNSURE_TO_SURE.items()
    }
    for step in range(10)
}


@dataclass(frozen=True)
class Colouring:
    """What points are coloured by: a text a song, or a number from 0 to 1; None where unknown."""

    title: str
    values: Sequence[str | float | None]

    def painted(self) -> dict[str, Any]:
        """Return the classes with their colours and shapes, and of each song its class and text.

        Of texts the most frequent have colours, as many as there are colours with shapes; numbers
        are classes of a tenth.
        """
        names = [None if value is None else _class_of(value) for value in self.values]
        count = Counter(name for name in names if name is not None)
        if any(isinstance(value, float) for value in self.values):
            painted = {name: paint for name, paint in _STEP_PAINTS.items() if name in count}
        else:
            ordered = sorted(count, key=lambda name: (-count[name], name))
            painted = dict(zip(ordered, _PAINTS, strict=False))
        classes = [{"name": name, **paint} for name, paint in painted.items()]
        number_of: dict[str | None, int] = {name: n for n, name in enumerate(painted)}
        if others := count.keys() - painted.keys():
            number_of |= dict.fromkeys(others, len(classes))
            classes.append({"name": f"{len(others)} others", **_REST})
        if None in names:
            number_of[None] = len(classes)
            classes.append({"name": f"no {self.title}", **_REST})
        texts = [
            percent(value) if isinstance(value, float) else name
            for value, name in zip(self.values, names, strict=True)
        ]
        of = [number_of[name] for name in names]
        return {"title": self.title, "classes": classes, "of": of, "texts": texts}


def write_song_map(
    path: Path,
    songs: Sequence[Song],
    points: NDArray[np.float64],
    colourings: Sequence[Colouring],
    failures: Sequence[str],
) -> None:
    """Write the page of songs at their points (songs, 2).

    Links to songs are relative to the page where that is possible. ``failures`` are sentences on
    songs that have no point or no answer.
    """
    low = points.min(axis=0)
    extent = max(float((points.max(axis=0) - low).max()), 1e-9)
    places = np.rint((points - low) / extent * _EXTENT).astype(int)
    files = [Path(song.path) for song in songs]
    data = {
        "ids": [song.id for song in songs],
        "files": [
            link_to(str(file.parent.resolve() / file.name), path.parent, song.start, song.end)
            for song, file in zip(songs, files, strict=True)
        ],
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "colourings": [colouring.painted() for colouring in colourings],
    }
    # No name ends the element that the data is in: JSON has < also as an escape.
    text = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    values = {"name": path.stem, "count": len(songs), "failures": failures, "data": text}
    write_bytes(path, render("map.html", values, "map.js").encode())
