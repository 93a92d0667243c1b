"""Tensors of the Open Inference Protocol and numpy's: names, sizes, bytes and JSON values.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from deploykit.protocol.errors import BadRequestError, UnsupportedError

__all__ = [
    "DATATYPES",
    "check_output_datatype",
    "checked_count",
    "datatype_of",
    "dtype_of",
    "from_bytes",
    "from_values",
]

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
"""numpy's names of what is read here, and the protocol's."""

_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}

_MAX_COUNT = sys.maxsize // 8
_MAX_AXES = 32


@cache
def datatype_of(dtype: np.dtype | str) -> str:
    """The protocol's name for a numpy dtype: ``FP32`` for float32.

    Raises:
        UnsupportedError: the protocol has no name for it.
    """
    name = DATATYPES.get(np.dtype(dtype).name)
    if name is None:
        raise UnsupportedError(f"Tensors of {dtype} have no datatype in the protocol.")
    return name


def dtype_of(datatype: str) -> np.dtype:
    """The numpy dtype, little-endian, for a name of the protocol.

    Raises:
        BadRequestError: there is no such datatype, or it is BYTES or BF16, which no model here uses.
    """
    if datatype in ("BYTES", "BF16"):
        raise BadRequestError(
            f"No model here has tensors of {datatype}.",
            hint="The datatypes are in the model's metadata; send picture files to `predict`.",
        )
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise BadRequestError(f"The datatypes are {', '.join(_DTYPES)}, found {datatype[:32]!r}.")
    return dtype


def check_output_datatype(name: str, wanted: str, has: str) -> None:
    """Refuse an output requested in another datatype than the model's; outputs are not converted.

    Raises:
        BadRequestError: the datatypes differ.
    """
    if wanted != has:
        dtype_of(wanted)
        raise BadRequestError(f"The output {name[:64]!r} is {has}, wanted {wanted}.")


def checked_count(shape: Sequence[int]) -> int:
    """The number of elements of a shape that a client declares.

    Raises:
        BadRequestError: an axis is negative, or their product is beyond any memory.
    """
    if len(shape) > _MAX_AXES:
        raise BadRequestError(f"A shape has at most {_MAX_AXES} axes, found {len(shape)}.")
    count = span = 1
    for n in shape:
        if n < 0:
            raise BadRequestError(f"A shape has no negative axes, found {list(shape)}.")
        count *= n
        span *= max(n, 1)  # numpy refuses huge axes beside a zero too
    if span > _MAX_COUNT:
        raise BadRequestError("A shape is larger than any memory.")
    return count


def from_bytes(name: str, datatype: str, shape: Sequence[int], content: memoryview | bytes) -> np.ndarray:
    """A tensor that views the bytes of a request, without a copy; read-only if the bytes are.

    Raises:
        BadRequestError: shape, datatype and number of bytes contradict each other.
    """
    dtype = dtype_of(datatype)
    wanted = checked_count(shape) * dtype.itemsize
    if len(content) != wanted:
        raise BadRequestError(
            f"Input {name[:64]!r} {datatype} {list(shape)} wants {wanted} bytes, found {len(content)}."
        )
    array = np.frombuffer(content, dtype).reshape(shape)
    if datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise BadRequestError(f"Input {name[:64]!r} is BOOL, whose bytes are 0 or 1.")
    return array


def from_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> np.ndarray:
    """A tensor from JSON numbers in row-major order, flat or nested like its shape.

    Raises:
        BadRequestError: shape, datatype and values contradict each other, or the datatype is FP16.
    """
    dtype = dtype_of(datatype)
    if datatype == "FP16":
        raise BadRequestError("FP16 has no form in JSON.", hint="Send it as a binary tensor.")
    count = checked_count(shape)
    if not isinstance(values, list):
        raise BadRequestError(f"Input {name[:64]!r} wants a list as its data, found {type(values).__name__}.")
    try:
        given = np.array(values)
        if given.dtype.kind == "f" and dtype == np.uint64:
            given = _unsigned(values, given)
    except (ValueError, OverflowError) as error:
        raise BadRequestError(f"The data of input {name[:64]!r} is not a regular list of numbers.") from error
    if not given.size:
        given = given.astype(dtype)
    nested = given.size and given.ndim > 1
    if given.size != count or (nested and given.shape != tuple(shape)):
        raise BadRequestError(
            f"Input {name[:64]!r} {list(shape)} wants {count} values, found {list(given.shape)}."
        )
    return _cast(name, datatype, given, dtype).reshape(shape)


def _unsigned(values: Any, given: np.ndarray) -> np.ndarray:
    """Whole numbers above 2^63 mixed with smaller ones, which numpy would turn into floats."""
    exact = np.array(values, object)
    whole = all(type(value) is int for value in exact.flat)
    return exact.astype(np.uint64) if whole and exact.shape == given.shape else given


def _cast(name: str, datatype: str, given: np.ndarray, dtype: np.dtype) -> np.ndarray:
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if given.dtype.kind not in kinds:
        raise BadRequestError(f"Input {name[:64]!r} is {datatype}, found values of {given.dtype}.")
    if dtype.kind in "iu" and given.size:
        limits = np.iinfo(dtype)
        if int(given.min()) < limits.min or int(given.max()) > limits.max:
            raise BadRequestError(f"Input {name[:64]!r} holds values that are not {datatype}.")
    with np.errstate(over="ignore"):
        return given.astype(dtype)
