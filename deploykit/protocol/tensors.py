"""Requests and responses of ``infer``: JSON, with binary tensors after it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
Triton's binary tensor extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from deploykit_runtimes.contract.tensors import TensorInfo

from deploykit.protocol.datatypes import (
    check_output_datatype,
    checked_count,
    datatype_of,
    dtype_of,
    from_bytes,
    from_values,
)
from deploykit.protocol.documents import json_bytes, json_object
from deploykit.protocol.errors import BadRequestError, UnsupportedError
from deploykit.protocol.responses import Response

__all__ = ["HEADER_LENGTH", "InferRequest", "read_request", "write_response"]

HEADER_LENGTH = "inference-header-content-length"

_MAX_TENSORS = 64


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """An inference request.

    Attributes:
        id: Echoed in the response; None if the request has none.
        feeds: Tensors by name, views into the body where they were binary.
        outputs: For each requested output, whether in binary; empty: all outputs, as ``binary`` says.
        datatypes: The requested datatypes of outputs, if the request gives any.
        binary: Whether outputs are returned in binary unless they say otherwise.
        timeout: Seconds after which the answer is no longer needed.
    """

    id: str | None = None
    feeds: Mapping[str, np.ndarray]
    outputs: Mapping[str, bool] = field(default_factory=dict)
    datatypes: Mapping[str, str] = field(default_factory=dict)
    binary: bool = False
    timeout: float | None = None


def read_request(
    body: bytes | memoryview, header_length: str | None, inputs: Sequence[TensorInfo]
) -> InferRequest:
    """Read a request.

    Args:
        body: JSON, and the binary tensors after it.
        header_length: ``Inference-Header-Content-Length``: bytes of JSON; None: all; 0: none, the body is the
            model's only input.
        inputs: The model's inputs, for a body without JSON.

    Raises:
        BadRequestError: the request does not follow the protocol, or sizes contradict each other.
        UnsupportedError: it asks for a part of the protocol that is not implemented here.
    """
    length = _length(header_length, len(body))
    if header_length is not None and not length:
        return InferRequest(feeds=_bare(body, inputs), binary=True)
    document = json_object(body[:length] if length < len(body) else body)
    tail = memoryview(body)[length:]
    feeds: dict[str, np.ndarray] = {}
    tensors = _list(document, "inputs", required=True)
    if not tensors:
        raise BadRequestError("inputs wants at least one tensor, found none.")
    for tensor in tensors:
        name = _member(tensor, "name", str)
        if name in feeds:
            raise BadRequestError(f"Input {name[:64]!r} comes twice.")
        feeds[name], tail = _tensor(name, tensor, tail)
    if tail:
        raise BadRequestError(f"{len(tail)} bytes follow the last binary tensor.")
    parameters = _parameters(document)
    binary = parameters.get("binary_data_output") is True
    given = document.get("id")
    if given is not None and not isinstance(given, str):
        raise BadRequestError("The id wants a string.")
    return InferRequest(
        id=given,
        feeds=feeds,
        outputs=_wanted(document, binary),
        datatypes=_wanted_datatypes(document),
        binary=binary,
        timeout=_timeout(parameters.get("timeout")),
    )


def write_response(
    model: str, version: str, placement: str, request: InferRequest, outputs: Mapping[str, np.ndarray]
) -> Response:
    """The answer to a request.

    Args:
        model, version: The model that answers, and its version.
        placement: What ran where, for the response's ``parameters``.
        request: The request.
        outputs: All outputs of the model, by name.

    Raises:
        BadRequestError: a requested output does not exist, or has another datatype, or a value cannot be
            represented in JSON.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary)
    described: list[dict[str, Any]] = []
    tail: list[memoryview | bytes] = []
    for name, binary in wanted.items():
        output = outputs.get(name)
        if output is None:
            raise BadRequestError(f"The model's outputs are {', '.join(outputs)}, wanted {name[:64]!r}.")
        datatype = datatype_of(output.dtype)
        check_output_datatype(name, request.datatypes.get(name, datatype), datatype)
        entry: dict[str, Any] = {"name": name, "shape": list(output.shape), "datatype": datatype}
        if binary:
            content = np.ascontiguousarray(output).reshape(-1).view(np.uint8)
            entry["parameters"] = {"binary_data_size": content.nbytes}
            tail.append(content.data if content.size else b"")
        else:
            entry["data"] = _values(name, output)
        described.append(entry)
    head: dict[str, Any] = {
        "model_name": model,
        "model_version": version,
        "parameters": {"placement": placement},
        "outputs": described,
    }
    if request.id is not None:
        head["id"] = request.id
    document = json_bytes(head)
    if not tail:
        return Response(body=document)
    return Response(
        body=b"".join([document, *tail]),
        content_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(len(document))},
    )


