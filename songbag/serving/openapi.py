"""The OpenAPI description of the server, with the columns of its models and an example each."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI

from songbag.inference.predictions import TEXT_COLUMNS, song_columns, window_columns
from songbag.serving.uploads import MAX_FILES

_Schema = dict[str, Any]

_ERRORS = {
    "400": "The body is not the form that it says it is.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from a page of another origin.",
    "404": "There is no model of this name.",
    "408": "The upload paused or took too long.",
    "413": "The request is too large.",
    "422": "No answer for this file: `reason` and `message` say why.",
    "503": "Too many songs at once; `Retry-After` says when to try again.",
}
_BINARY = {"type": "string", "format": "binary"}
_BODY = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": MAX_FILES},
                "id": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Ids of the songs; the files' names by default.",
                },
            },
        }
    },
    "application/octet-stream": {"schema": _BINARY},
}
_EXAMPLES = {  # by address, for a shell in which ADDRESS is the server
    "/predict": (
        "curl --data-binary @song.mp3 $ADDRESS/predict\n"
        "curl -F file=@one.mp3 -F file=@two.mp3 $ADDRESS/predict"
    ),
    "/without": (
        "curl -H 'content-type: application/json' "
        '-d \'{"kept": "...", "removed": [0]}\' $ADDRESS/without'
    ),
}


def describe_api(app: FastAPI, labels: Mapping[str, Sequence[str]]) -> None:
    """Give the application a description of its models, by name, and of their labels.

    The first model is also that of the addresses without a name.
    """
    app.openapi_schema = None
    description = app.openapi()
    app.openapi_schema = description
    paths, schemas = description["paths"], description["components"]["schemas"]
    description["info"]["description"] = f"Whole songs to labels, by {', '.join(labels)}."
    text = {"type": "string"}
    schemas["Error"] = _record({"reason": text, "message": text})
    for address in paths:
        example = _EXAMPLES.get(address, f"curl $ADDRESS{address}")
        for operation in paths[address].values():
            operation["x-codeSamples"] = [{"lang": "Shell", "source": example}]
    predict, without = paths["/predict"]["post"], paths["/without"]["post"]
    predict["requestBody"] = {"required": True, "content": _BODY}
    for number, (name, own) in enumerate(labels.items()):
        suffix = "" if number == 0 else str(number + 1)  # names of schemas may not be anything
        schemas |= {f"{kind}{suffix}": schema for kind, schema in _rows(own, suffix).items()}
        answer = _ref(f"Answer{suffix}")
        several = _record({"answers": {"type": "array", "items": _one_of(answer, _ref("Error"))}})
        responses = {
            "predict": _responses(_one_of(answer, several)),
            "without": _responses(answer),
        }
        if number == 0:
            predict["responses"], without["responses"] = responses["predict"], responses["without"]
        for kind, operation in (("predict", predict), ("without", without)):
            address = f"/models/{quote(name)}/{kind}"
            example = operation["x-codeSamples"][0]["source"].replace(f"/{kind}", address)
            changes = {
                "summary": f"{operation['summary']}, by {name}",
                "operationId": f"{kind}{number + 1}",
                "responses": responses[kind],
                "x-codeSamples": [{"lang": "Shell", "source": example}],
            }
            paths[address] = {"post": operation | changes}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)


def _rows(labels: Sequence[str], suffix: str) -> dict[str, _Schema]:
    """Return the schemas of a song's row, a window's row and an answer of one model."""
    text, number = {"type": "string"}, {"type": "number"}

    def columns(names: list[str]) -> _Schema:
        types = {name: text if name in TEXT_COLUMNS else number for name in names}
        return _record({name: {"anyOf": [kind, {"type": "null"}]} for name, kind in types.items()})

    recording = _record(
        {"seconds": number, "heard_from": number, "peaks": {"type": "array", "items": number}}
    )
    answer = _record({"song": _ref(f"Song{suffix}")})
    answer["properties"] |= {
        "windows": {"type": "array", "items": _ref(f"Window{suffix}")},
        "tags": {"type": "array", "items": _record({"tag": text, "probability": number})},
        "csv": _record({"songs": text, "windows": text}),
        "recording": {"anyOf": [recording, {"type": "null"}]},
        "kept": {"type": "string", "description": "For POST /without, unchanged."},
    }
    songs, windows = columns(song_columns(labels)), columns(window_columns(labels))
    return {"Song": songs, "Window": windows, "Answer": answer}


def _responses(answer: _Schema) -> _Schema:
    errors = {code: _json_response(why, _ref("Error")) for code, why in _ERRORS.items()}
    return {"200": _json_response("The answer.", answer), **errors}


def _record(properties: dict[str, _Schema]) -> _Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _one_of(*schemas: _Schema) -> _Schema:
    return {"oneOf": list(schemas)}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json_response(description: str, schema: _Schema) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
