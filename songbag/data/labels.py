"""Several labels per song: cells such as ``piano; sad`` in a column ``labels``.

Every file that Songbag writes has the labels sorted and joined by ``;``. An empty cell is a
song with none of the labels.
"""

import re
from collections import Counter
from collections.abc import Sequence

SEPARATOR = ";"


def split_labels(text: str) -> tuple[str, ...]:
    """Return the labels in a cell, sorted, each once; they are separated by ; or |.

    Examples
    --------
    >>> split_labels("sad | piano; sad")
    ('piano', 'sad')
    """
    return tuple(sorted({part.strip() for part in re.split(r"[;|]", text)} - {""}))


def join_labels(labels: Sequence[str]) -> str:
    """Return labels as one cell.

    Examples
    --------
    >>> join_labels(["sad", "piano"])
    'piano;sad'
    """
    return SEPARATOR.join(sorted(labels))


def rarest_labels(cells: Sequence[str]) -> list[str]:
    """Return the rarest label of each song, by which a split is stratified.

    A split that is not stratified loses the rare labels first.

    Examples
    --------
    >>> rarest_labels(["piano", "piano;sad", ""])
    ['piano', 'sad', '']
    """
    count = Counter(label for cell in cells for label in split_labels(cell))
    return [
        min(split_labels(cell), key=lambda label: (count[label], label), default="")
        for cell in cells
    ]
