from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.contract.tensors import TensorInfo
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from deploykit.protocol.datatypes import datatype_of
from deploykit.protocol.errors import BadRequestError, RequestError
from deploykit.protocol.tensors import InferRequest, read_request, write_response

DTYPES = ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"]
SHAPES = st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
IMAGES = TensorInfo(name="images", dtype="float32", shape=("batch", 3, 2, 2))


def described(array: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype_of(array.dtype), "shape": list(array.shape), **more}


def binary(document: dict[str, Any], *tensors: bytes) -> tuple[bytes, str]:
    head = json.dumps(document).encode()
    return head + b"".join(tensors), str(len(head))


@given(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4), st.data())
def test_binary_tensors_come_back(dtypes: list[str], data: st.DataObject) -> None:
    arrays = [data.draw(st_numpy.arrays(dtype, SHAPES)) for dtype in dtypes]
    inputs = [
        described(array) | {"name": f"x{n}", "parameters": {"binary_data_size": array.nbytes}}
        for n, array in enumerate(arrays)
    ]
    body, length = binary({"inputs": inputs}, *(array.tobytes() for array in arrays))
    request = read_request(body, length, ())
    for array, read in zip(arrays, request.feeds.values(), strict=True):
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype


@given(st_numpy.arrays(st.sampled_from(["float32", "uint8", "int64", "bool"]), SHAPES), st.booleans())
def test_what_is_written_can_be_read(array: np.ndarray, as_binary: bool) -> None:
    array = np.nan_to_num(array)
    asked = InferRequest(feeds={}, id="7", binary=as_binary)
    response = write_response("m", "3", "cpu", asked, {"y": array})
    body = response.body
    assert response.content_type == ("application/octet-stream" if as_binary else "application/json")
    size = int(response.headers.get("Inference-Header-Content-Length", len(body)))
    document = json.loads(body[:size])
    assert (document["model_name"], document["model_version"], document["id"]) == ("m", "3", "7")
    assert document["parameters"] == {"placement": "cpu"}
    (output,) = document["outputs"]
    assert (output["shape"], output["datatype"]) == (list(array.shape), datatype_of(array.dtype))
    assert ("data" in output) is not as_binary
    back = body[size:] if as_binary else np.array(output["data"], array.dtype).tobytes()
    assert back == array.tobytes()


def test_a_binary_tensor_is_not_copied() -> None:
    array = np.arange(6, dtype=np.float32)
    entry = described(array, parameters={"binary_data_size": 24})
    body, length = binary({"inputs": [entry]}, array.tobytes())
    read = read_request(body, length, ()).feeds["x"]
    assert not read.flags.owndata
    assert not read.flags.writeable


def test_binary_and_json_may_be_mixed_and_outputs_chosen() -> None:
    small = {"name": "conf", "datatype": "FP32", "shape": [], "data": [0.5]}
    array = np.ones((1, 2), np.float32)
    large = described(array, parameters={"binary_data_size": 8})
    wanted = [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}]
    body, length = binary({"inputs": [small, large], "outputs": wanted, "id": "é"}, array.tobytes())
    request = read_request(body, length, ())
    assert request.feeds["conf"] == np.float32(0.5)
    assert request.outputs == {"a": True, "b": False}
    assert request.id == "é"
    response = write_response("m", "1", "cpu", request, {"a": array, "b": array, "c": array})
    head = response.body[: int(response.headers["Inference-Header-Content-Length"])]
    outputs = json.loads(head)["outputs"]
    assert [(entry["name"], "data" in entry) for entry in outputs] == [("a", False), ("b", True)]


def test_an_output_s_own_word_counts_more_than_the_request_s() -> None:
    document = {
        "inputs": [described(np.zeros(1), data=[0.0])],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
    }
    assert read_request(json.dumps(document).encode(), None, ()).outputs == {"a": True, "b": False}


def test_a_bare_body_is_the_only_input() -> None:
    array = np.arange(12, dtype=np.float32)
    request = read_request(array.tobytes(), "0", [IMAGES])
    assert request.feeds["images"].shape == (1, 3, 2, 2)
    assert request.binary
    free = TensorInfo(name="images", dtype="uint8", shape=("batch", "height", 2, 3))
    assert read_request(bytes(30), "0", [free]).feeds["images"].shape == (1, 5, 2, 3)


