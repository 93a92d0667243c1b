"""NVIDIA's client for HTTP, unchanged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from deploykit_runtimes import load
from tritonclient.utils import InferenceServerException


@pytest.fixture
def tensor() -> np.ndarray:
    return np.random.default_rng(5).random((3, 3, 32, 32), dtype=np.float32)


@pytest.fixture
def wanted(classifier: Path, tensor: np.ndarray) -> np.ndarray:
    return load(classifier).runner.infer({"images": tensor})["logits"]


def inputs(tensor: np.ndarray, *, binary: bool = True, module=triton) -> list[triton.InferInput]:
    given = module.InferInput("images", list(tensor.shape), "FP32")
    given.set_data_from_numpy(tensor, binary_data=binary)
    return [given]


@pytest.fixture
def sync(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.state.port}", concurrency=4) as client:
        yield client


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_inference(sync, tensor, wanted, binary, packed) -> None:
    outputs = [triton.InferRequestedOutput("logits", binary_data=binary)]
    result = sync.infer(
        "tiny",
        inputs(tensor, binary=binary),
        outputs=outputs,
        request_id="9",
        request_compression_algorithm=packed,
    )
    np.testing.assert_allclose(result.as_numpy("logits"), wanted, atol=1e-5)
    assert result.get_response()["id"] == "9"
    assert result.get_response()["model_version"] == "1"
    assert "CPUExecutionProvider" in result.get_response()["parameters"]["placement"]


def test_inference_without_named_outputs(sync, tensor, wanted) -> None:
    result = sync.infer("tiny", inputs(tensor), model_version="1", timeout=600_000_000)
    np.testing.assert_allclose(result.as_numpy("logits"), wanted, atol=1e-5)


def test_many_at_once(sync, tensor, wanted) -> None:
    pending = [sync.async_infer("tiny", inputs(tensor[n : n + 1])) for n in (0, 1, 2) * 8]
    for n, request in enumerate(pending):
        np.testing.assert_allclose(request.get_result().as_numpy("logits"), wanted[[n % 3]], atol=1e-5)


def test_what_it_asks_of_the_server(sync, tensor) -> None:
    assert sync.is_server_live()
    assert sync.is_server_ready()
    assert sync.is_model_ready("tiny")
    assert not sync.is_model_ready("none")
    assert sync.get_server_metadata()["name"] == "deploykit"
    assert sync.get_model_metadata("tiny")["inputs"][0]["datatype"] == "FP32"
    assert sync.get_model_config("tiny")["max_batch_size"] > 1
    assert [model["state"] for model in sync.get_model_repository_index()] == ["READY"]
    before = sync.get_inference_statistics("tiny")["model_stats"][0]
    sync.infer("tiny", inputs(tensor))
    after = sync.get_inference_statistics()["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]


def test_errors_are_the_server_s_words(sync, tensor) -> None:
    with pytest.raises(InferenceServerException, match="There is no model 'none'"):
        sync.infer("none", inputs(tensor))
    with pytest.raises(InferenceServerException, match="fixed to 3 on axis 1"):
        sync.infer("tiny", inputs(tensor[:, :1]))
    with pytest.raises(InferenceServerException, match="outputs are logits, wanted 'boxes'"):
        sync.infer("tiny", inputs(tensor), outputs=[triton.InferRequestedOutput("boxes")])
    with pytest.raises(InferenceServerException, match="no path"):
        sync.register_system_shared_memory("region", "/key", 16)


def test_asynchronously(server, tensor, wanted) -> None:
    async def go() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.state.port}") as client:
            assert await client.is_server_ready()
            results = await asyncio.gather(
                *(client.infer("tiny", inputs(tensor, module=triton_aio)) for _ in range(8))
            )
            for result in results:
                np.testing.assert_allclose(result.as_numpy("logits"), wanted, atol=1e-5)

    asyncio.run(go())
