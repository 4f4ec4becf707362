"""Answers of the server as plain data, the one form of all its errors, and their description.

Worker processes make replies and need no web framework, so none is imported here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from songbag import __version__
from songbag.inference.model_file import Model
from songbag.inference.predictions import TEXT_COLUMNS, song_columns, window_columns
from songbag.serving.options import ServerOptions
from songbag.settings import Record

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

_Schema = dict[str, Any]

_PRIVATE_FIELDS = ("heard", "hashes", "layers", "level", "format")  # of the model's card
_ERRORS = {
    "400": "The body is not a form.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from a page of another origin.",
    "408": "The upload paused or took too long.",
    "413": "The file is too large.",
    "422": "No answer for this file: `reason` and `message` say why.",
    "503": "Too many songs at once; `Retry-After` says when to try again.",
}
_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary", "description": "One song."},
                "id": {"type": "string", "description": "Its id; the file's name by default."},
            },
        }
    }
}


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


def describe_api(app: "FastAPI", labels: Sequence[str]) -> None:
    """Give the application an OpenAPI description with the columns of a model's labels."""
    description = app.openapi()
    paths, schemas = description["paths"], description["components"]["schemas"]
    text, number = {"type": "string"}, {"type": "number"}

    def columns(names: list[str]) -> _Schema:
        types = {name: text if name in TEXT_COLUMNS else number for name in names}
        return _record({name: {"anyOf": [kind, {"type": "null"}]} for name, kind in types.items()})

    recording = _record(
        {"seconds": number, "heard_from": number, "peaks": {"type": "array", "items": number}}
    )
    answer = _record({"song": _ref("Song")})
    answer["properties"] |= {
        "windows": {"type": "array", "items": _ref("Window")},
        "tags": {"type": "array", "items": _record({"tag": text, "probability": number})},
        "csv": _record({"songs": text, "windows": text}),
        "recording": {"anyOf": [recording, {"type": "null"}]},
        "kept": {"type": "string", "description": "For POST /without, unchanged."},
    }
    schemas |= {
        "Error": _record({"reason": text, "message": text}),
        "Song": columns(song_columns(labels)),
        "Window": columns(window_columns(labels)),
    }
    for path in ("/predict", "/without"):
        paths[path]["post"]["responses"] = {
            "200": _json_response("The answer.", answer),
            **{code: _json_response(why, _ref("Error")) for code, why in _ERRORS.items()},
        }
    paths["/predict"]["post"]["requestBody"] = {"required": True, "content": _FORM}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    app.openapi_schema = description


def _record(properties: dict[str, _Schema]) -> _Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json_response(description: str, schema: _Schema) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
