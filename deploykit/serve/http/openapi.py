"""The OpenAPI document of the server (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from functools import cache
from typing import Any

from deploykit_runtimes import __version__

from deploykit.protocol.datatypes import DATATYPES

__all__ = ["openapi"]

_REASONS = {
    "400": "The request contradicts itself or the model.",
    "401": "The key is missing or wrong.",
    "403": "A web page of another origin asks, or one for another host.",
    "404": "There is no such model, version or path.",
    "408": "The body did not come in time.",
    "413": "The request, or a picture in it, is too large.",
    "415": "The content type or encoding is not read.",
    "501": "A part of the protocol that this server leaves out.",
    "503": "The queue is full, or the model is not ready.",
    "504": "The answer did not come in time.",
}
_REFUSED = ("401", "403")
_FAILURE = {"$ref": "#/components/schemas/Error"}
_STRING = {"type": "string"}
_WHOLE = {"type": "integer"}
_COUNT = {**_WHOLE, "minimum": 1}
_FORMAT = {"enum": ["json", "image"]}
_ANY_OBJECT = {"type": "object"}
_NUMBER_01 = {"type": "number", "minimum": 0, "maximum": 1}


@cache
def openapi() -> dict[str, Any]:
    """The document: every path that the server answers, except its pages."""
    paths = {
        "/v2": _get("server", "The server's name, version and extensions", "ServerMetadata", *_REFUSED),
        "/v2/health/live": _get("live", "Whether the server runs", "Live"),
        "/v2/health/ready": _ready(),
        "/v2/models/stats": _get("allStatistics", "Numbers of every model", "Statistics", *_REFUSED),
        "/v2/repository/index": _index(),
        "/metrics": _metrics(),
    }
    for prefix, operation in (("", ""), ("/versions/{version}", "OfVersion")):
        paths |= _of_model(f"/v2/models/{{name}}{prefix}", operation)
    for verb, what in (("load", "Load a model, or load it anew"), ("unload", "Take a model away")):
        paths[f"/v2/repository/models/{{name}}/{verb}"] = _change(verb, what)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "deploykit",
            "version": __version__,
            "description": "Vision models over the Open Inference Protocol, and an endpoint for pictures.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _of_model(path: str, suffix: str) -> dict[str, Any]:
    named = _parameters(path)
    about = {
        "": ("model", "Inputs and outputs", "ModelMetadata"),
        "/ready": ("modelReady", "Whether the model answers", "Ready"),
        "/config": ("config", "The model as a configuration of Triton", "Object"),
        "/stats": ("statistics", "Numbers of the model", "Statistics"),
        "/card": ("card", "What a person wants to know of the model", "Object"),
    }
    paths = {
        path + part: _get(name + suffix, text, schema, "400", *_REFUSED, "404", "503", parameters=named)
        for part, (name, text, schema) in about.items()
    }
    paths[f"{path}/infer"] = _infer(f"infer{suffix}", named)
    paths[f"{path}/predict"] = _predict(f"predict{suffix}", named)
    return paths


def _parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {**_STRING, "minLength": 1}}
        for name in names
    ]


def _get(
    operation: str, text: str, schema: str, *errors: str, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"get": _operation(operation, text, _json_content(schema), errors, parameters)}


def _operation(
    operation: str,
    text: str,
    content: dict[str, Any],
    errors: tuple[str, ...],
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    for code in errors:
        responses[code] = {
            "description": _REASONS[code],
            "content": {"application/json": {"schema": _FAILURE}},
        }
    return {
        "operationId": operation,
        "summary": text,
        "responses": responses,
        **({"parameters": parameters} if parameters else {}),
    }


def _json_content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _ready() -> dict[str, Any]:
    path = _get("ready", "Whether every model is loaded and warm", "Ready")
    path["get"]["responses"]["503"] = {
        "description": "Not yet, or not any more.",
        "content": _json_content("Ready"),
    }
    return path


def _metrics() -> dict[str, Any]:
    text = {"text/plain": {"schema": _STRING}}
    return {"get": _operation("metrics", "Numbers for Prometheus", text, _REFUSED)}


def _index() -> dict[str, Any]:
    operation = _operation(
        "index", "Every model with its state", _json_content("Index"), ("400", *_REFUSED, "408", "413", "415")
    )
    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return {"post": operation}


def _change(verb: str, text: str) -> dict[str, Any]:
    parameters = _parameters("/{name}")
    errors = ("400", *_REFUSED, "404", "408", "413", "415", "503", "504")
    operation = _operation(verb, text, _json_content("Object"), errors, parameters)
    operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": _ANY_OBJECT}}}
    return {"post": operation}


def _infer(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    content = {
        **_json_content("InferResponse"),
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    operation = _operation(name, "Tensors in, tensors out", content, tuple(_REASONS), parameters)
    operation["description"] = (
        "The Open Inference Protocol: JSON, with the header Inference-Header-Content-Length where binary "
        "tensors follow it."
    )
    operation["requestBody"] = {"required": True, "content": _json_content("InferRequest")}
    return {"post": operation}


def _predict(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    content = {
        **_json_content("PredictResponse"),
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        "image/png": {"schema": {"type": "string", "format": "binary"}},
    }
    options = {
        "conf": (_NUMBER_01, "Lowest score of a detection, exclusive."),
        "iou": (_NUMBER_01, "Overlap above which the worse of two boxes falls."),
        "top_k": (_COUNT, "Number of classes of a classification."),
        "max_det": (_COUNT, "Most detections of a picture."),
        "format": (_FORMAT, "image: the first picture with its answer drawn into it."),
        "id": (_STRING, "Comes back in the answer."),
    }
    queries = [
        {"name": key, "in": "query", "required": False, "schema": schema, "description": text}
        for key, (schema, text) in options.items()
    ]
    operation = _operation(
        name, "Pictures in, answers out", content, tuple(_REASONS), [*parameters, *queries]
    )
    binary = {"schema": {"type": "string", "format": "binary"}}
    operation["requestBody"] = {
        "required": True,
        "content": {
            **_json_content("PredictRequest"),
            "image/jpeg": binary,
            "image/png": binary,
            "image/webp": binary,
            "application/octet-stream": binary,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
        },
    }
    return {"post": operation}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_DATATYPE = {"type": "string", "enum": list(DATATYPES.values())}
_LENGTH = {**_WHOLE, "minimum": 0}
_TENSOR = {"name": _STRING, "datatype": _STRING, "shape": _array(_WHOLE)}

_INPUT = _object(
    {"name": _STRING, "datatype": _DATATYPE, "shape": _array(_LENGTH)},
    data={"type": "array"},
    parameters=_ANY_OBJECT,
)

_SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": _STRING}),
    "Object": _ANY_OBJECT,
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object(
        {"ready": {"type": "boolean"}},
        name=_STRING,
        reload_error=_STRING,
        reload_failed={"type": "boolean"},
        reload_errors={"type": "object", "additionalProperties": _STRING},
    ),
    "ServerMetadata": _object({"name": _STRING, "version": _STRING, "extensions": _array(_STRING)}),
    "ModelMetadata": _object(
        {
            "name": _STRING,
            "versions": _array(_STRING),
            "platform": _STRING,
            "inputs": _array(_object(_TENSOR)),
            "outputs": _array(_object(_TENSOR)),
        },
        reload_error=_STRING,
    ),
    "Statistics": _object({"model_stats": _array(_object({"name": _STRING, "version": _STRING}))}),
    "Index": _array(_object({"name": _STRING, "version": _STRING, "state": _STRING, "reason": _STRING})),
    "InferRequest": _object(
        {"inputs": {**_array(_INPUT), "minItems": 1}},
        id=_STRING,
        parameters=_ANY_OBJECT,
        outputs=_array(_object({"name": _STRING}, parameters=_ANY_OBJECT)),
    ),
    "InferResponse": _object(
        {
            "model_name": _STRING,
            "model_version": _STRING,
            "parameters": _object({"placement": _STRING}),
            "outputs": _array(_object(_TENSOR, data={"type": "array"}, parameters=_ANY_OBJECT)),
        },
        id=_STRING,
    ),
    "PredictRequest": _object(
        {"images": {**_array({**_STRING, "minLength": 1, "contentEncoding": "base64"}), "minItems": 1}},
        conf=_NUMBER_01,
        iou=_NUMBER_01,
        top_k=_COUNT,
        max_det=_COUNT,
        format=_FORMAT,
        id=_STRING,
    ),
    "PredictResponse": _object(
        {
            "model_name": _STRING,
            "model_version": _STRING,
            "results": _array(_ANY_OBJECT),
            "timing_ms": _ANY_OBJECT,
            "placement": _ANY_OBJECT,
        },
        id=_STRING,
    ),
}
