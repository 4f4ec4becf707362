"""What is known of public data sets: a file <name>.toml of facts each, with their sources."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from songbag.errors import SettingsError, suggestion
from songbag.settings import Record

FOLDER = Path(__file__).parent


class Figure(Record, frozen=True):
    """A published result under the split that the table has, unless it says otherwise."""

    value: str
    system: str
    source: str


class Archive(Record, frozen=True):
    """A file to download: checked by ``hash``, unpacked to ``folder``."""

    url: str
    hash: str  # algorithm:hexadecimal digits, as published
    folder: str  # that it holds
    megabytes: int = 0  # 0: not stated

    @property
    def name(self) -> str:
        """Name of the downloaded file."""
        ending = ".tar.gz" if ".tar.gz" in self.url else ".zip"
        return self.folder + ending


class DataSet(Record, frozen=True):
    """Facts of a data set, and what a folder that holds it must look like."""

    name: str
    title: str
    songs: str
    licence: str
    size: str
    page: str  # where it is described
    layout: str  # of its folder, in words
    checked: str  # what `songbag.known.tables.table_of` checks, in words
    wrong: tuple[str, ...]
    split: str  # which one the table has, and what it is worth
    metric: str  # that papers report
    train: str  # the command for that split; TABLE is the table's file
    counts: dict[str, int]  # of the table: songs, labels, folds, train, validation, test
    broken: tuple[str, ...] = ()  # ids of songs that are left out because they cannot be used
    multilabel: bool = False
    group: Literal["artist", "group"] = "artist"  # column of what no split divides
    tags: tuple[str, ...] = ()  # labels that are used, where others are left out
    figures: tuple[Figure, ...] = ()
    files: tuple[Archive, ...] = ()
    manual: str = ""  # how to get it, where it is not downloaded


@cache
def known() -> dict[str, DataSet]:
    """Return all known data sets by name.

    Examples
    --------
    >>> list(known())[:4]
    ['emotify', 'esc10', 'esc50', 'fma_small']
    >>> known()["esc50"].counts
    {'songs': 2000, 'labels': 50, 'folds': 5}
    """
    data_sets = {}
    for path in sorted(FOLDER.glob("*.toml")):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        data_sets[path.stem] = msgspec.convert({"name": path.stem, **values}, DataSet)
    return data_sets


def data_set(name: str) -> DataSet:
    """Return a data set by name, or refuse an unknown one.

    Examples
    --------
    >>> data_set("gtzan").split[:18]
    'the fault-filtered'
    >>> data_set("gtsan")
    Traceback (most recent call last):
    songbag.errors.SettingsError: there is no known data set 'gtsan'. Did you mean 'gtzan'?
    """
    if name not in known():
        raise SettingsError(f"there is no known data set '{name}'.{suggestion(name, known())}")
    return known()[name]
