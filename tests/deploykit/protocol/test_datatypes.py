from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from deploykit.protocol.datatypes import checked_count, datatype_of, dtype_of, from_bytes, from_values
from deploykit.protocol.errors import BadRequestError

INTEGERS = [f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)]
NAMES = ["BOOL", *INTEGERS, "FP16", "FP32", "FP64"]
SHAPES = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.sampled_from(NAMES), SHAPES, st.data())
def test_bytes_come_back_as_the_tensor(name: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(st_numpy.arrays(dtype_of(name), shape))
    read = from_bytes("x", name, shape, memoryview(array.tobytes()))
    assert datatype_of(read.dtype) == name
    np.testing.assert_array_equal(read, array)


@given(st.sampled_from([name for name in NAMES if name != "FP16"]), SHAPES, st.booleans(), st.data())
def test_values_come_back_as_the_tensor(
    name: str, shape: tuple[int, ...], nested: bool, data: st.DataObject
) -> None:
    finite = {"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else {}
    elements = st_numpy.from_dtype(dtype_of(name), **finite)
    array = data.draw(st_numpy.arrays(dtype_of(name), shape, elements=elements))
    values = array.tolist() if nested and array.ndim else array.ravel().tolist()
    np.testing.assert_array_equal(from_values("x", name, shape, values), array)


def test_a_tensor_is_a_view_of_its_bytes() -> None:
    content = bytearray(16)
    array = from_bytes("x", "FP32", (2, 2), memoryview(content))
    content[0:4] = np.float32(7).tobytes()
    assert array[0, 0] == 7


@pytest.mark.parametrize(
    "shape", [(-1, 3), (1 << 62, 4), (1 << 200,), (1 << 62, 0, 1 << 62), (0, -1), (1,) * 33]
)
def test_impossible_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadRequestError):
        checked_count(shape)


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_wrong_number_of_bytes(size: int) -> None:
    with pytest.raises(BadRequestError, match=f"wants 12 bytes, found {size}"):
        from_bytes("x", "FP32", (3,), bytes(size))


def test_a_truth_value_is_0_or_1() -> None:
    with pytest.raises(BadRequestError, match="0 or 1"):
        from_bytes("x", "BOOL", (2,), b"\x01\x02")


@pytest.mark.parametrize("name", ["FP8", "float32", "", "fp32"])
def test_unknown_datatypes(name: str) -> None:
    with pytest.raises(BadRequestError, match="datatypes are"):
        dtype_of(name)


@pytest.mark.parametrize("name", ["BYTES", "BF16"])
def test_datatypes_that_are_not_read(name: str) -> None:
    with pytest.raises(BadRequestError, match=name) as refused:
        dtype_of(name)
    assert "predict" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "shape", "values"),
    [
        ("UINT8", (1,), [256]),
        ("UINT8", (1,), [-1]),
        ("INT32", (1,), [1.5]),
        ("INT64", (1,), [1 << 70]),
        ("FP32", (2,), [1.0]),
        ("FP32", (2,), [[1.0], [2.0]]),
        ("FP32", (2, 2), [[1.0, 2.0], [3.0]]),
        ("FP32", (1,), ["1"]),
        ("FP32", (1,), [None]),
        ("FP32", (1,), [True]),
        ("BOOL", (1,), [1]),
        ("FP32", (1,), 1.0),
        ("FP32", (1,), {"a": 1}),
    ],
)
def test_values_that_do_not_fit(name: str, shape: tuple[int, ...], values: object) -> None:
    with pytest.raises(BadRequestError):
        from_values("x", name, shape, values)
