"""Settings of a server: its address, who may use it, and what one request may cost."""

import ipaddress
import os
import re
from typing import Annotated

from msgspec import Meta

from songbag.errors import SettingsError
from songbag.settings import Count, Limits, Positive, Record

_MIN_TOKEN_LETTERS = 16
_FORM_BYTES = 1 << 16  # of a multipart body besides the file


class ServerOptions(Record, frozen=True):
    """The settings of a server."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765  # 0 takes a free one
    token: str | None = None  # what every request must carry as "Authorization: Bearer"
    allow_remote: bool = False  # answer other machines too; needs a token
    allow_origins: tuple[str, ...] = ()  # whose pages may use this server: https://example.org
    workers: Count = 1  # songs at work at once
    waiting: Annotated[int, Meta(ge=0)] = 8  # songs that may wait; any more get status 503
    max_megabytes: Positive = 64.0  # of 1,048,576 bytes
    max_hours: Positive = 1.0  # of a recording
    max_seconds: Positive = 60.0  # of work on one song; its process is killed then
    stop_seconds: Positive = 60.0  # for requests that have come when SIGTERM comes
    idle_seconds: Positive = 15.0  # longest pause in the middle of an upload
    upload_seconds: Positive = 300.0  # so that a slow client does not hold a place forever

    @property
    def limits(self) -> Limits:
        """What decoding one file may cost."""
        return Limits.of_hours(self.max_hours)

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request with a file in it."""
        return int(self.max_megabytes * (1 << 20)) + _FORM_BYTES

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to the host."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return False


def require_safe(options: ServerOptions) -> None:
    """Refuse settings with which strangers could use the server."""
    if not options.is_local and not options.allow_remote:
        raise SettingsError(
            f"--host {options.host} would let other machines in. If you mean it, add "
            "--allow-remote and a --token (or SONGBAG_TOKEN) that every request must carry."
        )
    if options.allow_remote and options.token is None:
        raise SettingsError(
            "--allow-remote needs a --token (or SONGBAG_TOKEN) that every request must carry. A "
            'good one: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    for origin in options.allow_origins:
        if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin):
            raise SettingsError(
                f"--allow-origin {origin}: an origin is a scheme and a host in small letters, such "
                "as https://example.org or http://localhost:3000, with no path and no wildcard."
            )
    token = options.token or "x" * _MIN_TOKEN_LETTERS
    if len(token) < _MIN_TOKEN_LETTERS:
        raise SettingsError(
            f"the token has {len(token)} letters; use at least {_MIN_TOKEN_LETTERS}, so that it "
            "cannot be guessed."
        )
    if not (token.isascii() and token.isprintable()):
        raise SettingsError("the token must be plain ASCII letters, digits and signs.")


def default_workers() -> int:
    """Return how many songs to work on at once: one per core, at most four."""
    return min(4, os.cpu_count() or 1)
