"""Whether this process is one of several that ``torchrun`` started, known without torch."""

import os

from songbag.errors import SettingsError


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def writes() -> bool:
    """Tell whether this process is the one that writes and prints."""
    return count() == 1 or os.environ.get("RANK") == "0"


def require_one(what: str) -> None:
    """Refuse to do something in several processes at once.

    Raises
    ------
    SettingsError
    """
    if count() > 1:
        raise SettingsError(
            f"{what} cannot run under torchrun, only songbag train of songs that "
            "are packed (songbag pack) or a table of windows."
        )
