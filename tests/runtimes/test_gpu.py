"""What needs an NVIDIA GPU: the CUDA and TensorRT providers give the CPU's answers, and say so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.machine.nvidia import read_gpu
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort.runner import has_nvidia_driver

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: on a machine with one, pytest -m gpu"),
]


DEVICES = {"ort-cuda": "cuda", "ort-trt": "tensorrt", "ort-rtx": "gpu"}
RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"


@pytest.fixture(params=list(DEVICES))
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "ort-rtx":
        if find_spec(RTX_PLUGIN) is None:
            pytest.skip(f"{RTX_PLUGIN} is not installed: pip install onnxruntime-ep-nv-tensorrt-rtx")
        if read_gpu().capability == "9.0":
            pytest.skip("TensorRT for RTX has no kernels for compute capability 9.0")
    elif "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed: pip install onnxruntime-gpu")
    return name


def test_a_gpu_gives_the_cpus_answers(write_classifier: Callable[..., Path], runtime: str) -> None:
    path = write_classifier()
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    with open_runner(path) as cpu, open_runner(path, runtime=runtime) as gpu:
        expected, found = cpu.infer({"images": images}), gpu.infer({"images": images})
        placement = gpu.placement()
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
    assert placement.device == DEVICES[runtime]
    assert any(name != "CPUExecutionProvider" for name in placement.providers)


def test_strict_refuses_nodes_left_elsewhere(write_classifier: Callable[..., Path], runtime: str) -> None:
    with open_runner(write_classifier(), runtime=runtime) as runner:
        strays = len(runner.placement().providers) > 1
    if strays:
        with pytest.raises(RuntimeUnavailableError, match="--strict"):
            open_runner(write_classifier(), runtime=runtime, strict=True)
    else:
        open_runner(write_classifier(), runtime=runtime, strict=True).close()


def pictures(batch: int = 2, side: int = 32) -> np.ndarray:
    return np.random.default_rng(batch).random((batch, 3, side, side), dtype=np.float32)


def test_many_threads_share_a_gpu(
    write_classifier: Callable[..., Path], runtime: str, tmp_path: Path
) -> None:
    with (
        open_runner(write_classifier(), runtime=runtime, options=EngineOptions(cache=tmp_path)) as runner,
        ThreadPoolExecutor(8) as pool,
    ):
        batches = [pictures(1 + n % 4, 8 * (1 + n % 5)) for n in range(200)]
        found = list(pool.map(lambda batch: runner.infer({"images": batch})["logits"], batches))
    for batch, logits in zip(batches, found, strict=True):
        np.testing.assert_allclose(logits, batch.mean((2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", ["ort-trt"], indirect=True)
def test_an_engine_is_built_once(write_classifier: Callable[..., Path], runtime: str, tmp_path: Path) -> None:
    path, options = write_classifier(), EngineOptions(cache=tmp_path / "cache")
    for _ in range(2):
        with open_runner(path, runtime=runtime, options=options) as runner:
            runner.infer({"images": pictures()})
    (folder,) = (tmp_path / "cache").iterdir()
    assert list(folder.glob("*.engine"))


@pytest.mark.parametrize("runtime", ["ort-cuda", "ort-rtx"], indirect=True)
def test_a_cuda_graph_gives_the_same_answers(write_classifier: Callable[..., Path], runtime: str) -> None:
    options = EngineOptions(cuda_graph=True)
    with open_runner(write_classifier(), runtime=runtime, options=options) as runner:
        for _ in range(3):
            for batch in (pictures(1), pictures(3), pictures(1, 16)):
                found = runner.infer({"images": batch})["logits"]
                np.testing.assert_allclose(found, batch.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_gpu_memory_does_not_grow_with_the_shapes(
    write_classifier: Callable[..., Path], runtime: str, tmp_path: Path
) -> None:
    def used() -> int:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])

    shapes = [(batch, 8 * n) for batch in (1, 2, 4) for n in range(1, 9)]
    with open_runner(write_classifier(), runtime=runtime, options=EngineOptions(cache=tmp_path)) as runner:
        for batch, side in shapes * 2:
            runner.infer({"images": pictures(batch, side)})
        before = used()
        for batch, side in shapes * 100:
            runner.infer({"images": pictures(batch, side)})
        assert used() - before < 16
