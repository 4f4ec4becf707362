"""What was answered for the file of a song, and names of folders and playlists for labels."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from songbag.data.audio_dataset import AudioDataset
from songbag.data.dataset import SongDataset
from songbag.data.song import Song, split_labels
from songbag.errors import SettingsError
from songbag.storage.files import Row
from songbag.storage.remote import is_url

UNSURE = "_unsure"  # folder and playlist of songs without a label
_LONGEST = 80  # characters of a folder's name; file systems take 255 bytes


@dataclass(frozen=True)
class Answer:
    """The labels of the file of a song, none where the model is unsure."""

    path: str
    labels: tuple[str, ...]
    confidence: float
    seconds: float | None = None  # up to the end of its last window

    @classmethod
    def of(cls, song: Song, row: Row, multilabel: bool) -> "Answer":
        """Return what a row of predictions.csv says of a song that did not fail."""
        predicted = row["predicted"] or ""
        labels = split_labels(predicted) if multilabel else (predicted,) if predicted else ()
        return cls(song.path, labels, float(row["confidence"]), row["seconds"])


def refuse_urls(names: Iterable[str], what: str) -> None:
    """Refuse songs that are not files of this machine."""
    for name in names:
        if is_url(name):
            raise SettingsError(
                f"{what} is for files of this machine; {name} is a URL. Download the songs first, "
                "and give their folder."
            )


def require_whole_files(dataset: SongDataset, what: str) -> None:
    """Refuse songs that are not whole files of this machine.

    Raises
    ------
    SettingsError
        The songs are windows of a table, packed, URLs, or parts of files (start, end).
    """
    if not isinstance(dataset, AudioDataset):
        raise SettingsError(f"{what} is for songs in audio files; {dataset.origin} has none.")
    refuse_urls((song.path for song in dataset.songs), what)
    for song in dataset.songs:
        if song.start or song.end is not None:
            raise SettingsError(
                f"{what} is for whole files; song '{song.id}' is a part of {song.path} (start, "
                "end). Cut the files first, or leave these columns out."
            )


def label_names(labels: Sequence[str]) -> dict[str, str]:
    """Return a name for each label that every file system takes, no two of them alike.

    Names that differ in upper and lower case alone are alike.

    >>> label_names(["rock", "Rock", "AC/DC", "..", "_unsure"])
    {'rock': 'rock', 'Rock': 'Rock (2)', 'AC/DC': 'AC_DC', '..': '_', '_unsure': '_unsure (2)'}
    """
    names: dict[str, str] = {}
    taken = {UNSURE}
    for label in labels:
        plain = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", label)[:_LONGEST]
        while len(os.fsencode(plain)) > 2 * _LONGEST:
            plain = plain[:-1]
        plain = re.sub(r"^[\s.]+|[\s.]+$", "", plain) or "_"
        name, number = plain, 1
        while folded(name) in taken:
            number += 1
            name = f"{plain} ({number})"
        taken.add(folded(name))
        names[label] = name
    return names


def folded(name: str) -> str:
    """Return what the name is to a disk that sees no case (Windows, macOS, memory sticks)."""
    return unicodedata.normalize("NFC", name).casefold()
