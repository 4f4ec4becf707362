"""Several labels a song: cells such as ``piano; sad`` in a column ``labels``.

A set of labels is written in one way, sorted and joined by ``;``, in every file. The
empty cell is a song with none of the labels.
"""

import re
from collections import Counter
from collections.abc import Sequence

SEPARATOR = ";"


def split_labels(text: str) -> tuple[str, ...]:
    """Return the labels in a cell, sorted, each once; they are separated by ; or |."""
    return tuple(sorted({part.strip() for part in re.split(r"[;|]", text)} - {""}))


def join_labels(labels: Sequence[str]) -> str:
    """Return the one way of writing a set of labels."""
    return SEPARATOR.join(sorted(labels))


def strata(texts: Sequence[str]) -> list[str]:
    """Return each song's rarest label, by which a split is stratified.

    The rare labels are the ones that a careless split loses.
    """
    count = Counter(label for text in texts for label in split_labels(text))
    return [
        min(split_labels(text), key=lambda label: (count[label], label), default="")
        for text in texts
    ]
