"""Answers of the server as plain data, and the one form of all its errors."""

from typing import TYPE_CHECKING, Any

import msgspec

from songbag.settings import Record

if TYPE_CHECKING:
    from starlette.responses import Response


class Reply(Record, frozen=True):
    """An HTTP status, a JSON body and extra headers, as a worker process returns them."""

    status: int
    body: bytes
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def response(self) -> "Response":
        """Return the reply as what Starlette sends."""
        # Imported here because worker processes make replies and need no web framework.
        from starlette.responses import Response

        return Response(self.body, self.status, self.headers, media_type="application/json")


class HTTPError(Exception):
    """A request that gets no answer. Raise it anywhere behind a route or in a worker process.

    Parameters
    ----------
    status : int
        HTTP status, 400 to 599.
    reason : str
        A short word for programs, such as ``too_large``.
    message : str
        A sentence for people.
    headers : dict, optional
        Such as ``retry-after``.
    **fields
        More fields of the JSON body.

    Examples
    --------
    >>> HTTPError(413, "too_large", "Files of up to 64 MB are accepted.").reply.body
    b'{"reason":"too_large","message":"Files of up to 64 MB are accepted."}'
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        body = msgspec.json.encode({"reason": reason, "message": message, **fields})
        self.reply = Reply(status=status, body=body, headers=headers or {})
