"""The text format, read back by protobuf."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from deploykit.package.pbtxt import Constant, to_pbtxt

model_config_pb2 = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed"
)


@given(
    name=st.text(st.characters(codec="utf-8")),
    dims=st.lists(st.integers(-1, 1 << 40), max_size=5),
    flag=st.booleans(),
)
def test_what_is_written_is_read(name: str, dims: list[int], flag: bool) -> None:
    text = to_pbtxt(
        [
            ("name", name),
            ("max_batch_size", 7),
            ("input", [("name", "a"), ("dims", tuple(dims)), ("optional", flag)]),
            ("input", [("name", "b"), ("data_type", Constant("TYPE_FP16"))]),
        ]
    )
    assert text.isascii()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, config.max_batch_size) == (name, 7)
    assert [(each.name, list(each.dims), each.optional) for each in config.input] == [
        ("a", dims, flag),
        ("b", [], False),
    ]
    assert config.input[1].data_type == model_config_pb2.TYPE_FP16
