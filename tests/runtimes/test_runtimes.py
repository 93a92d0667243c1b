"""What users call engines and devices, and what is suggested for it."""

from __future__ import annotations

import pytest
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runtimes import available_runtimes, canonical_runtime, meant_runtime, short_names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tensorrt", "trt or ort-trt"),
        ("TensorRT", "trt or ort-trt"),
        ("TensorrtExecutionProvider", "trt or ort-trt"),
        ("tensorrt-rtx", "trt-rtx"),
        ("onnxruntime", "ort-cpu"),
        ("onnx", "ort-cpu"),
        ("cpu", "ort-cpu"),
        ("gpu", "ort-cuda"),
        ("cuda", "ort-cuda"),
        ("cuda:0", "ort-cuda"),
        ("onnxruntime_gpu", "ort-cuda"),
        ("CUDAExecutionProvider", "ort-cuda"),
        ("OpenVINO", "ov-cpu"),
        ("openvino-gpu", "ov-gpu"),
        ("npu", "ov-npu"),
        ("ort-cdua", "ort-cuda or ort-cpu"),
    ],
)
def test_other_names_are_told(name: str, meant: str) -> None:
    with pytest.raises(OptionError) as caught:
        canonical_runtime(name)
    assert caught.value.hint == f"Did you mean {meant}?"


def test_what_is_suggested_is_taken() -> None:
    for name in ("tensorrt", "gpu", "cpu", "npu", "intel", "rtx", *short_names()):
        for one in meant_runtime(name, available_runtimes()).removeprefix("Did you mean ").split(" or "):
            assert canonical_runtime(one.rstrip("?")) in available_runtimes()


def test_only_what_builds_is_suggested_for_a_build() -> None:
    with pytest.raises(OptionError) as caught:
        build_engine("none.onnx", runtime="tensorrt")
    assert caught.value.hint == "Did you mean trt or ort-trt?"
    with pytest.raises(OptionError) as caught:
        build_engine("none.onnx", runtime="onnxruntime")
    assert caught.value.hint == ""
    with pytest.raises(OptionError, match="found 'ort'"):
        build_engine("none.onnx", runtime="ort")
