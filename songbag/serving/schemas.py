"""What the API says of itself: the model's card, and OpenAPI with this model's columns."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from songbag import __version__
from songbag.inference import tables
from songbag.inference.model_file import Card, ModelFile
from songbag.serving.options import Terms

_TEXT = ("id", "status", "reason", "predicted", "warnings")
_Schema = dict[str, Any]


def card_of(name: str, model: ModelFile, terms: Terms) -> bytes:
    """Return what ``/model`` answers, as JSON.

    All of the model's card but what it heard and its layers.
    """
    card = msgspec.to_builtins(model.card)
    for secret in ("heard", "hashes", "layers", "level", "format"):
        card.pop(secret)
    if card["split"] is not None:
        card["split"] = {key: card["split"][key] for key in ("method", "groups", "hash")}
    limits = {
        "megabytes": terms.max_megabytes,
        "hours": terms.max_hours,
        "seconds": terms.max_seconds,
    }
    columns = {
        "songs": tables.song_columns(model.card.labels),
        "windows": tables.window_columns(model.card.labels),
    }
    whole = {"name": name, "hash": model.hash, "songbag": __version__, "limits": limits}
    whole |= {"columns": columns, **card}
    return msgspec.json.encode(whole)


def described(app: FastAPI, card: Card) -> FastAPI:
    """Give the application an OpenAPI description with the columns of this model."""
    made = app.openapi()
    paths, schemas = made["paths"], made["components"]["schemas"]
    schemas |= {
        "Error": _record({"reason": "string", "message": "string"}),
        "Song": _record(_columns(tables.song_columns(card.labels))),
        "Window": _record(_columns(tables.window_columns(card.labels))),
    }
    windows = {"type": "array", "items": _ref("Window")}
    answer = _record({"song": _ref("Song"), "windows": windows}, needed=("song",))
    answer["properties"] |= {
        "csv": _record({"songs": "string", "windows": "string"}),
        "recording": _recording(),
        "kept": {"type": "string", "description": "For POST /without, as it is."},
    }
    for path in ("/predict", "/without"):
        paths[path]["post"]["responses"] = {
            "200": _json("The answer.", answer),
            **{code: _json(said, _ref("Error")) for code, said in _ERRORS.items()},
        }
    paths["/predict"]["post"]["requestBody"] = {"required": True, "content": _FORM}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    app.openapi_schema = made
    return app


_ERRORS = {
    "400": "Not a form.",
    "401": "No token, or a wrong one.",
    "403": "A page of another origin asked.",
    "408": "The upload fell silent.",
    "413": "The file is too large.",
    "422": "No answer for this file: `reason` and `message` say why.",
    "503": "Too many songs at once; `Retry-After` says when to come back.",
}
_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary", "description": "One song."},
                "id": {"type": "string", "description": "Its id; the file's name otherwise."},
            },
        }
    }
}


def _columns(names: list[str]) -> dict[str, str | _Schema]:
    numbers = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    texts = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    return {name: texts if name in _TEXT else numbers for name in names}


def _recording() -> _Schema:
    numbers = {"type": "array", "items": {"type": "number"}}
    record = _record({"seconds": "number", "heard_from": "number", "peaks": numbers})
    return {"anyOf": [record, {"type": "null"}]}


def _record(
    properties: Mapping[str, str | _Schema], needed: tuple[str, ...] | None = None
) -> _Schema:
    plain = {k: {"type": v} if isinstance(v, str) else v for k, v in properties.items()}
    return {"type": "object", "properties": plain, "required": list(needed or plain)}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(said: str, schema: _Schema) -> _Schema:
    return {"description": said, "content": {"application/json": {"schema": schema}}}
