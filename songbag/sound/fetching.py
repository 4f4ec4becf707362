"""A song in an object store is fetched, decoded like every other, and forgotten."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from songbag.errors import AudioError
from songbag.remote import is_url, local_copy
from songbag.settings import Limits
from songbag.sound.source import Source

_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # this machine's disk


@contextmanager
def at_hand(source: Source, limits: Limits) -> Iterator[Source]:
    """Yield the source with a path of this machine; messages keep the name it had.

    Raises
    ------
    AudioError
        ``missing``, ``unreadable``, ``too_long`` by its size, ``unreachable``.
    """
    if not is_url(source.path):
        yield source
        return
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(local_copy(source.path, limits.file_bytes))
        except FileNotFoundError:
            raise AudioError("missing", f"{source.path}: there is no such file") from None
        except PermissionError as error:
            raise AudioError("unreadable", f"{source.path}: cannot be opened: {error}") from None
        except OverflowError as error:
            raise AudioError(
                "too_long",
                f"{source.path}: {error} are more than the longest allowed recording can have. "
                "Raise --max-hours if this is a real recording.",
            ) from None
        except OSError as error:
            if error.errno in _OURS:
                raise
            raise AudioError("unreachable", f"{source.path}: cannot be fetched: {error}") from None
        try:
            yield msgspec.structs.replace(source, path=str(copy))
        except AudioError as error:
            text = str(error).replace(str(copy), source.path)
            raise AudioError(error.reason, text) from None
