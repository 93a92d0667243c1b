"""Stored tensors: their shapes, and the values of those of 8 bits however they are stored."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from deploykit_runtimes.onnx.stored import INT8, UINT8, encode_stored, read_stored
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

VALUES = st.lists(st.integers(-128, 127), max_size=40)


@given(values=VALUES, raw=st.booleans())
def test_values_are_read_as_they_are_stored(values: list[int], raw: bool) -> None:
    array = np.array(values, np.int8)
    tensor = numpy_helper.from_array(array, "t")
    if not raw:
        tensor = helper.make_tensor("t", TensorProto.INT8, array.shape, values)
    found = read_stored(3, memoryview(tensor.SerializeToString()))
    assert (found.place, found.name, found.shape, found.dtype) == (3, "t", (len(values),), INT8)
    assert bytes(found.bytes()) == array.tobytes()


@given(values=VALUES)
def test_what_is_encoded_is_read_by_onnx(values: list[int]) -> None:
    array = np.array(values, np.int8).astype(np.uint8)
    tensor = onnx.TensorProto.FromString(encode_stored("t", array.shape, UINT8, array.tobytes()))
    assert tensor.name == "t"
    assert np.array_equal(numpy_helper.to_array(tensor), array)


@pytest.mark.parametrize("damage", ["short", "beside", "other type"])
def test_values_that_are_not_all_here(damage: str) -> None:
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.int8), "t")
    if damage == "short":
        tensor.dims[0] = 7
    elif damage == "beside":
        tensor.data_location = TensorProto.EXTERNAL
    else:
        tensor.data_type = TensorProto.INT4
    found = read_stored(0, memoryview(tensor.SerializeToString()))
    assert found.bytes() == b""
    assert found.beside == (damage == "beside")
