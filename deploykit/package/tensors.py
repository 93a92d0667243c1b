"""Requests and responses of the Open Inference Protocol: JSON, with binary tensors behind it.

https://github.com/kserve/open-inference-protocol, and Triton's binary tensor extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from deploykit_runtimes.errors import InputError

__all__ = ["DATATYPES", "HEADER_LENGTH", "TensorRequest", "read_request", "write_response"]

HEADER_LENGTH = "Inference-Header-Content-Length"

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""numpy's names and the protocol's."""

_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}


@dataclass(frozen=True, kw_only=True)
class TensorRequest:
    """An inference request.

    Attributes:
        id: Echoed in the response.
        feeds: Tensors by input name; views into the body where they were binary.
        outputs: Which outputs are wanted, and whether in binary; empty: all, by ``binary``.
        binary: Whether outputs that do not say are wanted in binary.
    """

    id: str = ""
    feeds: dict[str, np.ndarray]
    outputs: Mapping[str, bool] = field(default_factory=dict)
    binary: bool = False


def read_request(body: bytes, header_length: str | None = None) -> TensorRequest:
    """Read a request.

    Args:
        body: JSON, and the binary tensors behind it.
        header_length: The header ``Inference-Header-Content-Length``: bytes of JSON; None: all.

    Raises:
        InputError: what does not follow the protocol, sizes that contradict each other included.
    """
    length = _length(header_length, len(body))
    document = _json(body[:length])
    tail = memoryview(body)[length:]
    feeds: dict[str, np.ndarray] = {}
    for tensor in _list(document, "inputs"):
        name = _member(tensor, "name", str)
        if name in feeds:
            raise InputError(f"Input {name!r} comes twice.")
        feeds[name], tail = _tensor(name, tensor, tail)
    if tail:
        raise InputError(f"{len(tail)} bytes follow the last binary tensor.")
    binary = _parameters(document).get("binary_data_output") is True
    wanted = {
        _member(output, "name", str): _parameters(output).get("binary_data", binary) is True
        for output in _list(document, "outputs", required=False)
    }
    return TensorRequest(id=str(document.get("id", "")), feeds=feeds, outputs=wanted, binary=binary)


def write_response(
    model: str, placement: str, request: TensorRequest, outputs: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, str]]:
    """The body and headers that answer a request.

    Args:
        model: Which one answers.
        placement: What ran where, told in the response's ``parameters``.
        request: What was asked.
        outputs: All of the model's, by name.

    Raises:
        InputError: an output is wanted that the model does not have, or a value has no JSON.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary)
    unknown = [name for name in wanted if name not in outputs]
    if unknown:
        raise InputError(f"The model's outputs are {', '.join(outputs)}, wanted {unknown[0]!r}.")
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, binary in wanted.items():
        array = np.ascontiguousarray(outputs[name])
        entry: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[array.dtype.name],
            "shape": list(outputs[name].shape),
        }
        if binary:
            tail.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": described}
    document["parameters"] = {"placement": placement}
    if request.id:
        document["id"] = request.id
    head = _as_json(document)
    if not tail:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join((head, *tail)), headers


def _as_json(document: object) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode()
    except ValueError as error:
        raise InputError(
            "An output holds NaN or infinity, which JSON has no form for.",
            hint="Ask for binary outputs: parameters binary_data_output: true.",
        ) from error


def _length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdecimal() and len(header) < 16 and 0 < int(header) <= size):
        raise InputError(f"{HEADER_LENGTH} wants 1 to {size}, the bytes of the body; found {header[:32]!r}.")
    return int(header)


def _json(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The request is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InputError(f"The request is a JSON {type(document).__name__}, wanted an object.")
    return document


def _list(document: dict[str, Any], name: str, *, required: bool = True) -> list[dict[str, Any]]:
    entries = document.get(name, None if required else [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{name!r} wants a list of objects, found {_short(entries)}.")
    return entries


def _member(entry: dict[str, Any], name: str, kind: type) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind):
        raise InputError(f"{name!r} wants a {kind.__name__}, found {_short(value)}.")
    return value


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InputError(f"'parameters' wants an object, found {_short(parameters)}.")
    return parameters


def _tensor(name: str, entry: dict[str, Any], tail: memoryview) -> tuple[np.ndarray, memoryview]:
    """One tensor, and what is left of the binary part."""
    datatype = _member(entry, "datatype", str)
    if datatype not in _DTYPES:
        raise InputError(
            f"Input {name!r} has the datatype {datatype[:32]!r}; known are {', '.join(_DTYPES)}."
        )
    dtype = _DTYPES[datatype]
    shape = _member(entry, "shape", list)
    if len(shape) > 16 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise InputError(f"The shape of input {name!r} wants whole numbers, found {_short(shape)}.")
    count = math.prod(shape)
    size = _parameters(entry).get("binary_data_size")
    if size is None:
        return _from_json(name, entry.get("data"), dtype, count).reshape(shape), tail
    if type(size) is not int or size != count * dtype.itemsize or size > len(tail):
        raise InputError(
            f"Input {name!r} is {datatype} {shape}, {count * dtype.itemsize} bytes; found binary_data_size "
            f"{_short(size)} and {len(tail)} bytes."
        )
    return np.frombuffer(tail[:size], dtype).reshape(shape), tail[size:]


def _from_json(name: str, data: object, dtype: np.dtype[Any], count: int) -> np.ndarray:
    if not isinstance(data, list):
        raise InputError(f"The data of input {name!r} wants a list, found {_short(data)}.")
    if dtype == np.float16:
        raise InputError(f"Input {name!r} is FP16, which has no form in JSON.", hint="Send it in binary.")
    try:
        array = np.asarray(data)
        if array.dtype.kind not in "biuf" and array.size:
            raise InputError(f"The data of input {name!r} are not numbers, or nested unevenly.")
        with np.errstate(over="raise", invalid="raise"):
            converted = array.astype(dtype, casting="same_kind" if array.dtype.kind == "f" else "unsafe")
        if array.dtype.kind in "iu" and dtype.kind in "iu" and not np.array_equal(converted, array):
            raise InputError(f"The data of input {name!r} go beyond {dtype.name}.")
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        raise InputError(f"The data of input {name!r} cannot be read as {dtype.name}: {error}.") from error
    if array.size != count:
        raise InputError(f"Input {name!r} has {array.size} values, its shape wants {count}.")
    return converted


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:61]}..."
