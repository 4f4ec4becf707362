"""What malloc does with memory that is freed."""

import ctypes
from contextlib import suppress

_TRIM, _MMAP = -1, -3  # of glibc's mallopt
_KEPT_BYTES = 1 << 25


def keep_memory() -> None:
    """Let malloc keep what is freed: it would give it back and fetch it again at every block.

    Fetching a page costs more than computing what is put there. For the whole process.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library than glibc
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP, _KEPT_BYTES)
        library.mallopt(_TRIM, 16 * _KEPT_BYTES)
