"""Tensors of a ModelInferRequest as arrays, and arrays as tensors of a ModelInferResponse."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from deploykit.protocol.datatypes import (
    check_output_datatype,
    checked_count,
    datatype_of,
    dtype_of,
    from_bytes,
)
from deploykit.protocol.errors import BadRequestError, UnsupportedError
from deploykit.serve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse

__all__ = ["check_datatypes", "read_feeds", "requested", "write_outputs"]

_CONTENTS = {
    "BOOL": ("bool_contents", "bool"),
    "INT8": ("int_contents", "int32"),
    "INT16": ("int_contents", "int32"),
    "INT32": ("int_contents", "int32"),
    "INT64": ("int64_contents", "int64"),
    "UINT8": ("uint_contents", "uint32"),
    "UINT16": ("uint_contents", "uint32"),
    "UINT32": ("uint_contents", "uint32"),
    "UINT64": ("uint64_contents", "uint64"),
    "FP32": ("fp32_contents", "float32"),
    "FP64": ("fp64_contents", "float64"),
}
"""The field of a datatype's typed contents, and the dtype of its values."""

_CHUNK = 1 << 16
"""Elements that are converted at a time: numpy holds the interpreter lock meanwhile."""


async def read_feeds(request: ModelInferRequest, raw: Sequence[memoryview]) -> dict[str, np.ndarray]:
    """The inputs by name: views of raw contents, or copies of typed ones.

    Raises:
        BadRequestError: raw and typed contents are mixed, or sizes, shapes and datatypes disagree.
        UnsupportedError: a tensor lies in shared memory.
    """
    if raw and len(raw) != len(request.inputs):
        raise BadRequestError(
            f"raw_input_contents wants one entry for each of {len(request.inputs)} inputs, found {len(raw)}."
        )
    feeds: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in feeds:
            raise BadRequestError(f"Input {tensor.name!r} comes twice.")
        if "shared_memory_region" in tensor.parameters:
            raise UnsupportedError(
                f"Input {tensor.name!r} lies in shared memory, which this server does not read."
            )
        if not raw:
            feeds[tensor.name] = await _typed(tensor)
        elif tensor.contents.ByteSize():
            raise BadRequestError(f"Input {tensor.name!r} has typed contents beside raw_input_contents.")
        else:
            feeds[tensor.name] = from_bytes(tensor.name, tensor.datatype, tuple(tensor.shape), raw[index])
    return feeds


async def _typed(tensor: ModelInferRequest.InferInputTensor) -> np.ndarray:
    dtype, shape = dtype_of(tensor.datatype), tuple(tensor.shape)
    field, _ = _CONTENTS.get(tensor.datatype, (None, None))
    if field is None:
        raise BadRequestError(
            f"Input {tensor.name!r} is {tensor.datatype}, which has no typed contents.",
            hint="Send it in raw_input_contents.",
        )
    others = [given.name for given, _ in tensor.contents.ListFields() if given.name != field]
    if others:
        raise BadRequestError(
            f"Input {tensor.name!r} is {tensor.datatype} and wants {field}, found {others[0]}."
        )
    wanted, found = checked_count(shape), len(getattr(tensor.contents, field))
    if wanted != found:
        raise BadRequestError(
            f"Input {tensor.name!r} {tensor.datatype} {list(shape)} wants {wanted} values, found {found}."
        )
    array = np.empty(shape, dtype)
    if found <= _CHUNK:
        _fill(array, tensor)
    else:
        await asyncio.to_thread(_fill, array, tensor)
    return array


def _fill(array: np.ndarray, tensor: ModelInferRequest.InferInputTensor) -> None:
    """Copy typed contents into an array, checking that they fit its datatype."""
    field, dtype = _CONTENTS[tensor.datatype]
    flat, values = array.reshape(-1), getattr(tensor.contents, field)
    for start in range(0, flat.size, _CHUNK):
        chunk = np.array(values[start : start + _CHUNK], dtype)
        if not _fits(chunk, flat.dtype):
            raise BadRequestError(f"Input {tensor.name!r} holds values that are not {tensor.datatype}.")
        flat[start : start + len(chunk)] = chunk


def _fits(values: np.ndarray, dtype: np.dtype) -> bool:
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return int(values.min()) >= limits.min and int(values.max()) <= limits.max


def check_datatypes(request: ModelInferRequest, outputs: Mapping[str, str]) -> None:
    """Refuse outputs requested in another datatype than the model's, as some clients do.

    Args:
        request: The request.
        outputs: The datatype of each of the model's.

    Raises:
        BadRequestError: a requested datatype differs.
    """
    for wanted in request.outputs:
        if "datatype" in wanted.parameters:
            given = wanted.parameters["datatype"].string_param
            check_output_datatype(wanted.name, given, outputs[wanted.name])


def requested(request: ModelInferRequest, outputs: Sequence[str]) -> list[str]:
    """The outputs that the request names, in its order; all outputs of the model if it names none.

    Raises:
        BadRequestError: the model has no such output, or it is named twice.
        UnsupportedError: an output is requested in a form other than a tensor.
    """
    names: list[str] = []
    for wanted in request.outputs:
        if wanted.name not in outputs:
            raise BadRequestError(f"The model has the outputs {list(outputs)}, found {wanted.name!r}.")
        if wanted.name in names:
            raise BadRequestError(f"Output {wanted.name!r} is requested twice.")
        names.append(wanted.name)
        for extension in ("classification", "shared_memory_region"):
            if extension in wanted.parameters:
                raise UnsupportedError(
                    f"This server does not support {extension!r} of outputs: take the tensor."
                )
    return names or list(outputs)


def write_outputs(response: ModelInferResponse, outputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Describe the outputs in the response; returns the arrays of its raw contents."""
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
    return list(outputs.values())
