"""A page that shows all songs as points, to be coloured, searched and heard.

The page is one file. What it draws is JSON inside it; colours and shapes are chosen here, so that
its script only draws.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
_SHAPES = 4  # circle, square, triangle, diamond
_STEPS = 10  # of numbers from 0 to 1
_EXTENT = 100_000  # coordinates are whole numbers up to this


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
        numbers = any(isinstance(value, float) for value in self.values)
        painted = self._steps() if numbers else self._most_frequent()
        number_of = {name: number for number, name in enumerate(painted)}
        names = [_step_of(value) if isinstance(value, float) else value for value in self.values]
        classes = [{"name": name, **paint} for name, paint in painted.items()]
        known = set(names) - set(painted) - {None}
        if known:
            classes.append({"name": f"{len(known)} others", **_REST})
        other = len(classes) - 1
        if None in names:
            classes.append({"name": f"no {self.title}", **_REST})
        nothing = len(classes) - 1
        return {
            "title": self.title,
            "classes": classes,
            "of": [nothing if n is None else number_of.get(n, other) for n in names],
            "texts": [percent(v) if isinstance(v, float) else v for v in self.values],
        }

    def _most_frequent(self) -> dict[str, Mapping[str, Any]]:
        count = Counter(value for value in self.values if isinstance(value, str))
        most = len(LIGHT) * _SHAPES
        ordered = sorted(count, key=lambda name: (-count[name], name))[:most]
        painted = dict[str, Mapping[str, Any]]()
        for number, name in enumerate(ordered):
            again, colour = divmod(number, len(LIGHT))
            shape = (colour + again) % _SHAPES
            painted[name] = {"light": LIGHT[colour], "dark": DARK[colour], "shape": shape}
        return painted

    def _steps(self) -> dict[str, Mapping[str, Any]]:
        present = {_step_of(value) for value in self.values if isinstance(value, float)}
        painted = dict[str, Mapping[str, Any]]()
        for step in range(_STEPS):
            name = _step_of(step / _STEPS)
            colours = {
                scheme: "#" + "".join(
                    f"{round(low + (high - low) * step / (_STEPS - 1)):02x}"
                    for low, high in zip(*ends, strict=True)
                )
                for scheme, ends in _UNSURE_TO_SURE.items()
            }  # fmt: skip
            if name in present:
                painted[name] = {**colours, "shape": 0}
        return painted


def _step_of(value: float) -> str:
    step = min(_STEPS - 1, math.floor(_STEPS * value + 1e-9))
    return f"{100 * step // _STEPS} to {100 * (step + 1) // _STEPS} %"


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
    data = {
        "ids": [song.id for song in songs],
        "files": [_part_link(song, path.parent) for song in songs],
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "colourings": [colouring.painted() for colouring in colourings],
    }
    # No name ends the element that the data is in: JSON has < also as an escape.
    text = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    values = {"name": path.stem, "count": len(songs), "failures": failures, "data": text}
    write_bytes(path, render("map.html", values, "map.js").encode())


def _part_link(song: Song, home: Path) -> str:
    end = "" if song.end is None else f",{song.end:g}"
    part = f"#t={song.start:g}{end}" if song.start or end else ""
    file = Path(song.path)
    return link_to(str(file.parent.resolve() / file.name), home) + part
