"""NVIDIA's client for gRPC, unchanged: synchronous, asyncio and streaming."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

import deploykit
from deploykit.serve import messages


@pytest.fixture
def client(server: Any) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(classifier: Path, images: np.ndarray) -> np.ndarray:
    """What the model says without a server."""
    with deploykit.load(classifier) as predictor:
        return predictor.runner.infer({"images": images})["logits"]


def tensor(array: np.ndarray) -> triton.InferInput:
    wanted = triton.InferInput("images", list(array.shape), "FP32")
    wanted.set_data_from_numpy(array)
    return wanted


def close(found: np.ndarray | None, wanted: np.ndarray) -> None:
    assert found is not None
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_health(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("vit")
    assert client.is_model_ready("vit", "1")
    assert not client.is_model_ready("vit", "7")
    assert not client.is_model_ready("nobody")


def test_metadata_and_config_say_what_rest_says(client: triton.InferenceServerClient, server: Any) -> None:
    served = server.repository.get("vit")
    assert client.get_server_metadata(as_json=True) == messages.server_metadata()
    metadata = client.get_model_metadata("vit")
    assert [list(i.shape) for i in metadata.inputs] == [[-1, 3, 32, 32]]
    assert plain(metadata) == messages.model_metadata(served)
    config = messages.model_config(served)
    assert plain(client.get_model_config("vit").config) == config


def plain(message: Any) -> Any:
    """A message as JSON values, in which int64 are numbers and not, as in protobuf's JSON, strings."""

    def numbers(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: numbers(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [numbers(v, key) for v in value]
        return int(value) if key in ("shape", "dims") else value

    return numbers(MessageToDict(message, preserving_proto_field_name=True))


def test_statistics_count(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    [before] = client.get_inference_statistics("vit").model_stats
    client.infer("vit", [tensor(images[:2])])
    [after] = client.get_inference_statistics().model_stats
    assert after.inference_count - before.inference_count == 2
    assert after.execution_count - before.execution_count == 1
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert {batch.batch_size for batch in after.batch_stats} >= {2}


def test_repository(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    [state] = client.get_model_repository_index().models
    assert (state.name, state.state) == ("vit", "READY")
    client.unload_model("vit")
    assert not client.is_model_ready("vit")
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.infer("vit", [tensor(images)])
    client.load_model("vit")
    assert client.is_model_ready("vit")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("../../etc/passwd")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 3])
def test_infer(
    client: triton.InferenceServerClient,
    images: np.ndarray,
    expected: np.ndarray,
    rows: int,
    compression: str | None,
) -> None:
    answer = client.infer(
        "vit",
        [tensor(images[:rows])],
        outputs=[triton.InferRequestedOutput("logits")],
        request_id="seven",
        compression_algorithm=compression,
        parameters={"nobody_knows_this": 3},
    )
    close(answer.as_numpy("logits"), expected[:rows])
    response = answer.get_response()
    assert (response.id, response.model_name) == ("seven", "vit")
    assert [output.datatype for output in response.outputs] == ["FP32"]
    assert "CPUExecutionProvider" in response.parameters["placement"].string_param


def test_http_says_the_same(client: triton.InferenceServerClient, server: Any, images: np.ndarray) -> None:
    over_grpc = client.infer("vit", [tensor(images)]).as_numpy("logits")
    wanted = triton_http.InferInput("images", list(images.shape), "FP32")
    wanted.set_data_from_numpy(images)
    with triton_http.InferenceServerClient(server.http_url) as http_client:
        over_http = http_client.infer("vit", [wanted]).as_numpy("logits")
    assert over_http is not None
    close(over_grpc, over_http)


def test_infer_with_callbacks(
    client: triton.InferenceServerClient, images: np.ndarray, expected: np.ndarray
) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for n in range(4):
        client.async_infer(
            "vit",
            [tensor(images[n : n + 1])],
            lambda result, error: answers.put((result, error)),
            request_id=str(n),
        )
    for _ in range(4):
        result, error = answers.get(timeout=300)
        assert error is None
        close(result.as_numpy("logits"), expected[int(result.get_response().id)][None])


def test_stream(client: triton.InferenceServerClient, images: np.ndarray, expected: np.ndarray) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for n in range(12):
        name = "vit" if n != 5 else "nobody"
        client.async_stream_infer(
            name, [tensor(images[n % 4][None])], request_id=str(n), enable_empty_final_response=True
        )
    for n in range(12):
        result, error = answers.get(timeout=300)
        if n == 5:
            assert "nobody" in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(n), "answers come in the order of the requests"
        assert response.parameters["triton_final_response"].bool_param
        close(result.as_numpy("logits"), expected[n % 4][None])
    client.stop_stream()


def test_asyncio(server: Any, images: np.ndarray, expected: np.ndarray) -> None:
    async def run() -> None:
        async with triton_aio.InferenceServerClient(server.url) as client:
            assert await client.is_server_live()
            answers = await asyncio.gather(
                *(client.infer("vit", [tensor(image[None])], request_id="x") for image in images)
            )
            close(np.concatenate([answer.as_numpy("logits") for answer in answers]), expected)

            async def requests() -> Any:
                for n in range(3):
                    yield {"model_name": "vit", "inputs": [tensor(images[n][None])], "request_id": str(n)}

            streamed = [result async for result, error in client.stream_infer(requests()) if error is None]
            assert [result.get_response().id for result in streamed] == ["0", "1", "2"]
            close(np.concatenate([result.as_numpy("logits") for result in streamed]), expected[:3])

    asyncio.run(run())


def test_shared_memory_and_other_refusals_fail_cleanly(client: triton.InferenceServerClient) -> None:
    for call in (
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.unregister_system_shared_memory,
        client.get_trace_settings,
        client.get_log_settings,
        lambda: client.register_system_shared_memory("a", "/a", 10),
    ):
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED") as caught:
            call()
        assert "not found" not in str(caught.value), "the reason is ours"
