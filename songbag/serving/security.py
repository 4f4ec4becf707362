"""Refuses requests that may come from elsewhere, and adds the headers that protect browsers.

Without a token, two checks keep the web pages of other origins out: the ``Host`` header
must name this machine (DNS rebinding does not), and a request that changes something must
come from this server's own page or from no page at all.
"""

import asyncio
import hmac
import secrets
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError

_LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]", "::1"}
# And /static/: pages, which hold no data, and what asks whether the server runs.
_OPEN_PATHS = ("/", "/docs", "/session", "/healthz", "/readyz")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; media-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 1 << 26


class OneTimeKey:
    """A key that the page exchanges for the token once, so that no link contains the token."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._used = False
        self.text = secrets.token_urlsafe(24)

    def exchange(self, text: str) -> str | None:
        """Return the token for the unused key, None for any other."""
        if self._used or not _equal(text, self.text):
            return None
        self._used = True
        return self._token


class SecurityMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self.app, self.options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an allowed request on, answer any other with an error."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["nonce"] = secrets.token_urlsafe(16)
        exchange = _Exchange(scope, receive, send)
        try:
            require_allowed(scope, self.options)
            await self.app(scope, exchange.receive, exchange.send)
        except HTTPError as error:
            await error.reply.response()(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # The server stops, and this request took longer than the server waits.
            if not exchange.answering:
                stopping = HTTPError(503, "stopping", "The server was stopped.")
                await stopping.reply.response()(scope, exchange.receive, exchange.send)


def require_allowed(scope: Scope, options: ServerOptions) -> None:
    """Refuse a request by its headers."""
    headers, path = Headers(scope=scope), scope["path"]
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    name = (name if colon and port.isdigit() else host).rstrip(".")
    if not options.allow_remote and name not in _LOCAL_NAMES:
        message = "This server answers to the names of this machine only."
        raise HTTPError(421, "wrong_host", message)
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    other_origin = origin is not None and origin.partition("://")[2].lower() != host
    other_page = other_origin or site not in ("same-origin", "none")
    if (
        other_page
        and origin not in options.allow_origins
        and scope["method"] not in ("GET", "HEAD")
    ):
        message = "Pages of other origins may not use this server (--allow-origin lets one)."
        raise HTTPError(403, "cross_origin", message)
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > options.max_body_bytes:
        raise too_large(options)
    if options.token is None or path in _OPEN_PATHS or path.startswith("/static/"):
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _equal(token.strip(), options.token):
        message = "Send the header 'Authorization: Bearer TOKEN'."
        raise HTTPError(401, "no_token", message, {"www-authenticate": "Bearer"})


def too_large(options: ServerOptions) -> HTTPError:
    """Return the error of a body beyond the limit."""
    message = (
        f"A request may have up to {options.max_megabytes:g} MB; whoever runs the server can allow "
        "more with --max-megabytes."
    )
    return HTTPError(413, "too_large", message)


def _equal(a: str, b: str) -> bool:
    """Compare in a time that does not tell where two texts differ."""
    return hmac.compare_digest(a.encode(), b.encode())


class _Exchange:
    """One request and its answer: what is left to read, and whether the answer has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._scope, self._receive, self._send = scope, receive, send
        self._unread = "content-length" in headers or "transfer-encoding" in headers
        self.answering = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answering = True
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers["content-security-policy"] = _CONTENT_POLICY.format(nonce=self._scope["nonce"])
            static = self._scope["path"].startswith("/static/")
            headers["cache-control"] = "no-cache" if static else "no-store"
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self._unread:
            # An early refusal. A connection that is closed with bytes unread is reset, and
            # the client then never reads the answer: so read some more of the request.
            await self._send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    left = _DRAIN_BYTES
                    while self._unread and left > 0:
                        left -= len((await self.receive()).get("body", b""))
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
