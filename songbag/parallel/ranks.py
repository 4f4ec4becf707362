"""Tell whether this process is one of several started by ``torchrun``, without torch."""

import os

from songbag.errors import SettingsError


def world_size() -> int:
    """Return how many processes train together, 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_rank_zero() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return world_size() == 1 or os.environ.get("RANK") == "0"


def require_single_process(what: str) -> None:
    """Refuse to do ``what`` in several processes at once."""
    if world_size() > 1:
        raise SettingsError(
            f"{what} cannot run under torchrun, only songbag train of songs that "
            "are packed (songbag pack) or a table of windows."
        )
