"""What one server takes on: whom it answers, and what one request may cost."""

import ipaddress
import os
from typing import Annotated

from msgspec import Meta

from songbag.errors import SettingsError
from songbag.settings import Count, Limits, Positive, Record

_TOKEN_LETTERS = 16  # fewest letters of a token
_FORM_BYTES = 1 << 16  # what a multipart body holds besides the file


class Terms(Record, frozen=True):
    """The settings of a server.

    Attributes
    ----------
    host, port
        Address to listen on; port 0 takes a free one.
    token : str or None
        What every request must carry as ``Authorization: Bearer``.
    allow_remote : bool
        Answer other machines too. Needs a token.
    workers, waiting : int
        Songs at work at once, and songs that may wait; the next is told to come back.
    max_megabytes : float
        Largest file, in units of 1,048,576 bytes.
    max_hours : float
        Longest recording (see `songbag.settings.Limits`).
    max_seconds : float
        Longest work on one song before its process is killed.
    idle_seconds : float
        Longest silence of a client in the middle of its upload.
    upload_seconds : float
        Longest upload: a client that trickles holds a place no longer.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765
    token: str | None = None
    allow_remote: bool = False
    workers: Count = 1
    waiting: Annotated[int, Meta(ge=0)] = 8
    max_megabytes: Positive = 64.0
    max_hours: Positive = 1.0
    max_seconds: Positive = 60.0
    idle_seconds: Positive = 15.0
    upload_seconds: Positive = 300.0

    @property
    def limits(self) -> Limits:
        """What decoding one file may cost."""
        return Limits.of_hours(self.max_hours)

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request with a file in it."""
        return int(self.max_megabytes * (1 << 20)) + _FORM_BYTES


def checked(terms: Terms) -> Terms:
    """Return the terms, or refuse those that would open the door to strangers.

    Raises
    ------
    SettingsError
        Another machine could reach the server, but there is no ``allow_remote`` with a
        token; or the token is short.
    """
    if not _is_loopback(terms.host) and not terms.allow_remote:
        raise SettingsError(
            f"--host {terms.host} would let other machines in. If you mean it, add --allow-remote "
            "and a --token (or SONGBAG_TOKEN) that every request must carry."
        )
    if terms.allow_remote and terms.token is None:
        raise SettingsError(
            "--allow-remote needs a --token (or SONGBAG_TOKEN) that every request must carry. A "
            'good one: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if terms.token is not None and len(terms.token) < _TOKEN_LETTERS:
        raise SettingsError(
            f"the token has {len(terms.token)} letters; {_TOKEN_LETTERS} are the fewest that "
            "cannot be guessed."
        )
    if terms.token is not None and not (terms.token.isascii() and terms.token.isprintable()):
        raise SettingsError("the token must be plain ASCII letters, digits and signs.")
    return terms


def default_workers() -> int:
    """Return how many songs to work on at once: one a core, at most four."""
    return min(4, os.cpu_count() or 1)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
