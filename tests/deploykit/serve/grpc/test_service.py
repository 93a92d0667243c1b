"""The server around the calls: key, health, deadlines, cancellation, overload and the way it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from deploykit_runtimes.errors import OptionError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from deploykit.protocol.errors import OverloadedError
from deploykit.serve.batching import InferAnswer
from deploykit.serve.grpc.inference_pb2 import ModelInferRequest
from deploykit.serve.grpc.service import start_grpc
from deploykit.serve.model import ServedModel
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository
from deploykit.serve.state import ServerState

KEY = "a-long-enough-key"
INFER = "/inference.GRPCInferenceService/ModelInfer"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def images(rows: int = 1) -> list[triton.InferInput]:
    array = np.ones((rows, 3, 32, 32), np.float32)
    tensor = triton.InferInput("images", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    return [tensor]


def request_bytes(**parameters: int) -> bytes:
    array = np.ones((1, 3, 32, 32), np.float32)
    request = ModelInferRequest(model_name="vit", raw_input_contents=[array.tobytes()])
    request.inputs.add(name="images", datatype="FP32", shape=array.shape)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request.SerializeToString()


class Gate:
    """Holds requests back in place of the engine, and tells what became of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self.timeouts: list[float | None] = []
        self._open = threading.Event()
        run = ServedModel.infer

        async def infer(model: ServedModel, feeds: Any, *, timeout: float | None = None) -> InferAnswer:
            self.timeouts.append(timeout)
            self.entered.release()
            try:
                while not self._open.is_set():
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return await run(model, feeds, timeout=timeout)

        monkeypatch.setattr(ServedModel, "infer", infer)

    def wait(self, requests: int = 1) -> None:
        for _ in range(requests):
            assert self.entered.acquire(timeout=300)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


@pytest.fixture
def channel(server: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.url) as channel:
        yield channel


def test_the_key(classifier: Path, serve: Callable[..., Any]) -> None:
    with (
        serve({"vit": classifier}, api_keys=(KEY, "another-long-key")) as server,
        triton.InferenceServerClient(server.url) as client,
        grpc.insecure_channel(server.url) as channel,
    ):
        assert client.is_server_live(), "health needs no key"
        assert client.is_server_ready()
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING
        for wrong in (None, {"authorization": KEY}, {"authorization": f"Bearer {KEY}x"}, {"x": KEY}):
            with pytest.raises(InferenceServerException, match=r"UNAUTHENTICATED.*authorization"):
                client.infer("vit", images(), headers=wrong)
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                client.get_model_metadata("vit", headers=wrong)
        for right in (f"Bearer {KEY}", "bearer another-long-key"):
            answer = client.infer("vit", images(), headers={"authorization": right})
            assert answer.as_numpy("logits").shape == (1, 3)
        with pytest.raises(grpc.RpcError) as caught:
            list(
                channel.stream_stream(INFER.replace("ModelInfer", "ModelStreamInfer"))(
                    iter([request_bytes()])
                )
            )
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_server_lives_before_it_is_ready(classifier: Path) -> None:
    async def run() -> None:
        options = ServeOptions(grpc_port=0)
        state = ServerState()
        server = await start_grpc(Repository({"vit": classifier}, options), options, state)
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{state.grpc_port}") as client:
            assert await client.is_server_live()
            assert not await client.is_server_ready()
            assert not await client.is_model_ready("vit")
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                await client.infer("vit", images())
        await server.stop(None)

    asyncio.run(run())


def test_health_follows_the_models(server: Any, channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def status(service: str) -> int:
        return health.Check(health_pb2.HealthCheckRequest(service=service)).status

    for service in ("", "inference.GRPCInferenceService", "vit"):
        assert status(service) == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        status("nobody")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest(service="vit"))
    assert next(watch).status == SERVING
    server.call(server.repository.unload("vit"))
    assert next(watch).status == NOT_SERVING
    listed = health.List(health_pb2.HealthListRequest()).statuses
    assert listed["vit"].status == NOT_SERVING
    server.call(server.repository.load("vit"))
    assert next(watch).status == SERVING
    watch.cancel()


