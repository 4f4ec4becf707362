"""Which label holds when: windows of a song merged into spans of seconds.

A window's answer is about its middle. Between two middles probabilities are interpolated, before
the first and after the last they stay as they are, so a span may begin between windows.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from songbag.audio.audio_file import EXTENSIONS
from songbag.inference.model_file import Card
from songbag.settings import Record
from songbag.storage.files import write_bytes, write_csv, write_json

RECORD = ".songbag-labels.json"  # hashes of the label files that were written into a folder
COLUMNS = ("id", "start", "end", "label", "probability")
_STEP = 0.02  # seconds between the points at which spans may begin and end
_HYSTERESIS = 0.8  # of the threshold that begins a span: where it ends


class SegmentRules(Record, frozen=True):
    """How windows become spans.

    Attributes
    ----------
    threshold : float, optional
        Probability from which on a label begins to hold; by default the model's own where songs
        may have several labels, else .5. A span lasts until the probability falls below .8 of it.
    gap_seconds : float
        Spans of one label that are no further apart are joined.
    least_seconds : float
        Shorter spans are dropped, after joining.
    """

    threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    gap_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    least_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.3


@dataclass(frozen=True)
class Segment:
    """Seconds of a song in which a label holds, and its mean probability there."""

    start: float
    end: float
    label: str
    probability: float


def segments(
    card: Card,
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    rules: SegmentRules | None = None,
) -> list[Segment]:
    """Return the spans of one song in the order of time.

    Parameters
    ----------
    card : Card
        Of the model: its labels and thresholds; its background label has no spans.
    starts, ends : ndarray, shape (windows,)
        Seconds of the windows.
    probabilities : ndarray, shape (windows, labels)
    """
    rules = rules or SegmentRules()
    middles = (starts + ends) / 2
    times = np.append(np.arange(starts[0], ends[-1], _STEP), ends[-1])
    usual = card.thresholds if card.multilabel else [0.5] * len(card.labels)
    found = list[Segment]()
    for label, shares, own in zip(card.labels, probabilities.T, usual, strict=True):
        if label == card.background:
            continue
        threshold = own if rules.threshold is None else rules.threshold
        curve = np.interp(times, middles, shares)
        for first, last in _runs(curve, threshold, rules):
            mean = float(curve[first : last + 1].mean())
            found.append(Segment(float(times[first]), float(times[last]), label, mean))
    return sorted(found, key=lambda segment: (segment.start, segment.end, segment.label))


def _runs(
    curve: NDArray[np.float64], threshold: float, rules: SegmentRules
) -> Iterator[tuple[int, int]]:
    """Yield first and last points of stretches above the threshold, with hysteresis."""
    held = np.concatenate([[False], curve >= _HYSTERESIS * threshold, [False]])
    edges = np.flatnonzero(np.diff(held.astype(np.int8)))
    strong = np.concatenate([[0], np.cumsum(curve >= threshold)])
    gap, least = rules.gap_seconds / _STEP, rules.least_seconds / _STEP
    joined = list[tuple[int, int]]()
    for first, end in edges.reshape(-1, 2).tolist():
        if strong[end] == strong[first]:
            continue  # it never reaches the threshold
        if joined and first - joined[-1][1] <= gap:
            first = joined.pop()[0]
        joined.append((first, end - 1))
    yield from ((first, last) for first, last in joined if last - first >= least)


# --- files ------------------------------------------------------------------------------


def write_segments(
    output: Path, songs: Mapping[str, Sequence[Segment]], form: str = "audacity"
) -> None:
    """Write the spans of songs, by their ids, as one table or as a label file a song.

    ``output`` ending in .csv is a table with `COLUMNS`, anything else a folder. ``form`` of the
    files is "audacity" or "raven". A song without spans has an empty file.
    """
    if output.suffix.lower() == ".csv":
        rows = [
            {"id": song, **{name: getattr(span, name) for name in COLUMNS[1:]}}
            for song, spans in songs.items()
            for span in spans
        ]
        write_csv(output, rows, COLUMNS)
        return
    output.mkdir(parents=True, exist_ok=True)
    contents = {
        file: FORMS[form][0](songs[song], PurePosixPath(song).name).encode()
        for song, file in label_files(output, list(songs), form).items()
    }
    if not contents:
        return
    hashes = _read_record(output)
    for file, data in contents.items():
        name = file.relative_to(output).as_posix()
        hashes[name] = [*hashes.get(name, [])[-1:], _hash(data)]
    write_json(output / RECORD, hashes)  # before the files, with what a stop would leave there
    for file, data in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, data)


def label_files(output: Path, ids: Sequence[str], form: str) -> dict[str, Path]:
    """Return the label file of each song in a folder."""
    return {song: output / f"{name}{FORMS[form][1]}" for song, name in _file_names(ids).items()}


def foreign_label_file(output: Path, ids: Sequence[str], form: str) -> Path | None:
    """Return the first label file that `write_segments` would overwrite and did not write itself.

    What it wrote and somebody changed since is foreign, too.
    """
    hashes = _read_record(output)
    for file in label_files(output, ids, form).values():
        name = file.relative_to(output).as_posix()
        if file.exists() and _hash(file.read_bytes()) not in hashes.get(name, []):
            return file
    return None


def _read_record(output: Path) -> dict[str, list[str]]:
    """Return the hashes of the last two contents of each label file, by its name."""
    try:
        return msgspec.json.decode((output / RECORD).read_bytes(), type=dict[str, list[str]])
    except (OSError, msgspec.MsgspecError):
        return {}


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _audacity(spans: Sequence[Segment], name: str) -> str:
    lines = (f"{span.start:.6f}\t{span.end:.6f}\t{_plain(span.label)}\n" for span in spans)
    return "".join(lines)


def _raven(spans: Sequence[Segment], name: str) -> str:
    columns = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Begin File"]
    lines = ["\t".join([*columns, "Label", "Score"])]
    for number, span in enumerate(spans, start=1):
        times = f"{span.start:.6f}\t{span.end:.6f}"
        label = f"{_plain(span.label)}\t{span.probability:.4f}"
        lines.append(f"{number}\tSpectrogram 1\t1\t{times}\t{_plain(name)}\t{label}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return text without tabs and line ends, which these formats cannot hold."""
    return " ".join(text.split())


FORMS = {"audacity": (_audacity, ".txt"), "raven": (_raven, ".Table.1.selections.txt")}


def _file_names(ids: Sequence[str]) -> dict[str, str]:
    """Return a relative file name without ending for each id: its path below what all share."""
    parts = {
        one: [part for part in PurePosixPath(one).parts if part not in ("/", "..")] for one in ids
    }
    folders = [of_one[:-1] for of_one in parts.values()]
    shared = 0
    while folders and all(len(f) > shared and f[shared] == folders[0][shared] for f in folders):
        shared += 1
    names = {one: "/".join(of_one[shared:]) or "song" for one, of_one in parts.items()}
    stems = dict(names)
    for one, name in names.items():
        ending = PurePosixPath(name).suffix
        if ending.lower() in EXTENSIONS:
            stems[one] = name.removesuffix(ending)
    count = Counter(stem.lower() for stem in stems.values())  # a.wav and a.mp3 keep their endings
    return {one: names[one] if count[stem.lower()] > 1 else stem for one, stem in stems.items()}
