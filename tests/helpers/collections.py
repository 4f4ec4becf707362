"""A small collection of tagged songs in several formats, with names as people have them."""

import numpy as np

from songbag.audio.decode import packets_hash
from songbag.audio.tags import write_field
from songbag.audio.waveform import write_waveform
from songbag.collection.answers import Answer

ENDINGS = (".mp3", ".flac", ".opus", ".m4a", ".wav")
NAMES = (
    "one",
    " two",
    "a\u0308",
    "\u00e4",
    "%20",
    "new\nline",
    "#hash",
    "x" * 240,
    "[x] 'q'",
    "雪",
)


def write_collection(folder, count):
    """Write songs of half a second, each with another genre and title, in two folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = (0.1 * rng.standard_normal(11025)).astype(np.float32)
        name = NAMES[number % len(NAMES)] + (str(number) if number >= len(NAMES) else "")
        path = folder / ("cd 1", "cd 2")[number % 2] / f"{name}{ENDINGS[number % len(ENDINGS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_waveform(path, noise, 22050)
        write_field(path, "genre", [f"genre {number}"])
        write_field(path, "artist", [f"Ärtist {number}"])


def answers_for(folder):
    """Answers for all files below a folder: three labels, and songs without one."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    labels = (("a",), ("b/c",), ("d",), ())
    return [Answer(str(file), labels[k % 4], 0.5) for k, file in enumerate(files)]


def packets(path):
    """A hash of the packets of a file's sound."""
    with open(path, "rb") as file:
        return packets_hash(path, file)
