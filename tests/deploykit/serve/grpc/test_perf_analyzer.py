"""The calls of perf_analyzer 2.60.0 (NVIDIA) in its order; see benchmarks/serving/perf_analyzer.sh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc


def test_its_calls_over_grpc(server: Any) -> None:
    with grpc.insecure_channel(server.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="vit"))
        config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="vit")).config
        [wanted] = metadata.inputs
        assert config.max_batch_size > 0
        assert [tensor.name for tensor in config.input] == [wanted.name]
        assert list(config.input[0].dims) == list(wanted.shape[1:]), "no variable axis but the batch"
        assert config.platform != "ensemble"
        assert config.HasField("dynamic_batching")
        assert not config.HasField("sequence_batching")
        assert not config.model_transaction_policy.decoupled
        assert "statistics" in stub.ServerMetadata(service_pb2.ServerMetadataRequest()).extensions
        before = statistics(stub)
        for n in range(3):
            response = stub.ModelInfer(request(metadata, n))
            assert response.id == str(n)
            assert len(response.raw_output_contents) == len(metadata.outputs) == len(response.outputs)
        stream = stub.ModelStreamInfer(iter([request(metadata, n) for n in range(3)]))
        for n, answer in enumerate(stream):
            assert not answer.error_message
            assert answer.infer_response.id == str(n)
        after = statistics(stub)
        assert after.inference_count - before.inference_count == 6
        assert 0 < after.execution_count - before.execution_count <= 6
        for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            counted = getattr(after.inference_stats, stage)
            assert counted.count - getattr(before.inference_stats, stage).count == 6
        assert after.inference_stats.cache_hit.count == 0


def statistics(stub: Any) -> Any:
    [model] = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="vit")).model_stats
    assert model.version
    return model


def request(metadata: Any, n: int) -> Any:
    [wanted] = metadata.inputs
    shape = [1, *wanted.shape[1:]]
    message = service_pb2.ModelInferRequest(model_name="vit", id=str(n))
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    message.inputs.add(name=wanted.name, datatype=wanted.datatype, shape=shape)
    for output in metadata.outputs:
        message.outputs.add(name=output.name)
    message.raw_input_contents.append(np.zeros(shape, np.float32).tobytes())
    return message


@pytest.fixture
def http(server: Any) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(server.http_url, timeout=300)
    yield connection
    connection.close()


def get(http: HTTPConnection, path: str) -> Any:
    http.request("GET", path)
    response = http.getresponse()
    body = response.read()
    assert response.status == 200, body
    return json.loads(body)


def infer(http: HTTPConnection, head: dict[str, Any], tail: bytes) -> tuple[dict[str, Any], bytes]:
    document = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(document))}
    http.request("POST", "/v2/models/vit/infer", document + tail, headers)
    response = http.getresponse()
    body = response.read()
    assert response.status == 200, body
    length = int(response.headers.get("Inference-Header-Content-Length", len(body)))
    return json.loads(body[:length]), body[length:]


def test_its_calls_over_http(server: Any, http: HTTPConnection) -> None:
    metadata = get(http, "/v2/models/vit")
    config = get(http, "/v2/models/vit/config")
    [wanted] = metadata["inputs"]
    assert config["max_batch_size"] > 0
    assert [tensor["name"] for tensor in config["input"]] == [wanted["name"]]
    assert "dynamic_batching" in config
    assert "sequence_batching" not in config
    assert config["platform"] != "ensemble"
    assert "statistics" in get(http, "/v2")["extensions"]
    [before] = get(http, "/v2/models/vit/stats")["model_stats"]
    image = np.zeros([1, *wanted["shape"][1:]], np.float32)
    tensor = {"name": wanted["name"], "datatype": wanted["datatype"], "shape": list(image.shape)}
    names = [output["name"] for output in metadata["outputs"]]
    binary = {
        "id": "1",
        "inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in names],
    }
    head, tail = infer(http, binary, image.tobytes())
    assert head["id"] == "1"
    assert [output["parameters"] for output in head["outputs"]] == [{"binary_data_size": len(tail)}]
    text = {
        "id": "2",
        "inputs": [{**tensor, "data": image.ravel().tolist()}],
        "outputs": [{"name": name, "parameters": {"binary_data": False}} for name in names],
    }
    head, rest = infer(http, text, b"")
    assert (head["id"], rest) == ("2", b"")
    [output] = head["outputs"]
    assert "parameters" not in output
    np.testing.assert_allclose(output["data"], np.frombuffer(tail, "<f4"), rtol=1e-5)
    [after] = get(http, "/v2/models/vit/stats")["model_stats"]
    assert type(after["version"]) is str
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 2
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit"):
        assert {type(number) for number in after["inference_stats"][stage].values()} == {int}
