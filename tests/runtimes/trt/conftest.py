"""A machine with a GPU, as far as the adapter can tell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from deploykit_runtimes.machine.nvidia import Gpu
from deploykit_runtimes.trt.bindings import describe
from deploykit_runtimes.trt.cuda import Cuda
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from fake_cuda import FakeCuda
    from fake_tensorrt import FakeTensorRT

sys.path.insert(0, str(Path(__file__).parent))


@dataclass
class Machine:
    """A pretended machine: its GPU, its TensorRT, and what they did."""

    cuda: FakeCuda
    trt: FakeTensorRT
    gpu: Gpu

    @property
    def runtime(self) -> Any:
        return "trt-rtx" if "IRuntimeCache" in self.trt.api["classes"] else "trt"

    def assert_nothing_left(self) -> None:
        assert self.cuda.device.used == self.cuda.pinned.used == 0
        assert not self.cuda.streams
        assert not self.cuda.graphs


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    """Puts a GPU and a TensorRT into the machine; again, for another one of either."""
    from fake_cuda import FakeCuda
    from fake_tensorrt import FakeTensorRT

    def put(version: str = "tensorrt-10.16", *, gpu: str = "NVIDIA Fake", capability: str = "8.9") -> Machine:
        cuda = FakeCuda()
        found = Machine(
            cuda=cuda,
            trt=FakeTensorRT(version, cuda, gpu=gpu),
            gpu=Gpu(name=gpu, capability=capability, driver="13.0"),
        )

        def open_cuda(number: int) -> Cuda:
            opened = Cuda(cuda, number)
            opened.select()
            return opened

        for module in ("builder.ahead", "open"):
            prefix = f"deploykit_runtimes.trt.{module}"
            monkeypatch.setattr(f"{prefix}.has_nvidia_driver", lambda: True)
            monkeypatch.setattr(f"{prefix}.read_gpu", lambda number=0: found.gpu)
            monkeypatch.setattr(f"{prefix}.open_cuda", open_cuda)
            monkeypatch.setattr(f"{prefix}.load_bindings", lambda runtime, purpose: describe(found.trt))
        return found

    return put


@pytest.fixture(params=("tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7"))
def machine(request: pytest.FixtureRequest, machine_with: Callable[..., Machine]) -> Iterator[Machine]:
    """One machine per version of TensorRT; whatever ran there must have given everything back."""
    found = machine_with(request.param)
    yield found
    found.assert_nothing_left()


@pytest.fixture
def write_positives(tmp_path: Path) -> Path:
    """A model whose answer is as long as its data say: where pixels of [N, 1, H, W] are positive."""
    graph = helper.make_graph(
        [
            helper.make_node("NonZero", ["clipped"], ["where"]),
            helper.make_node("Relu", ["images"], ["clipped"]),
        ][::-1],
        "positives",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("where", TensorProto.INT64, [4, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "positives.onnx"
    onnx.save_model(model, path)
    return path


@pytest.fixture
def pictures() -> Callable[..., np.ndarray]:
    """Random input tensors: ``pictures(2, 32)`` is [2, 3, 32, 32]."""

    def make(batch: int = 1, side: int = 32, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).random((batch, 3, side, side), dtype=np.float32)

    return make
