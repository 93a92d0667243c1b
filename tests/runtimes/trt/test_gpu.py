"""The adapter on a real GPU: answers, placement, strict, caches, graphs, threads, memory, weights, versions.

Run with ``pytest -m gpu`` where TensorRT (``pip install 'deploykit[tensorrt]'``) or TensorRT for RTX is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.nvidia import has_nvidia_driver, read_gpu
from deploykit_runtimes.trt.open import open_trt

Writer = Callable[..., Path]
Pictures = Callable[..., np.ndarray]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: on a machine with one, pytest -m gpu"),
]


@pytest.fixture(params=["trt", "trt-rtx"])
def runtime(request: pytest.FixtureRequest) -> Any:
    names = {"trt": ("tensorrt", "tensorrt_bindings"), "trt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
    if not any(find_spec(name) for name in names[request.param]):
        pytest.skip(f"{names[request.param][0]} is not installed")
    if request.param == "trt-rtx" and read_gpu().capability == "9.0":
        pytest.skip("TensorRT for RTX has no kernels for compute capability 9.0")
    return request.param


def means(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(2, 3))


def test_answers_for_every_shape(runtime: Any, write_classifier: Writer, pictures: Pictures) -> None:
    with open_trt(write_classifier(), runtime=runtime) as runner:
        for batch, side in ((1, 32), (4, 64), (2, 8), (1, 32)):
            images = pictures(batch, side)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)


def test_data_dependent_outputs(runtime: Any, write_positives: Path) -> None:
    if runtime == "trt-rtx":
        pytest.skip("TensorRT for RTX has no NonZero")
    images = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    with open_trt(write_positives, runtime=runtime) as runner:
        found = runner.infer({"images": images})["where"]
    np.testing.assert_array_equal(found, np.array(np.nonzero(np.maximum(images, 0))))


def test_placement_and_strict(runtime: Any, write_classifier: Writer) -> None:
    with open_trt(write_classifier(), runtime=runtime, options=EngineOptions(strict=True)) as runner:
        placement = runner.placement()
    assert placement.providers["TensorRT"] > 0
    assert placement.precision == "fp32"
    assert placement.device == read_gpu().name


def test_an_engine_is_built_once(runtime: Any, write_classifier: Writer, tmp_path: Path) -> None:
    said: list[str] = []
    report = BuildReport(step=said.append)
    options = EngineOptions(cache=tmp_path / "cache")
    for _ in range(2):
        open_trt(write_classifier(), runtime=runtime, options=options, report=report).close()
    assert len(said) == 1
    engine = build_engine(write_classifier(), runtime=runtime).path
    open_trt(engine, runtime=runtime, report=report).close()
    assert len(said) == 1


def test_graphs_give_the_same_answers(runtime: Any, write_classifier: Writer, pictures: Pictures) -> None:
    with open_trt(write_classifier(), runtime=runtime, options=EngineOptions(cuda_graph=True)) as runner:
        for turn in range(20):
            images = pictures(1 + turn % 2, 32 + 8 * (turn % 3), seed=turn)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)


def test_eight_threads(runtime: Any, write_classifier: Writer, pictures: Pictures) -> None:
    def work(seed: int) -> None:
        for turn in range(100):
            images = pictures(1 + (seed + turn) % 4, 8 * (1 + turn % 8), seed)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)

    options = EngineOptions(goal="throughput")
    with (
        open_trt(write_classifier(), runtime=runtime, options=options) as runner,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(work, range(8)))


def test_no_memory_is_lost_over_10_000_calls(
    runtime: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    from cuda.bindings import runtime as cuda

    batches = {(b, s): pictures(b, s) for b in (1, 2, 4) for s in range(8, 72, 8)}
    with open_trt(write_classifier(), runtime=runtime) as runner:
        for images in batches.values():
            runner.infer({"images": images})
        free = cuda.cudaMemGetInfo()[1]
        for turn in range(10_000):
            runner.infer({"images": list(batches.values())[turn % len(batches)]})
        assert free - cuda.cudaMemGetInfo()[1] < 4 << 20


def test_stripped_weights_come_back(runtime: Any, write_classifier: Writer, pictures: Pictures) -> None:
    engine = build_engine(write_classifier(), runtime=runtime, options=BuildOptions(strip_weights=True)).path
    images = pictures(2)
    with open_trt(engine, runtime=runtime) as runner:
        np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)


def test_compatible_engines_and_timing_caches(
    runtime: Any, write_classifier: Writer, pictures: Pictures, tmp_path: Path
) -> None:
    if runtime == "trt-rtx":
        pytest.skip("TensorRT for RTX has neither")
    cache = tmp_path / "timings.cache"
    options = BuildOptions(version_compatible=True, compatibility="ampere+", timing_cache=cache)
    engine = build_engine(write_classifier(), runtime=runtime, options=options).path
    assert cache.stat().st_size > 0
    images = pictures(2)
    with open_trt(engine, runtime=runtime) as runner:
        np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)
