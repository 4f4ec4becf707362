"""A song: one recording, where it lies and what is known of it.

A song with several labels has them in one cell, sorted and joined by ``;``. An empty cell is a
song with none of the labels.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from songbag.audio.audio_file import Source
from songbag.errors import SongTableError, suggestion
from songbag.settings import Excerpt


@dataclass(frozen=True, slots=True)
class Song:
    """One recording: where it lies and what is known of it."""

    id: str  # what the user calls it; it comes out of every step exactly once
    path: str  # file or URL that can be opened; empty for windows of a table
    label: str | None = None  # the truth, if known; with ``multilabel`` a cell of labels
    artist: str | None = None
    split: str | None = None
    start: float = 0.0  # seconds inside the file
    end: float | None = None
    line: int | None = None  # of the table, None in a folder
    extra: dict[str, str] = field(default_factory=dict)  # the user's other columns
    group_by: str = "artist"  # column whose value must not be on two sides of a split
    multilabel: bool = False
    fold: str | None = None  # of a cross-validation, where the table says
    content: str = ""  # hash of what is in its file, or of its windows; empty if unknown
    background: bool = False  # whether its label says that nothing is there
    change: str = ""  # made to its sound before it is heard (`songbag.audio.changes.CHANGES`)
    excerpt: Excerpt | None = None  # taken of it instead of the recipe's

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of the song: one, none where it is unknown, any number with multilabel."""
        if self.multilabel:
            return split_labels(self.label or "")
        return (self.label,) if self.label else ()

    @property
    def group_value(self) -> str | None:
        """Value of the ``group_by`` column, None where it is unknown."""
        value = self.artist if self.group_by == "artist" else self.extra.get(self.group_by)
        return value or None

    @property
    def group(self) -> str:
        """What must not be on two sides of a split: the artist if known, else the song."""
        return f"{self.group_by} {self.group_value}" if self.group_value else f"song {self.id}"

    @property
    def chosen_by_model(self) -> bool:
        """Whether a model chose the song to be labelled: it is trained on and never tested."""
        return self.extra.get("chosen", "").lower() == "model"

    @property
    def undecided(self) -> bool:
        """Whether the song stands in a table to be labelled, and has no label to train on yet."""
        asked = "chosen" in self.extra or "decision" in self.extra
        has_none = self.multilabel and self.extra.get("decision", "").lower() == "none"
        return asked and not self.label and not has_none

    def source(self, excerpt: Excerpt, window_seconds: float = 0.0) -> Source:
        """Return the part of the file that an excerpt takes.

        A part with a stated end that is shorter than a window becomes the window around it.
        """
        start, end = self.start, self.end
        if end is not None and end - start < window_seconds:
            start = max(0.0, (start + end - window_seconds) / 2)
            end = start + window_seconds
        part = self.excerpt or excerpt
        return Source(path=self.path, start=start, end=end, excerpt=part, change=self.change)

    def labelled_share(self, seconds: float) -> float:
        """Return which share of ``seconds`` of sound lies in the part that was labelled."""
        if self.end is None or not seconds:
            return 1.0
        return min(1.0, (self.end - self.start) / seconds)


def part_name(start: float, end: float | None) -> str:
    """Return what the id of a part of a file says about it, empty for the whole file.

    >>> part_name(1.5, 4.0), part_name(0.0, None)
    ('#1.5-4', '')
    """
    if not start and end is None:
        return ""
    return f"#{start:.10g}-{'' if end is None else f'{end:.10g}'}"


def split_labels(cell: str) -> tuple[str, ...]:
    """Return the labels in a cell, sorted, each once; they are separated by ; or |."""
    return tuple(sorted({part.strip() for part in re.split(r"[;|]", cell)} - {""}))


def join_labels(labels: Iterable[str]) -> str:
    """Return labels as one cell."""
    return ";".join(sorted(labels))


def label_names(songs: Sequence[Song]) -> list[str]:
    """Return all labels of songs, sorted: the order of every probability column."""
    return sorted({label for song in songs for label in song.labels})


def stratification_labels(songs: Sequence[Song]) -> list[str]:
    """Return the label by which each song is stratified: of several the rarest, else "".

    A split that does not look at the rare labels loses them first.
    """
    labels = [song.labels for song in songs]
    count = Counter(label for of_song in labels for label in of_song)
    return [min(of_song, key=lambda label: (count[label], label), default="") for of_song in labels]


def joined_groups(songs: Sequence[Song]) -> list[str]:
    """Return the group of each song: what must not be on two sides of a split.

    Songs of one file, or with the same content, are of one group whatever their columns say, and
    so are the groups that they join.

    >>> songs = [Song("1", "a.wav", artist="x"), Song("2", "a.wav"), Song("3", "b.wav")]
    >>> joined_groups(songs)
    ['artist x', 'artist x', 'song 3']
    """
    first: dict[tuple[str, str], int] = {}
    root = list(range(len(songs)))

    def root_of(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for place, song in enumerate(songs):
        keys = [("group", song.group), ("file", song.path), ("content", song.content)]
        for key in keys:
            if key[1]:
                one, other = sorted((root_of(place), root_of(first.setdefault(key, place))))
                root[other] = one
    return [songs[root_of(place)].group for place in range(len(songs))]


def grouped_by(songs: Sequence[Song], column: str) -> list[Song]:
    """Return the songs grouped by a column of their table instead of the artist."""
    known = {name for song in songs for name in song.extra} | {"artist"}
    if column.lower() == "artist":
        column = "artist"
    if column not in known:
        raise SongTableError(f"no column '{column}' to group by.{suggestion(column, known)}")
    return [replace(song, group_by=column) for song in songs]
