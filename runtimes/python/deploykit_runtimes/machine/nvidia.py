"""The NVIDIA driver, asked directly: no CUDA toolkit or package is needed for it.

Names and numbers are those of the CUDA driver API
(https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html).
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.machine.elf import find_in_wheels

__all__ = ["Gpu", "has_nvidia_driver", "library_fix", "preload", "read_gpu", "tensorrt_version"]

CUDA_LINE = "pip install 'onnxruntime-gpu[cuda,cudnn]'"

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as far as an engine built for it depends on it.

    Attributes:
        name: For instance ``NVIDIA L4``.
        capability: Compute capability, for instance ``8.9``.
        driver: Newest CUDA version that the driver runs, for instance ``13.0``.
    """

    name: str
    capability: str
    driver: str


def has_nvidia_driver() -> bool:
    """Whether the NVIDIA driver's library can be loaded."""
    return _driver() is not None


def read_gpu(index: int = 0) -> Gpu:
    """Ask the driver about a GPU.

    Raises:
        RuntimeUnavailableError: there is no driver, or no such GPU.
    """
    driver = _driver()
    if driver is None:
        raise RuntimeUnavailableError(
            "A GPU was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
            hint="Install the NVIDIA driver; in a container, start it with --gpus all.",
        )
    count, handle, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or index >= count.value:
        raise RuntimeUnavailableError(
            f"GPU {index} was asked for, the NVIDIA driver shows {count.value} (code {code}).",
            hint="GPUs are counted from 0; CUDA_VISIBLE_DEVICES hides those that it does not list.",
        )
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=f"{_attribute(driver, _MAJOR, handle)}.{_attribute(driver, _MINOR, handle)}",
        driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def preload(ort: Any, libraries: Sequence[str]) -> None:
    """Load what an execution provider links to from NVIDIA's wheels, where the system lacks it.

    ONNX Runtime finds CUDA and cuDNN in those wheels when asked to; TensorRT's wheel it does not know.
    """
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not find
            ort.preload_dlls()
    for library in libraries:
        path = find_in_wheels(library)
        if path is not None:
            with contextlib.suppress(OSError):  # told with all that is missing by the session's own error
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def library_fix(missing: Sequence[str]) -> str:
    """The line that installs missing libraries of CUDA, cuDNN or TensorRT.

    TensorRT's major version is part of its library name, and the wheel must match it.
    """
    majors = {
        name.rpartition(".")[2] for name in missing if name.startswith(("libnvinfer", "libnvonnxparser"))
    }
    if majors and all(name.startswith("libnv") for name in missing):
        return f"pip install 'tensorrt=={max(majors)}.*'"
    return CUDA_LINE


def tensorrt_version(library: str) -> str:
    """Version that a TensorRT library (``libnvinfer.so.10``) reports; empty where it cannot load."""
    try:
        number = int(ctypes.CDLL(str(find_in_wheels(library) or library)).getInferLibVersion())
    except (OSError, AttributeError):
        return ""
    # Two digits each for minor and patch since version 10, one digit for minor before (8601 is 8.6.1).
    base = 100 if number >= 10_000 else 10
    return f"{number // (base * base * (1 if base == 100 else 10))}.{number // 100 % base}.{number % 100}"


def _driver() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None


def _attribute(driver: Any, which: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, handle)
    return value.value
