"""Who may ask: the right host name, the same origin, the token; and what every answer says.

On this machine alone there is no token, so two things keep web pages of other origins out:
the ``Host`` header must name this machine (a rebound DNS name does not), and a request
that changes something must come from our own page or from no page at all.
"""

import asyncio
import hmac
import secrets
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from songbag.serving.options import Terms

_LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]", "::1"}
_OPEN = ("/", "/session")  # and /static/: the page itself, which holds nothing of anybody's
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; media-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 26


class Keys:
    """One-time keys that a page swaps for the token, so that no link holds the token."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._unused: set[str] = set()

    def make(self) -> str:
        """Return a new key."""
        key = secrets.token_urlsafe(24)
        self._unused.add(key)
        return key

    def swap(self, key: str) -> str | None:
        """Return the token for a key that was never used, else None."""
        found = [one for one in self._unused if _same(one, key)]
        self._unused.difference_update(found)
        return self._token if found else None


class Gate:
    """ASGI middleware in front of everything."""

    def __init__(self, app: ASGIApp, terms: Terms) -> None:
        self.app, self.terms = app, terms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let through with the headers that keep browsers safe."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["nonce"] = secrets.token_urlsafe(16)
        unread = _Unread(scope, receive)
        guarded = _lingering(unread, _with_headers(scope, send))
        refused = _refusal(scope, self.terms)
        if refused is not None:
            return await refused(scope, unread, guarded)
        try:
            return await self.app(scope, unread, guarded)
        except asyncio.CancelledError:
            # The server stops, and this request took longer than it waits for.
            if not scope.get("answering"):
                await error(503, "stopping", "The server was stopped.")(scope, unread, guarded)


def error(
    status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Return an error as every error of the server looks."""
    body = msgspec.json.encode({"reason": reason, "message": message})
    return Response(body, status, headers, media_type="application/json")


def too_large(terms: Terms) -> Response:
    """Return the error of a body beyond the limit."""
    return error(413, "too_large", f"Files of up to {terms.max_megabytes:g} MB are taken.")


def _refusal(scope: Scope, terms: Terms) -> Response | None:
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if not terms.allow_remote and _name(host) not in _LOCAL_NAMES:
        return error(421, "wrong_host", "This server answers to the names of this machine only.")
    if scope["method"] not in ("GET", "HEAD") and _from_elsewhere(headers, host):
        return error(403, "cross_origin", "Pages of other origins may not ask this server.")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > terms.max_body_bytes:
        return too_large(terms)
    path = scope["path"]
    if terms.token is None or path in _OPEN or path.startswith("/static/"):
        return None
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _same(given.strip(), terms.token):
        return None
    return error(
        401, "no_token", "Send the header 'Authorization: Bearer TOKEN'.",
        {"www-authenticate": "Bearer"},
    )  # fmt: skip


def _name(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower().rstrip(".")


def _from_elsewhere(headers: Headers, host: str) -> bool:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            scope["answering"] = True
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = _POLICY.format(nonce=scope["nonce"])
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["permissions-policy"] = "camera=(), microphone=(), geolocation=()"
            static = scope["path"].startswith("/static/")
            headers["cache-control"] = "no-cache" if static else "no-store"
        await send(message)

    return send_on


class _Unread:
    """Counts what is read of a request, and knows whether more is to come."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self.more = "content-length" in headers or "transfer-encoding" in headers

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.more = False
        return message

    async def drain(self) -> None:
        taken = 0
        while self.more and taken < _LINGER_BYTES:
            taken += len((await self()).get("body", b""))


def _lingering(unread: _Unread, send: Send) -> Send:
    """Read a little on after an early refusal, or the client never gets to read it.

    A connection closed with bytes unread is reset, and the reset overtakes the answer.
    """

    async def send_on(message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or not unread.more:
            return await send(message)
        await send({**message, "more_body": True})
        with suppress(TimeoutError):
            await asyncio.wait_for(unread.drain(), _LINGER_SECONDS)
        return await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_on
