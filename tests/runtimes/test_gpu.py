"""What needs an NVIDIA GPU: the CUDA and TensorRT providers give the CPU's answers, and say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import has_nvidia_driver

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: the NVIDIA driver is not installed"),
]


@pytest.mark.parametrize("runtime", ["ort-cuda", "ort-trt"])
def test_a_gpu_gives_the_cpus_answers(write_classifier: Callable[..., Path], runtime: str) -> None:
    path = write_classifier()
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    with open_runner(path) as cpu, open_runner(path, runtime=runtime) as gpu:
        expected, found = cpu.infer({"images": images}), gpu.infer({"images": images})
        placement = gpu.placement()
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
    assert placement.device == {"ort-cuda": "cuda", "ort-trt": "tensorrt"}[runtime]
    assert any(name != "CPUExecutionProvider" for name in placement.providers)


def test_strict_refuses_nodes_left_on_the_cpu(write_classifier: Callable[..., Path]) -> None:
    with open_runner(write_classifier(), runtime="ort-cuda") as runner:
        strays = runner.placement().providers.get("CPUExecutionProvider", 0)
    if strays:
        with pytest.raises(RuntimeUnavailableError, match="--strict"):
            open_runner(write_classifier(), runtime="ort-cuda", strict=True)
    else:
        open_runner(write_classifier(), runtime="ort-cuda", strict=True).close()
