"""Tensors of every datatype through messages and back."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deploykit.protocol.datatypes import datatype_of
from deploykit.protocol.errors import BadRequestError
from deploykit.serve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse
from deploykit.serve.grpc.tensors import read_feeds, requested, write_outputs
from deploykit.serve.grpc.wire import join_response, split_request

DTYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    )
)


def raw_request(feeds: dict[str, np.ndarray]) -> bytes:
    request = ModelInferRequest(raw_input_contents=[array.tobytes() for array in feeds.values()])
    for name, array in feeds.items():
        request.inputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
    return request.SerializeToString()


def typed_request(feeds: dict[str, np.ndarray]) -> bytes:
    request = ModelInferRequest()
    for name, array in feeds.items():
        datatype = datatype_of(array.dtype)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return request.SerializeToString()


def read(data: bytes) -> dict[str, np.ndarray]:
    return asyncio.run(read_feeds(*split_request(data)))


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.ascontiguousarray(found[name]).tobytes() == array.tobytes()


@given(feeds=st.dictionaries(st.text(max_size=9), arrays, min_size=1, max_size=3))
def test_raw_inputs_arrive_bit_by_bit(feeds: dict[str, np.ndarray]) -> None:
    data = raw_request(feeds)
    found = read(data)
    same(found, feeds)
    assert not any(array.flags.owndata for array in found.values()), "views of the message"


@given(feeds=st.dictionaries(st.text(max_size=9), arrays.filter(lambda a: a.dtype != "f2"), max_size=3))
def test_typed_inputs_arrive(feeds: dict[str, np.ndarray]) -> None:
    found = read(typed_request(feeds))
    assert list(found) == list(feeds)
    for name, array in feeds.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@given(outputs=st.dictionaries(st.text(max_size=9), arrays, max_size=3))
def test_outputs_arrive_bit_by_bit(outputs: dict[str, np.ndarray]) -> None:
    head = ModelInferResponse(model_name="m")
    response = ModelInferResponse.FromString(join_response(head, write_outputs(head, outputs)))
    assert [output.name for output in response.outputs] == list(outputs)
    for described, raw, array in zip(
        response.outputs, response.raw_output_contents, outputs.values(), strict=True
    ):
        assert (described.datatype, tuple(described.shape)) == (datatype_of(array.dtype), array.shape)
        assert raw == array.tobytes()


def test_large_typed_inputs_are_read_in_pieces() -> None:
    array = np.arange(200_000, dtype=np.int16).reshape(2, 1000, 100) % 1000
    same(read(typed_request({"x": array})), {"x": array})


@pytest.mark.parametrize(
    ("datatype", "field", "value"),
    [("INT8", "int_contents", 128), ("UINT8", "uint_contents", 256), ("INT16", "int_contents", -40_000)],
)
@pytest.mark.parametrize("count", [1, 100_000])
def test_values_beyond_their_datatype_are_refused(datatype: str, field: str, value: int, count: int) -> None:
    request = ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[count])
    getattr(tensor.contents, field).extend([0] * (count - 1) + [value])
    with pytest.raises(BadRequestError, match=datatype):
        read(request.SerializeToString())


def test_outputs_come_in_the_order_that_is_wanted_and_once() -> None:
    request = ModelInferRequest()
    assert requested(request, ["a", "b"]) == ["a", "b"]
    for name in ("b", "a"):
        request.outputs.add(name=name)
    assert requested(request, ["a", "b"]) == ["b", "a"]
    request.outputs.add(name="a")
    with pytest.raises(BadRequestError, match="'a' is requested twice"):
        requested(request, ["a", "b"])