def test_a_deadline_is_handed_on_and_kept(gate: Gate, server: Any, channel: grpc.Channel) -> None:
    for seconds in (0.3, 3, 30, 300):  # the first one that a request reaches the engine within
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INFER)(request_bytes(), timeout=seconds)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        if gate.timeouts:
            break
    assert gate.cancelled.wait(300), "the work is dropped"
    [timeout] = gate.timeouts
    assert timeout is not None
    assert 0 < timeout < seconds + 1, "gRPC rounds up"


def test_the_timeout_of_a_request_counts_microseconds(gate: Gate, channel: grpc.Channel) -> None:
    gate.open()
    infer = channel.unary_unary(INFER)
    infer(request_bytes(timeout=700_000_000))
    infer(request_bytes(timeout=0))
    infer(request_bytes(timeout=900_000_000), timeout=300)
    assert gate.timeouts[:2] == [700.0, None]
    assert gate.timeouts[2] is not None
    assert gate.timeouts[2] < 301, "gRPC rounds up"


def test_a_request_that_runs_out_of_time_is_told_so(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(INFER)(request_bytes(timeout=1))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "time" in caught.value.details()


def test_cancelled_calls_are_dropped(gate: Gate, channel: grpc.Channel) -> None:
    call = channel.unary_unary(INFER).future(request_bytes())
    gate.wait()
    call.cancel()
    assert gate.cancelled.wait(300)


def test_the_requests_of_a_stream_that_goes_away_are_dropped(gate: Gate, channel: grpc.Channel) -> None:
    call = channel.stream_stream(INFER.replace("ModelInfer", "ModelStreamInfer"))(iter([request_bytes()] * 3))
    gate.wait(3)
    call.cancel()
    assert gate.cancelled.wait(300)


def test_overload_says_when_to_come_back(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def infer(*_: object, **__: object) -> InferAnswer:
        raise OverloadedError("256 requests wait already.")

    monkeypatch.setattr(ServedModel, "infer", infer)
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(INFER)(request_bytes())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ("grpc-retry-pushback-ms", "1000") in {tuple(pair) for pair in caught.value.trailing_metadata()}


def test_a_bug_is_logged_and_not_told(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def infer(*_: object, **__: object) -> InferAnswer:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(ServedModel, "infer", infer)
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(INFER)(request_bytes())
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "secret" in caplog.text


def test_what_was_taken_on_is_answered_before_the_server_stops(
    gate: Gate, classifier: Path, serve: Callable[..., Any]
) -> None:
    with serve({"vit": classifier}) as server, grpc.insecure_channel(server.url) as channel:
        calls = [channel.unary_unary(INFER).future(request_bytes()) for _ in range(4)]
        hold = threading.Event()

        def requests() -> Iterator[bytes]:
            yield from [request_bytes()] * 2
            hold.wait(300)

        stream = channel.stream_stream(INFER.replace("ModelInfer", "ModelStreamInfer"))(requests())
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        gate.wait(6)
        drained = server.submit(server.drain())
        assert next(watch).status == NOT_SERVING
        assert list(watch) == []
        gate.open()
        assert all(call.result(300) for call in calls)
        answers = []
        with pytest.raises(grpc.RpcError) as caught:
            answers.extend(answer for answer in iter(stream.next, None))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        hold.set()
        drained.result(300)


def test_a_port_that_is_taken_is_an_error(server: Any, classifier: Path) -> None:
    async def start() -> None:
        options = ServeOptions(grpc_port=server.state.grpc_port)
        state = ServerState()
        await start_grpc(Repository({"vit": classifier}, options), options, state)

    with pytest.raises(OptionError, match="cannot listen"):
        asyncio.run(start())
