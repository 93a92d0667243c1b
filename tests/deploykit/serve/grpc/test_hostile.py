"""Requests that lie, are cut off, or are garbage get a status with a reason; the next good one an answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploykit.serve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse

Status = grpc.StatusCode
INFER = "/inference.GRPCInferenceService/ModelInfer"

IMAGE = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)


@pytest.fixture(scope="module")
def call(server: Any) -> Iterator[Callable[..., bytes]]:
    """Sends bytes to a method."""
    with grpc.insecure_channel(server.url, options=[("grpc.max_send_message_length", -1)]) as channel:

        def send(data: bytes, method: str = INFER, **settings: Any) -> bytes:
            return channel.unary_unary(method)(data, timeout=settings.pop("timeout", 300), **settings)

        yield send


def good() -> ModelInferRequest:
    request = ModelInferRequest(model_name="vit", id="1", raw_input_contents=[IMAGE.tobytes()])
    request.inputs.add(name="images", datatype="FP32", shape=IMAGE.shape)
    return request


def refused(
    call: Callable[..., bytes], data: bytes, code: grpc.StatusCode, text: str = "", **settings: Any
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(data, **settings)
    error = caught.value
    assert (error.code(), bool(error.details())) == (code, True), error.details()
    assert text in error.details()
    answered(call)


def answered(call: Callable[..., bytes]) -> None:
    response = ModelInferResponse.FromString(call(good().SerializeToString()))
    assert response.id == "1"
    assert np.isfinite(np.frombuffer(response.raw_output_contents[0], "<f4")).all()


def typed(request: ModelInferRequest) -> None:
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend(IMAGE.ravel().tolist())


def truncate(request: ModelInferRequest) -> None:
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def reshape(*shape: int) -> Callable[[ModelInferRequest], None]:
    def change(request: ModelInferRequest) -> None:
        request.inputs[0].shape[:] = shape

    return change


def retype(datatype: str) -> Callable[[ModelInferRequest], None]:
    def change(request: ModelInferRequest) -> None:
        request.inputs[0].datatype = datatype

    return change


def mix(request: ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)


def too_few_raw(request: ModelInferRequest) -> None:
    request.inputs.add(name="other", datatype="FP32", shape=[1])


def too_many_raw(request: ModelInferRequest) -> None:
    request.raw_input_contents.append(b"")


def twice(request: ModelInferRequest) -> None:
    request.inputs.add().CopyFrom(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def unknown_input(request: ModelInferRequest) -> None:
    request.inputs[0].name = "nobody"


def unknown_output(request: ModelInferRequest) -> None:
    request.outputs.add(name="nobody")


def no_inputs(request: ModelInferRequest) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def too_few_values(request: ModelInferRequest) -> None:
    typed(request)
    del request.inputs[0].contents.fp32_contents[5:]


def wrong_contents(request: ModelInferRequest) -> None:
    typed(request)
    request.inputs[0].contents.int_contents.append(1)


def typed_half(request: ModelInferRequest) -> None:
    typed(request)
    request.inputs[0].datatype = "FP16"


@pytest.mark.parametrize(
    "change",
    [
        truncate,
        reshape(1, 3, 32, 33),
        reshape(3, 32, 32),
        reshape(),
        reshape(-1, 3, 32, 32),
        reshape(0, 3, 32, 32),
        reshape(2**62, 2**62, 2**62, 2**62),
        reshape(*[1] * 100),
        reshape(*[0] * 40),
        retype("FP64"),
        retype("INT32"),
        retype("UINT8"),
        retype(""),
        retype("fp32"),
        mix,
        too_few_raw,
        too_many_raw,
        twice,
        unknown_input,
        unknown_output,
        no_inputs,
        too_few_values,
        wrong_contents,
        typed_half,
    ],
)
def test_requests_that_contradict_themselves(
    call: Callable[..., bytes], change: Callable[[ModelInferRequest], None]
) -> None:
    request = good()
    change(request)
    refused(call, request.SerializeToString(), Status.INVALID_ARGUMENT)


@pytest.mark.parametrize("parameter", ["shared_memory_region", "classification"])
def test_extensions_that_are_left_out_are_named(call: Callable[..., bytes], parameter: str) -> None:
    request = good()
    request.outputs.add(name="logits").parameters[parameter].int64_param = 1
    refused(call, request.SerializeToString(), Status.UNIMPLEMENTED, parameter)


def test_inputs_in_shared_memory_and_strings_are_refused(call: Callable[..., bytes]) -> None:
    request = good()
    del request.raw_input_contents[:]
    request.inputs[0].parameters["shared_memory_region"].string_param = "x"
    refused(call, request.SerializeToString(), Status.UNIMPLEMENTED, "shared memory")
    for datatype in ("BYTES", "BF16"):
        request = good()
        retype(datatype)(request)
        refused(call, request.SerializeToString(), Status.INVALID_ARGUMENT, datatype)
        del request.raw_input_contents[:]
        request.inputs[0].contents.bytes_contents.append(b"abc")
        refused(call, request.SerializeToString(), Status.INVALID_ARGUMENT, datatype)
        request = good()
        request.outputs.add(name="logits").parameters["datatype"].string_param = datatype
        refused(call, request.SerializeToString(), Status.INVALID_ARGUMENT, datatype)


@pytest.mark.parametrize("name", ["", "nobody", "../vit", "/etc/passwd", "vit\n", "é" * 5000])
def test_names_that_there_are_not(call: Callable[..., bytes], name: str) -> None:
    request = good()
    request.model_name = name
    refused(call, request.SerializeToString(), Status.NOT_FOUND)


def test_a_version_that_there_is_not(call: Callable[..., bytes]) -> None:
    request = good()
    request.model_version = "999"
    refused(call, request.SerializeToString(), Status.NOT_FOUND, "version")


def test_typed_contents_are_answered_as_raw_ones(call: Callable[..., bytes]) -> None:
    request = good()
    raw = ModelInferResponse.FromString(call(request.SerializeToString()))
    typed(request)
    assert ModelInferResponse.FromString(call(request.SerializeToString())) == raw


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=100), cut=st.integers(0, 1 << 14), at=st.integers(0, 200))
def test_garbage_is_answered_or_refused(call: Callable[..., bytes], data: bytes, cut: int, at: int) -> None:
    message = good().SerializeToString()
    for garbage in (data, message[: cut % len(message)], message[:at] + data + message[at:]):
        try:
            call(garbage)
        except grpc.RpcError as error:
            assert error.code() in (Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.UNIMPLEMENTED)
    answered(call)


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryModelLoad"])
def test_garbage_to_other_methods(call: Callable[..., bytes], method: str) -> None:
    refused(call, b"\xff" * 9, Status.INVALID_ARGUMENT, method=INFER.replace("ModelInfer", method))


def test_methods_that_there_are_not(call: Callable[..., bytes]) -> None:
    refused(call, b"", Status.UNIMPLEMENTED, method="/inference.GRPCInferenceService/Nothing")
    refused(call, b"", Status.UNIMPLEMENTED, method="/other.Service/ModelInfer")


def test_messages_beyond_the_limit(call: Callable[..., bytes]) -> None:
    refused(call, bytes(4 << 20), Status.RESOURCE_EXHAUSTED, "larger than max")


def test_messages_up_to_the_limit_arrive_whole(call: Callable[..., bytes]) -> None:
    rows = 2_000_000 // IMAGE.nbytes
    request = good()
    request.inputs[0].shape[0] = rows
    request.raw_input_contents[0] = IMAGE.tobytes() * rows
    response = ModelInferResponse.FromString(call(request.SerializeToString()))
    assert list(response.outputs[0].shape) == [rows, 3]


def test_many_small_fields_do_not_hold_up_the_server(call: Callable[..., bytes]) -> None:
    refused(call, b"\x3a\x00" * 900_000 + good().SerializeToString(), Status.INVALID_ARGUMENT)


def test_long_names_in_errors_are_cut(call: Callable[..., bytes]) -> None:
    request = good()
    request.outputs.add(name="x" * 100_000)
    refused(call, request.SerializeToString(), Status.INVALID_ARGUMENT, "...")


def test_large_messages_to_methods_without_tensors(call: Callable[..., bytes]) -> None:
    refused(
        call, bytes(1_500_000), Status.RESOURCE_EXHAUSTED, method=INFER.replace("ModelInfer", "ModelConfig")
    )


SERVER_APART = """
import asyncio, sys
from pathlib import Path
from deploykit.serve.grpc.service import start_grpc
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository
from deploykit.serve.state import ServerState

async def serve():
    options = ServeOptions(grpc_port=0, max_body_mb=2)
    state = ServerState()
    server = await start_grpc(Repository({}, options), options, state)
    print(state.grpc_port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1])

asyncio.run(serve())
print(peak())
"""


def test_compression_bombs_are_not_unpacked() -> None:
    def peak_kb(send: Callable[[str], None]) -> int:
        with subprocess.Popen(
            [sys.executable, "-c", SERVER_APART], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                send(f"127.0.0.1:{int(child.stdout.readline())}")
            finally:
                child.stdin.close()
            return int(child.stdout.read())

    def bomb(url: str) -> None:
        with grpc.insecure_channel(url, options=[("grpc.max_send_message_length", -1)]) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(INFER)(bytes(150 << 20), compression=grpc.Compression.Gzip, timeout=300)
            assert caught.value.code() == Status.RESOURCE_EXHAUSTED

    assert peak_kb(bomb) - peak_kb(lambda _: None) < 30 << 10