@pytest.mark.parametrize(
    "inputs",
    [
        [IMAGES, IMAGES],
        [TensorInfo(name="images", dtype="uint8", shape=("batch", "height", "width", 3))],
        [TensorInfo(name="images", dtype="float32", shape=(1, 3, 3, 3))],
    ],
)
def test_bare_bodies_that_say_too_little(inputs: list[TensorInfo]) -> None:
    with pytest.raises(BadRequestError):
        read_request(bytes(48), "0", inputs)


FOUR = {"name": "x", "datatype": "FP32", "shape": [1]}


@pytest.mark.parametrize(
    ("document", "tail"),
    [
        ([], b""),
        ({}, b""),
        ({"inputs": {}}, b""),
        ({"inputs": [1]}, b""),
        ({"inputs": [{}]}, b""),
        ({"inputs": [FOUR]}, b""),
        ({"inputs": [{**FOUR, "shape": [1.0], "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "shape": [True], "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "shape": [-1], "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "shape": [1 << 62, 1 << 62], "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "data": [1]}, {**FOUR, "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "parameters": 3, "data": [1]}]}, b""),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": 4}}]}, b"123"),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": 4}}]}, b"12345"),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": 8}}]}, b"12345678"),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": -4}}]}, b"1234"),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": "4"}}]}, b"1234"),
        ({"inputs": [{**FOUR, "parameters": {"binary_data_size": 4}, "data": [1]}]}, b"1234"),
        ({"inputs": [{**FOUR, "parameters": {"shared_memory_region": "r"}}]}, b""),
        ({"inputs": [{**FOUR, "datatype": "BYTES", "data": ["a"]}]}, b""),
        ({"inputs": [], "id": 3}, b""),
        ({"inputs": [], "outputs": [{}]}, b""),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, b""),
        ({"inputs": [], "parameters": {"timeout": "soon"}}, b""),
        ({"inputs": [{"name": f"x{n}"} for n in range(65)]}, b""),
    ],
)
def test_requests_that_contradict_themselves(document: Any, tail: bytes) -> None:
    body, length = binary(document, tail)
    with pytest.raises(RequestError) as refused:
        read_request(body, length, ())
    assert refused.value.status in (400, 501)


@pytest.mark.parametrize("length", ["", "-1", "1.5", "\u0661", "99", "1" * 30, "+2", " 2"])
def test_header_lengths_that_are_none(length: str) -> None:
    with pytest.raises(BadRequestError):
        read_request(b'{"inputs": []}', length, ())


@given(st.binary(max_size=200), st.none() | st.integers(0, 250).map(str))
def test_any_bytes_are_read_or_refused(body: bytes, length: str | None) -> None:
    try:
        read_request(body, length, [IMAGES])
    except RequestError as refused:
        assert refused.status in (400, 501)


def test_deep_nesting_is_refused() -> None:
    deep = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(BadRequestError):
        read_request(deep, None, ())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_json_has_not_is_sent_in_binary_only(value: float) -> None:
    outputs = {"y": np.array([1, value], np.float32)}
    with pytest.raises(BadRequestError, match="binary"):
        write_response("m", "1", "cpu", InferRequest(feeds={}), outputs)
    response = write_response("m", "1", "cpu", InferRequest(feeds={}, binary=True), outputs)
    assert response.body.endswith(outputs["y"].tobytes())


def test_an_output_is_wanted_once() -> None:
    document = {"inputs": [described(np.zeros(1), data=[0.0])], "outputs": [{"name": "y"}, {"name": "y"}]}
    with pytest.raises(BadRequestError, match="'y' is requested twice"):
        read_request(json.dumps(document).encode(), None, ())


def test_inputs_are_not_empty() -> None:
    with pytest.raises(BadRequestError, match="at least one tensor"):
        read_request(b'{"inputs": []}', None, ())


def test_unknown_outputs_are_named() -> None:
    with pytest.raises(BadRequestError, match="outputs are y, wanted 'z'"):
        write_response("m", "1", "cpu", InferRequest(feeds={}, outputs={"z": True}), {"y": np.zeros(1)})
