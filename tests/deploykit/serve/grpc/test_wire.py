"""Cutting tensors out of messages changes nothing of what the messages say."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from deploykit.protocol.errors import BadRequestError, TooLargeError
from deploykit.serve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from deploykit.serve.grpc.wire import MAX_FIELDS, MAX_HEAD, join_response, join_stream_response, split_request

names = st.text(max_size=20)
parameters = st.dictionaries(
    names,
    st.one_of(
        st.builds(lambda v: {"bool_param": v}, st.booleans()),
        st.builds(lambda v: {"int64_param": v}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda v: {"string_param": v}, names),
        st.builds(lambda v: {"uint64_param": v}, st.integers(0, 2**64 - 1)),
    ),
    max_size=3,
)


@st.composite
def requests(draw: st.DrawFn) -> ModelInferRequest:
    request = ModelInferRequest(model_name=draw(names), model_version=draw(names), id=draw(names))
    for key, value in draw(parameters).items():
        request.parameters[key].MergeFrom(type(request.parameters[key])(**value))
    for _ in range(draw(st.integers(0, 3))):
        request.inputs.add(
            name=draw(names), datatype="FP32", shape=draw(st.lists(st.integers(0, 2**40), max_size=4))
        )
        request.outputs.add(name=draw(names))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=300), max_size=4)))
    return request


def whole(request: ModelInferRequest, raw: list[memoryview]) -> ModelInferRequest:
    """What split_request cut apart, in one piece again."""
    assert not request.raw_input_contents
    joined = ModelInferRequest()
    joined.CopyFrom(request)
    joined.raw_input_contents.extend(bytes(view) for view in raw)
    return joined


@given(request=requests())
def test_split_request_reads_what_protobuf_reads(request: ModelInferRequest) -> None:
    assert whole(*split_request(request.SerializeToString())) == request


@given(first=requests(), second=requests())
def test_concatenated_messages_merge_as_protobuf_merges_them(
    first: ModelInferRequest, second: ModelInferRequest
) -> None:
    data = first.SerializeToString() + second.SerializeToString()
    assert whole(*split_request(data)) == ModelInferRequest.FromString(data)


@given(
    data=st.one_of(st.binary(max_size=200), requests().map(ModelInferRequest.SerializeToString)),
    cut=st.integers(0),
)
def test_any_bytes_are_read_or_refused_as_by_protobuf(data: bytes, cut: int) -> None:
    data = data[: cut % (len(data) + 1)]
    try:
        expected = ModelInferRequest.FromString(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            split_request(data)
        return
    try:
        found = whole(*split_request(data))
    except DecodeError as error:
        assert "Groups" in str(error), "which nobody sends any more"
    else:
        assert found == expected


@given(tag=st.integers(0, 2**35), content=st.binary(max_size=30))
def test_unknown_fields_and_wire_types_are_read_or_refused_as_by_protobuf(tag: int, content: bytes) -> None:
    test_any_bytes_are_read_or_refused_as_by_protobuf.hypothesis.inner_test(
        varint(tag) + content, len(content) + 5
    )


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_tensors_are_views_into_the_bytes() -> None:
    request = ModelInferRequest(model_name="m", raw_input_contents=[bytes(1000), b"x" * 10])
    data = request.SerializeToString()
    _, raw = split_request(data)
    assert [len(view) for view in raw] == [1000, 10]
    assert all(view.obj is data for view in raw)


def test_messages_that_would_blow_up_in_memory_are_refused() -> None:
    with pytest.raises(BadRequestError, match="fields"):
        split_request(b"\x3a\x01z" * (MAX_FIELDS + 1))
    with pytest.raises(TooLargeError, match="raw_input_contents"):
        split_request(ModelInferRequest(model_name="x" * (MAX_HEAD + 1)).SerializeToString())


dtypes = st.sampled_from(["bool", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])


@given(
    head=names.map(lambda name: ModelInferResponse(model_name=name, id=name)),
    kinds=st.lists(st.tuples(dtypes, st.lists(st.integers(0, 5), max_size=3)), max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_join_response_writes_what_protobuf_reads(
    head: ModelInferResponse, kinds: list[tuple[str, list[int]]], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    tensors = [generator.integers(0, 2, shape).astype(dtype) for dtype, shape in kinds]
    tensors = [np.asarray(tensor).T for tensor in tensors]
    expected = ModelInferResponse()
    expected.CopyFrom(head)
    expected.raw_output_contents.extend(tensor.tobytes() for tensor in tensors)
    assert ModelInferResponse.FromString(join_response(head, tensors)) == expected
    stream = ModelStreamInferResponse.FromString(join_stream_response(head, tensors))
    assert stream.infer_response == expected
    assert not stream.error_message
