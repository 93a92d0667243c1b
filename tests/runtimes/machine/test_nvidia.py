"""The driver's answers, asked from a stand-in with the same functions."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.machine import nvidia
from deploykit_runtimes.machine.nvidia import Gpu, library_fix, preload, read_gpu, tensorrt_version


class Driver:
    """libcuda with two GPUs of compute capability 8.9. Arguments come as ctypes passes them."""

    code = 0

    def cuInit(self, _flags: int) -> int:
        return self.code

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:
        handle._obj.value = 10 + index
        return 0

    def cuDeviceGetName(self, buffer: Any, _size: int, handle: Any) -> int:
        buffer.value = f"NVIDIA Test {handle.value}".encode()
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13010
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, _handle: Any) -> int:
        value._obj.value = {75: 8, 76: 9}[which]
        return 0


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_driver", Driver)
    assert read_gpu(1) == Gpu(name="NVIDIA Test 11", capability="8.9", driver="13.1")


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_driver", Driver)
    with pytest.raises(RuntimeUnavailableError, match="GPU 2 was asked for, the NVIDIA driver shows 2"):
        read_gpu(2)
    monkeypatch.setattr(Driver, "code", 100)
    with pytest.raises(RuntimeUnavailableError, match="code 100"):
        read_gpu()


def test_no_driver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_driver", lambda: None)
    with pytest.raises(RuntimeUnavailableError, match="libcuda"):
        read_gpu()


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        (["libnvinfer.so.10", "libnvonnxparser.so.10"], "pip install 'tensorrt==10.*'"),
        (["libcublas.so.13"], "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        (["libcudnn.so.9", "libnvinfer.so.10"], "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
    ],
)
def test_the_line_that_installs_what_is_missing(missing: list[str], line: str) -> None:
    assert library_fix(missing) == line


@pytest.mark.parametrize(
    ("number", "version"), [(101601, "10.16.1"), (110400, "11.4.0"), (8601, "8.6.1"), (8503, "8.5.3")]
)
def test_tensorrt_tells_its_version(monkeypatch: pytest.MonkeyPatch, number: int, version: str) -> None:
    library = SimpleNamespace(getInferLibVersion=lambda: number)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert tensorrt_version("libnvinfer.so.10") == version


def test_a_missing_tensorrt_has_no_version() -> None:
    assert tensorrt_version("libnvinfer.so.77") == ""


def test_preloading_is_quiet_and_survives_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "libbroken.so.1"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(nvidia, "find_in_wheels", lambda name: broken if name == broken.name else None)
    preload(
        SimpleNamespace(preload_dlls=lambda: sys.stdout.write("Failed to load")),
        [broken.name, "libnone.so.1"],
    )
    preload(SimpleNamespace(), [])
    assert capsys.readouterr().out == ""
