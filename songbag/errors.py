"""Everything Songbag refuses: what, where, what was found, and what to do.

A programmer's mistake stays a ``ValueError`` or ``TypeError`` with a traceback.
"""

import difflib
from collections.abc import Iterable


class SongbagError(Exception):
    """Base of every error Songbag raises on purpose."""


class SettingsError(SongbagError):
    """A setting is unknown, of the wrong type or out of range."""


class SongTableError(SongbagError):
    """A table or folder of songs cannot be used as it stands."""


class AudioError(SongbagError):
    """One audio file cannot be decoded. ``reason`` is a short machine-readable word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, str]]:
        # Exceptions cross process borders by pickle; the default would lose ``reason``.
        return type(self), (self.reason, str(self))


class TagError(SongbagError):
    """The tags of one file cannot be read, or are not written."""


class TrainingError(SongbagError):
    """There is nothing sensible to train with these songs and settings."""


class ModelFileError(SongbagError):
    """A model file is damaged, foreign or written by a newer Songbag."""


class ClusterError(SongbagError):
    """A cluster cannot be reached, or cannot do the work."""


class DownloadError(SongbagError):
    """A data set cannot be downloaded, or is not what was published."""


class ExportError(SongbagError):
    """The exported graph does not agree with the network it was made from."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a near miss, else the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(names)}."