def _values(name: str, output: np.ndarray) -> list[Any]:
    if output.dtype.kind == "f" and output.size and not math.isfinite(float(np.abs(output).max())):
        raise BadRequestError(
            f"The output {name} holds NaN or infinity, which JSON cannot represent.",
            hint="Ask for it in binary.",
        )
    values: list[Any] = output.ravel().tolist()
    return values


def _length(header_length: str | None, size: int) -> int:
    """The number of bytes of JSON."""
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdecimal() and len(header_length) < 20):
        raise BadRequestError(
            f"Inference-Header-Content-Length wants a number, found {header_length[:32]!r}."
        )
    if int(header_length) > size:
        raise BadRequestError(
            f"Inference-Header-Content-Length is {header_length}, but the body has {size} bytes."
        )
    return int(header_length)


def _bare(body: bytes | memoryview, inputs: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """A body that is the model's only input: one row, with at most one axis of unknown length."""
    if len(inputs) != 1:
        raise BadRequestError(f"A body without JSON wants a model with one input, found {len(inputs)}.")
    (info,) = inputs
    shape = [1 if not axis and isinstance(n, str) else n for axis, n in enumerate(info.shape)]
    free = [axis for axis, n in enumerate(shape) if isinstance(n, str)]
    if len(free) > 1:
        raise BadRequestError(f"The input {info} has {len(free)} free axes: give its shape in JSON.")
    datatype = datatype_of(info.dtype)
    if free:
        row = math.prod(n for n in shape if isinstance(n, int)) * dtype_of(datatype).itemsize
        shape[free[0]] = len(body) // row
    sizes = [int(n) for n in shape]
    return {info.name: from_bytes(info.name, datatype, sizes, body)}


def _tensor(name: str, tensor: dict[str, Any], tail: memoryview) -> tuple[np.ndarray, memoryview]:
    datatype = _member(tensor, "datatype", str)
    shape = _member(tensor, "shape", list)
    if not all(type(n) is int for n in shape):
        raise BadRequestError(f"The shape of input {name[:64]!r} wants whole numbers.")
    checked_count(shape)
    parameters = _parameters(tensor)
    if "shared_memory_region" in parameters:
        raise UnsupportedError(f"Input {name[:64]!r} lies in shared memory, which this server does not read.")
    size = parameters.get("binary_data_size")
    if size is None:
        return from_values(name, datatype, shape, _member(tensor, "data", list)), tail
    if "data" in tensor:
        raise BadRequestError(f"Input {name[:64]!r} has both data and binary_data_size.")
    if type(size) is not int or not 0 <= size <= len(tail):
        raise BadRequestError(
            f"The binary_data_size of input {name[:64]!r} is {str(size)[:32]}, "
            f"but {len(tail)} bytes are left."
        )
    return from_bytes(name, datatype, shape, tail[:size]), tail[size:]


def _wanted(document: dict[str, Any], binary: bool) -> dict[str, bool]:
    wanted: dict[str, bool] = {}
    for output in _list(document, "outputs", required=False):
        parameters = _parameters(output)
        if "classification" in parameters:
            raise UnsupportedError(
                "The parameter classification is not supported here.", hint="Call predict."
            )
        if "shared_memory_region" in parameters:
            raise UnsupportedError("Outputs cannot be written to shared memory here.")
        name = _member(output, "name", str)
        if name in wanted:
            raise BadRequestError(f"Output {name[:64]!r} is requested twice.")
        wanted[name] = parameters.get("binary_data", binary) is True
    return wanted


def _wanted_datatypes(document: dict[str, Any]) -> dict[str, str]:
    """Requested datatypes by output; the protocol has no such member, but some clients send one."""
    wanted: dict[str, str] = {}
    for output in _list(document, "outputs", required=False):
        for members in (output, _parameters(output)):
            if "datatype" in members:
                datatype = _member(members, "datatype", str)
                dtype_of(datatype)
                wanted[output["name"]] = datatype
    return wanted


def _timeout(microseconds: Any) -> float | None:
    if microseconds is None:
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise BadRequestError(f"The timeout wants microseconds, found {str(microseconds)[:32]!r}.")
    return microseconds / 1e6 if microseconds else None


def _list(document: dict[str, Any], key: str, *, required: bool) -> list[dict[str, Any]]:
    entries = document.get(key)
    if entries is None and not required:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequestError(f"{key} wants a list of objects.")
    if len(entries) > _MAX_TENSORS:
        raise BadRequestError(f"{key} has at most {_MAX_TENSORS} entries, found {len(entries)}.")
    return entries


def _member(entry: dict[str, Any], key: str, kind: type) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind):
        raise BadRequestError(f"An input or output wants {key!r} as a {kind.__name__}.")
    return value


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequestError("parameters wants an object.")
    return parameters
