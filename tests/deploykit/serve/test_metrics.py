"""The numbers for Prometheus: of both protocols, and as the documentation names them."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

import deploykit
from deploykit.serve.server import Server

DOCUMENT = Path(__file__).parents[3] / "docs" / "serve.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(classifier: Path) -> Iterator[Server]:
    keys = ("first-secret",)
    models = f"tiny={classifier}"
    with deploykit.serve.running(models, port=0, grpc_port=0, api_keys=keys, poll_s=0.0) as server:
        yield server


def ask(server: Server, path: str, body: bytes | None = None, key: str = "first-secret") -> tuple[int, bytes]:
    request = urllib.request.Request(server.url + path, body, {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def families(server: Server) -> list[Metric]:
    status, text = ask(server, "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text.decode()))


def count(server: Server, name: str, **labels: str) -> float:
    for family in families(server):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


def wait_for(condition: Callable[[], bool]) -> None:
    """A call is counted at its end, which may be after its answer has come."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_http_requests_are_counted_with_their_status(server: Server) -> None:
    def seen(route: str, status: int) -> float:
        labels = {"protocol": "http", "route": route, "status": str(status)}
        return count(server, "deploykit_requests_total", **labels)

    for path, body, key, route, status in (
        ("/v2", None, "first-secret", "server", 200),
        ("/v2", None, "wrong", "server", 401),
        ("/v2", b"", "first-secret", "server", 405),
        ("/nowhere", None, "first-secret", "none", 404),
        ("/v2/models/none", None, "first-secret", "model", 404),
        ("/v2/models/tiny/infer", b"{}", "first-secret", "infer", 400),
    ):
        before = seen(route, status)
        assert ask(server, path, body, key)[0] == status
        assert seen(route, status) == before + 1, path


def test_grpc_calls_are_counted_with_their_status(server: Server) -> None:
    def seen(route: str, status: str) -> float:
        labels = {"protocol": "grpc", "route": route, "status": status}
        return count(server, "deploykit_requests_total", **labels)

    tensor = tritonclient.grpc.InferInput("images", [1, 3, 32, 32], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 32, 32), np.float32))
    wrong = tritonclient.grpc.InferInput("pictures", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, np.float32))
    key = {"authorization": "Bearer first-secret"}
    service = "/inference.GRPCInferenceService"
    with (
        tritonclient.grpc.InferenceServerClient(server.grpc_address) as client,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        metadata = [("authorization", "Bearer first-secret")]

        def stream(*requests: bytes, **options: object) -> list[bytes]:
            method = channel.stream_stream(f"{service}/ModelStreamInfer")
            return list(method(iter(requests), **options))

        def trace() -> bytes:
            return channel.unary_unary(f"{service}/TraceSetting")(b"", metadata=metadata)

        for work, route, status in (
            (lambda: client.infer("tiny", [tensor], headers=key), "ModelInfer", "OK"),
            (lambda: client.infer("tiny", [wrong], headers=key), "ModelInfer", "INVALID_ARGUMENT"),
            (lambda: client.infer("none", [tensor], headers=key), "ModelInfer", "NOT_FOUND"),
            (lambda: client.infer("tiny", [tensor]), "ModelInfer", "UNAUTHENTICATED"),
            (client.is_server_live, "ServerLive", "OK"),
            (trace, "TraceSetting", "UNIMPLEMENTED"),
            (lambda: channel.unary_unary("/nobody.Nothing/Call")(b""), "none", "UNIMPLEMENTED"),
            (lambda: stream(b"\xff", metadata=metadata), "ModelStreamInfer", "OK"),
            (stream, "ModelStreamInfer", "UNAUTHENTICATED"),
        ):
            before = seen(route, status)
            try:
                work()
            except (InferenceServerException, grpc.RpcError):
                assert status != "OK", route
            else:
                assert status == "OK", route
            wait_for(lambda: seen(route, status) == before + 1)  # noqa: B023 - called at once


def test_a_call_that_is_cut_off_is_counted(server: Server) -> None:
    def seen(status: str) -> float:
        labels = {"protocol": "grpc", "route": "Watch", "status": status}
        return count(server, "deploykit_requests_total", **labels)

    with grpc.insecure_channel(server.grpc_address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        answers: list[bytes] = []
        for seconds in (0.3, 3, 30, 300):  # the first one that leaves the server time for an answer
            with pytest.raises(grpc.RpcError):
                answers.extend(watch(b"", timeout=seconds))
            if answers:
                break
        call = watch(b"")
        next(call)
        call.cancel()
        wait_for(lambda: seen("DEADLINE_EXCEEDED") >= 1 and seen("CANCELLED") == 1)


def test_latencies_of_both_protocols(server: Server) -> None:
    for protocol, route in (("http", "infer"), ("grpc", "ModelInfer")):
        assert count(server, "deploykit_request_seconds_count", protocol=protocol, route=route) > 0


def test_a_model_s_own_numbers(server: Server) -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(server)
        for sample in family.samples
    }
    assert samples["deploykit_model_requests_total", "tiny", "success", "1"] >= 1
    assert samples["deploykit_model_rows_total", "tiny", "1"] >= 1
    assert samples["deploykit_model_batches_total", "tiny", "1", "1"] >= 1
    assert samples["deploykit_model_ready", "tiny"] == 1
    assert samples["deploykit_model_queue", "tiny"] == samples["deploykit_model_in_flight", "tiny"] == 0
    assert samples["deploykit_stage_seconds_count", "tiny", "compute_infer"] >= 1
    assert samples["process_resident_memory_bytes",] > 0
    assert any(key[0] == "deploykit_model_placement" and "CPUExecutionProvider" in key for key in samples)


def test_the_documentation_names_every_metric_and_label(server: Server) -> None:
    section = DOCUMENT.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    documented = {
        name: set(labels.split(",")) if labels else set()
        for name, labels in re.findall(r"`(deploykit_\w+?)(?:\{([\w,]+)\})?`", section)
    }
    found: dict[str, set[str]] = {}
    for family in families(server):
        if not family.name.startswith("deploykit_"):
            assert family.name.startswith("process_")
            continue
        if family.name.endswith("_created"):  # prometheus_client's times of creation
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = labels
        assert family.documentation
    assert found == documented
