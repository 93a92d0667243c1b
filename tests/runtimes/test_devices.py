"""``device=`` in the words of other libraries."""

from __future__ import annotations

import pytest
from deploykit_runtimes.devices import runtime_of
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runtimes import available_runtimes


@pytest.mark.parametrize(
    ("device", "meant"),
    [
        ("cpu", ("ort-cpu", None)),
        ("CPU", ("ort-cpu", None)),
        ("cpu:0", ("ort-cpu", 0)),
        ("cuda", ("ort-cuda", None)),
        ("cuda:1", ("ort-cuda", 1)),
        ("gpu", ("ort-cuda", None)),
        ("gpu:2", ("ort-cuda", 2)),
        (0, ("ort-cuda", 0)),
        (3, ("ort-cuda", 3)),
        ("0", ("ort-cuda", 0)),
        ("npu", ("ov-npu", None)),
        ("intel:gpu", ("ov-gpu", None)),
        ("intel:npu", ("ov-npu", None)),
        ("xpu", ("ov-gpu", None)),
        ("openvino", ("ov-cpu", None)),
        ("CUDAExecutionProvider", ("ort-cuda", None)),
        ("trt", ("trt", None)),
        ("ort-trt", ("ort-trt", None)),
    ],
)
def test_what_is_understood(device: object, meant: tuple[str, int | None]) -> None:
    assert runtime_of(device) == meant
    assert runtime_of(device, meant[0]) == meant


def test_devices_of_torch() -> None:
    import torch

    assert runtime_of(torch.device("cuda:1")) == ("ort-cuda", 1)
    assert runtime_of(torch.device("cpu")) == ("ort-cpu", None)


def test_every_runtime_is_a_device_too() -> None:
    for name in available_runtimes():
        assert runtime_of(name) == (name, None)


@pytest.mark.parametrize(
    ("device", "hint"),
    [
        ("tensorrt", "Did you mean trt or ort-trt?"),
        ("cudda", "Did you mean ort-cuda?"),
        ("mps", "runtime="),
        ("", "runtime="),
        (-1, "runtime="),
        (True, "runtime="),
        ([0, 1], "runtime="),
        (None, "runtime="),
        ("0,1", "runtime="),
        ("cpu:1", "cpu"),
        ("ort-cu", "Did you mean"),
    ],
)
def test_what_is_not(device: object, hint: str) -> None:
    with pytest.raises(OptionError, match="device=") as caught:
        runtime_of(device)
    assert hint in caught.value.hint


def test_a_runtime_that_says_something_else() -> None:
    with pytest.raises(OptionError, match="means the runtime ort-cuda, and runtime='ov' was given too"):
        runtime_of("cuda", "ov")
