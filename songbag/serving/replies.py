"""Answers of the server as plain data, and the one form of all its errors.

Worker processes make replies and need no web framework, so none is imported here.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from songbag import __version__
from songbag.inference.model_file import Model
from songbag.inference.predictions import song_columns, window_columns
from songbag.serving.options import ServerOptions
from songbag.settings import Record

if TYPE_CHECKING:
    from starlette.responses import Response

_PRIVATE_FIELDS = ("heard", "hashes", "layers", "level", "format")  # of the model's card


class Reply(Record, frozen=True):
    """An HTTP status, a JSON body and extra headers, as a worker process returns them."""

    status: int
    body: bytes
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def response(self) -> "Response":
        """Return the reply as what Starlette sends."""
        from starlette.responses import Response

        headers = {"content-type": "application/json"} | self.headers
        return Response(self.body, self.status, headers)


class HTTPError(Exception):
    """A request that gets no answer. Raise it anywhere behind a route or in a worker process.

    ``reason`` is a short word for programs, such as too_large, ``message`` a sentence for
    people; ``fields`` are added to the JSON body.
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


def model_description(name: str, model: Model, options: ServerOptions) -> bytes:
    """Return what ``/model`` answers: the model's card, in part, and the server's limits."""
    card = msgspec.to_builtins(model.card)
    for field in _PRIVATE_FIELDS:
        card.pop(field)
    if card["split"] is not None:
        card["split"] = {key: card["split"][key] for key in ("method", "groups", "hash")}
    limits = {
        "megabytes": options.max_megabytes,
        "hours": options.max_hours,
        "seconds": options.max_seconds,
    }
    columns = {
        "songs": song_columns(model.card.labels),
        "windows": window_columns(model.card.labels),
    }
    server = {"name": name, "hash": model.hash, "songbag": __version__, "limits": limits}
    return msgspec.json.encode(server | {"columns": columns, **card})
