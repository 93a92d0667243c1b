"""The routes, with a real model behind them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load
from PIL import Image

from deploykit import serve


@pytest.fixture
def tensor() -> np.ndarray:
    return np.random.default_rng(3).random((2, 3, 32, 32), dtype=np.float32)


def request_of(tensor: np.ndarray, *, as_json: bool = False) -> tuple[bytes, dict[str, str]]:
    entry = {"name": "images", "shape": list(tensor.shape), "datatype": "FP32"}
    if as_json:
        return json.dumps({"inputs": [entry | {"data": tensor.ravel().tolist()}]}).encode(), {}
    entry["parameters"] = {"binary_data_size": tensor.nbytes}
    head = json.dumps({"id": "42", "inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    return head + tensor.tobytes(), {"Inference_Header_Content_Length": str(len(head))}


def logits(headers: dict[str, str], content: bytes) -> np.ndarray:
    size = int(headers.get("inference-header-content-length", len(content)))
    (output,) = json.loads(content[:size])["outputs"]
    values = np.frombuffer(content[size:], np.float32) if "data" not in output else np.array(output["data"])
    return values.reshape(output["shape"])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_tensors_get_the_session_s_answers(client, classifier, tensor, as_json, encoding) -> None:
    body, headers = request_of(tensor, as_json=as_json)
    packed = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding](body)
    status, received, content = client(
        "POST", "/v2/models/tiny/infer", packed, Content_Encoding=encoding, **headers
    )
    assert status == 200, content
    wanted = load(classifier).runner.infer({"images": tensor})["logits"]
    np.testing.assert_allclose(logits(received, content), wanted, atol=1e-5)
    assert (b'"id":"42"' in content) is not as_json


def test_a_bare_tensor(client, classifier, tensor) -> None:
    status, received, content = client(
        "POST",
        "/v2/models/tiny/versions/1/infer",
        tensor[:1].tobytes(),
        Inference_Header_Content_Length="0",
    )
    assert status == 200, content
    wanted = load(classifier).runner.infer({"images": tensor[:1]})["logits"]
    np.testing.assert_allclose(logits(received, content), wanted, atol=1e-5)


def test_pictures_get_the_answers_of_predict(client, classifier, picture) -> None:
    wanted = load(classifier).predict(picture, top_k=2).to_dict()
    cut = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture + b"\r\n"
    top_k = b'--x\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n2\r\n'
    coded = base64.b64encode(picture).decode()
    for body, kind, count in (
        (picture, "image/png", 1),
        (cut + cut + top_k + b"--x--\r\n", "multipart/form-data; boundary=x", 2),
        (json.dumps({"images": [coded], "top_k": 2}).encode(), "application/json", 1),
    ):
        path = "/v2/models/tiny/predict" + ("?top_k=2" if kind == "image/png" else "")
        status, _, content = client("POST", path, body, Content_Type=kind)
        assert status == 200, content
        answer = json.loads(content)
        assert len(answer["results"]) == count
        for result in answer["results"]:
            assert [entry["name"] for entry in result["top"]] == [entry["name"] for entry in wanted["top"]]
            for entry, same in zip(result["top"], wanted["top"], strict=True):
                assert entry["score"] == pytest.approx(same["score"], abs=1e-6)
        assert answer["placement"]["device"] == "cpu"
        assert answer["timing_ms"]["total"] > 0


@pytest.mark.parametrize(("accept", "kind"), [("*/*", "JPEG"), ("image/png", "PNG")])
def test_a_picture_with_its_answer_drawn_into_it(client, picture, accept, kind) -> None:
    path = "/v2/models/tiny/predict?format=image"
    status, headers, content = client("POST", path, picture, Content_Type="image/png", Accept=accept)
    assert status == 200, content
    drawn = Image.open(io.BytesIO(content))
    assert drawn.format == kind
    assert headers["content-type"] == f"image/{kind.lower()}"
    assert drawn.size == (96, 64)
    assert np.abs(np.asarray(drawn, int) - np.asarray(Image.open(io.BytesIO(picture)), int)).max() > 50


def test_what_the_server_tells(client) -> None:
    assert client.json("GET", "/v2")[1]["name"] == "deploykit"
    assert client.json("GET", "/v2/health/live") == (200, {"live": True})
    assert client.json("GET", "/v2/health/ready") == (200, {"ready": True})
    assert client.json("GET", "/v2/models/tiny/ready") == (200, {"name": "tiny", "ready": True})
    assert client.json("GET", "/v2/models/tiny/versions/1")[1]["inputs"][0]["shape"] == [-1, 3, 32, 32]
    assert client.json("GET", "/v2/models/tiny/config")[1]["input"][0]["dims"] == [3, 32, 32]
    assert client.json("GET", "/v2/models/tiny/card")[1]["classes"] == ["cat", "dog", "bird"]
    for path in ("/v2/models/tiny/stats", "/v2/models/stats"):
        assert client.json("GET", path)[1]["model_stats"][0]["name"] == "tiny"
    index = [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
    assert client.json("POST", "/v2/repository/index") == (200, index)
    assert client.json("POST", "/v2/repository/index", {"ready": True}) == (200, index)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v3", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/tiny/versions/9", 404),
        ("GET", "/v2/models/tiny/weights", 404),
        ("GET", "/v2/models/..%2F..%2Fetc%2Fpasswd", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/app.js", 404),
        ("GET", "/page/app.js", 404),
        ("GET", "/v2/models/%ff", 400),
        ("GET", "/v2/models/tiny/infer", 405),
        ("DELETE", "/v2/models/tiny", 405),
        ("POST", "/v2/repository/models/..%2Ftiny/load", 404),
        ("POST", "/v2/models/tiny/predict?conf=1&conf=2", 400),
        ("PUT", "/", 405),
    ],
)
def test_paths_and_verbs_that_are_not_there(client, method, path, status) -> None:
    found, answer = client.json(method, path, {} if method == "POST" else None)
    assert found == status, answer
    assert list(answer) == ["error"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v2", "GET, HEAD"), ("/v2/models/tiny/infer", "POST"), ("/metrics", "GET, HEAD"), ("/", "GET, HEAD")],
)
def test_verbs_that_are_taken_are_told(client, path: str, allowed: str) -> None:
    for verb in ("TRACE", "DELETE", "OPTIONS", "PATCH"):
        status, headers, _ = client(verb, path)
        assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("document", [{"ready": {}}, {"ready": None}, {"ready": "true"}, {"ready": 1}, []])
def test_the_index_wants_to_be_asked_well(client, document: object) -> None:
    status, answer = client.json("POST", "/v2/repository/index", document)
    assert (status, list(answer)) == (400, ["error"])


def test_outputs_that_are_wanted_twice(client, tensor) -> None:
    entry = {"name": "images", "shape": list(tensor.shape), "datatype": "FP32", "data": tensor.tolist()}
    for document in ({"inputs": [entry], "outputs": [{"name": "logits"}] * 2}, {"inputs": []}):
        status, answer = client.json("POST", "/v2/models/tiny/infer", document)
        assert status == 400
        assert "twice" in answer["error"] or "at least one" in answer["error"]


def test_an_id_comes_back_with_the_answer(client, picture) -> None:
    coded = base64.b64encode(picture).decode()
    answer = client.json(
        "POST", "/v2/models/tiny/predict", {"images": [coded], "id": "a b"}, Content_Type="application/json"
    )[1]
    assert answer["id"] == "a b"
    _, _, content = client("POST", "/v2/models/tiny/predict?id=7", picture, Content_Type="image/png")
    assert json.loads(content)["id"] == "7"
    _, _, content = client("POST", "/v2/models/tiny/predict", picture, Content_Type="image/png")
    assert "id" not in json.loads(content)


def test_a_head_request_has_no_body(client) -> None:
    status, headers, content = client("HEAD", "/v2")
    assert (status, content) == (200, b"")
    assert int(headers["content-length"]) > 10


@pytest.mark.parametrize("file", ["", "app.js", "style.css", "icon.svg"])
def test_the_page_brings_all_it_needs(client, file) -> None:
    status, headers, content = client("GET", f"/{file}")
    assert status == 200
    assert content.strip()
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_loading_and_unloading(classifier: Path, client_of, tensor) -> None:
    with serve.running(f"tiny={classifier}", port=0, grpc_port=None) as server:
        client = client_of(server.state.port)
        assert client.json("POST", "/v2/repository/models/tiny/load", {"parameters": {}}) == (200, {})
        assert client.json("GET", "/v2/models/tiny")[1]["versions"] == ["2"]
        assert client.json("POST", "/v2/repository/models/tiny/unload")[0] == 200
        assert client.json("GET", "/v2/health/ready")[0] == 503
        body, headers = request_of(tensor)
        status, received, content = client("POST", "/v2/models/tiny/infer", body, **headers)
        assert status == 503
        assert received["retry-after"]
        assert b"unloaded" in content


def test_keys_and_origins(classifier: Path, client_of) -> None:
    options = {"api_keys": ("first-secret",), "cors": ("https://example.org",)}
    with serve.running(f"tiny={classifier}", port=0, grpc_port=None, **options) as server:
        client = client_of(server.state.port)
        for path in ("/v2/health/live", "/v2/health/ready", "/"):
            assert client("GET", path)[0] == 200
        for path in ("/v2", "/metrics", "/v2/models/tiny", "/openapi.json"):
            status, headers, content = client("GET", path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert list(json.loads(content)) == ["error"]
            assert client("GET", path, Authorization="Bearer wrong-secret")[0] == 401
            assert client("GET", path, Authorization="Bearer first-secret")[0] == 200
        preflight = {"Access_Control_Request_Method": "POST"}
        status, headers, _ = client("OPTIONS", "/v2", Origin="https://example.org", **preflight)
        assert (status, headers["access-control-allow-origin"]) == (204, "https://example.org")
        for origin in ("https://example.com", "null"):
            assert "access-control-allow-origin" not in client("GET", "/v2/health/live", Origin=origin)[1]
