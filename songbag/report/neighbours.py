"""The songs that sound most like a song, as the report shows them (neighbours.csv)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from songbag.audio.audio_file import Source
from songbag.data.song import split_labels
from songbag.report.recordings import link_to
from songbag.storage.files import iter_csv

FILE = "neighbours.csv"
COLUMNS = ("id", "label", "rank", "neighbour", "neighbour_label", "distance")
NEAREST = 5  # of each song
_SHOWN = 3  # of a mistake
_MOST_DOUBTFUL = 50

Row = Mapping[str, str]


def read_neighbours(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of neighbours.csv by song, the nearest first; {} where there is none."""
    neighbours: dict[str, list[Row]] = {}
    if (folder / FILE).exists():
        for row in iter_csv(folder / FILE):
            neighbours.setdefault(row["id"], []).append(row)
    return neighbours


def nearest_songs(
    rows: Sequence[Row], sources: Mapping[str, Source], home: Path
) -> list[dict[str, Any]]:
    """Return the songs nearest to one with these rows, each with a link for a page in ``home``."""
    return [
        {
            "id": row["neighbour"],
            "label": row["neighbour_label"],
            "distance": float(row["distance"]),
            "file": song_link(row["neighbour"], sources, home),
        }
        for row in rows[:_SHOWN]
    ]


def doubtful_labels(
    neighbours: Mapping[str, Sequence[Row]],
    sources: Mapping[str, Source],
    home: Path,
    multilabel: bool,
) -> dict[str, Any]:
    """Return songs that share no label with any of their five neighbours, and how many there are.

    The first are those whose nearest neighbour is most like them.
    """

    def labels_of(cell: str) -> tuple[str, ...]:
        return split_labels(cell) if multilabel else (cell,)

    doubtful = list[dict[str, Any]]()
    for name, rows in neighbours.items():
        label, others = rows[0]["label"], [row["neighbour_label"] for row in rows]
        theirs = {one for other in others for one in labels_of(other)}
        if len(rows) == NEAREST and label and theirs.isdisjoint(labels_of(label)):
            said = Counter(others).most_common()
            doubtful.append(
                {
                    "id": name,
                    "label": label,
                    "file": song_link(name, sources, home),
                    "others": ", ".join(f"{count} × {other or 'none'}" for other, count in said),
                    "nearest": nearest_songs(rows[:1], sources, home)[0],
                }
            )
    doubtful.sort(key=lambda song: song["nearest"]["distance"])
    return {"songs": doubtful[:_MOST_DOUBTFUL], "count": len(doubtful), "all": len(neighbours)}


def song_link(name: str, sources: Mapping[str, Source], home: Path) -> str | None:
    """Return the address of a song's file for a page in ``home``, None where it is not there."""
    source = sources.get(name)
    if source is None or not Path(source.path).is_file():
        return None
    return link_to(source.path, home, source.start)
