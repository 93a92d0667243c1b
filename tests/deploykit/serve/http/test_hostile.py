"""Requests that mean harm: each gets a reason, and the next good request its answer."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deploykit import serve

TENSOR = np.zeros((1, 3, 32, 32), np.float32)


def request_of(**changes: object) -> tuple[bytes, str]:
    entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32"}
    entry |= {"parameters": {"binary_data_size": TENSOR.nbytes}} | changes
    head = json.dumps({"inputs": [entry]}).encode()
    return head + TENSOR.tobytes(), str(len(head))


def png_of(width: int, height: int) -> bytes:
    """A PNG file that says how large it is, and holds nothing."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture(autouse=True)
def a_good_request_is_answered_afterwards(client) -> Iterator[None]:
    yield
    body, length = request_of()
    status, _, content = client("POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=length)
    assert status == 200, content


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"shape": [1, 3, 32]}, 400),
        ({"shape": [1, 3, 32, 33]}, 400),
        ({"shape": [0, 3, 32, 32]}, 400),
        ({"shape": [-1, 3, 32, 32]}, 400),
        ({"shape": [1 << 40, 3, 32, 32]}, 400),
        ({"shape": [1 << 62, 1 << 62, 1 << 62, 4]}, 400),
        ({"shape": [1, 3, 32, 32] + [1] * 100}, 400),
        ({"datatype": "FP64"}, 400),
        ({"datatype": "INT32"}, 400),
        ({"datatype": "BYTES"}, 400),
        ({"datatype": "BF16"}, 400),
        ({"datatype": "FP33"}, 400),
        ({"name": "image"}, 400),
        ({"name": "x" * 100_000}, 400),
        ({"parameters": {"binary_data_size": TENSOR.nbytes - 4}}, 400),
        ({"parameters": {"binary_data_size": 1 << 62}}, 400),
        ({"parameters": {"shared_memory_region": "r", "binary_data_size": 1}}, 501),
    ],
)
def test_tensors_that_lie(client, changes, status) -> None:
    body, length = request_of(**changes)
    found, _, content = client("POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=length)
    assert found == status, content
    assert len(content) < 4000
    assert list(json.loads(content)) == ["error"]


@pytest.mark.parametrize("values", [["abc"], [b"\x03\0\0\0abc".decode()], [], [[["a"] * 32] * 32] * 3])
def test_strings_are_the_client_s_mistake(client, values) -> None:
    entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "BYTES", "data": values}
    status, answer = client.json("POST", "/v2/models/tiny/infer", {"inputs": [entry]})
    assert status == 400
    assert "BYTES" in answer["error"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"datatype": "BYTES"}, "BYTES"),
        ({"parameters": {"datatype": "BYTES"}}, "BYTES"),
        ({"parameters": {"datatype": "BYTES", "binary_data": True}}, "BYTES"),
        ({"datatype": "FP16"}, "is FP32, wanted FP16"),
        ({"datatype": "FP33"}, "datatypes are"),
        ({"datatype": 3}, "'datatype' as a str"),
    ],
)
def test_outputs_in_another_datatype(client, output, words) -> None:
    entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.0] * 3072}
    for tail in ({}, {"datatype": "FP32"}):
        request = {"inputs": [entry], "outputs": [{"name": "logits", **tail}]}
        assert client.json("POST", "/v2/models/tiny/infer", request)[0] == 200
    request = {"inputs": [entry], "outputs": [{"name": "logits", **output}]}
    status, answer = client.json("POST", "/v2/models/tiny/infer", request)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"inputs": ' + b"[" * 200_000,
        b'{"inputs": [{"name": "images", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
        b'{"inputs": [{"name": "images", "shape": [1e400], "datatype": "FP32", "data": [1]}]}',
        b"null",
        b'"' + b"a" * 1_000_000 + b'"',
    ],
)
@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/v2/repository/index"])
def test_bodies_that_are_no_request(client, body, path) -> None:
    status, _, content = client("POST", path, body)
    if not body and path.endswith("index"):
        assert status == 200
    else:
        assert status == 400, content
        assert list(json.loads(content)) == ["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "999999999999999999999", "0x10", "12,12"])
def test_header_lengths_that_lie(client, length) -> None:
    body, _ = request_of()
    status, _, content = client("POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=length)
    assert status == 400, content


def test_a_body_beyond_the_limit_is_not_read(server) -> None:
    with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
        connection.sendall(
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1000000000000\r\n\r\nabc"
        )
        assert b" 413 " in connection.recv(4096)


def test_a_chunked_body_beyond_the_limit_is_cut(server) -> None:
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
        connection.sendall(
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(8):
                connection.sendall(chunk)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert b" 413 " in connection.recv(4096)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_bomb_is_refused(client, encoding) -> None:
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](bytes(200_000_000))
    assert len(bomb) < 250_000
    status, _, content = client("POST", "/v2/models/tiny/infer", bomb, Content_Encoding=encoding)
    assert status == 413, content


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"abc", 415),
        ("gzip, gzip", b"abc", 415),
        ("gzip", b"abc", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-6], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
    ],
)
def test_compressions_that_are_none(client, encoding, body, status) -> None:
    assert client("POST", "/v2/models/tiny/infer", body, Content_Encoding=encoding)[0] == status


@pytest.mark.parametrize("size", [(30_000, 30_000), (65_535, 65_535), (4000, 4000), (1 << 30, 1 << 30)])
def test_a_picture_that_is_a_bomb(client, size) -> None:
    status, _, content = client("POST", "/v2/models/tiny/predict", png_of(*size), Content_Type="image/png")
    assert status in (400, 413), content
    assert list(json.loads(content)) == ["error"]


@pytest.mark.parametrize("content", [b"no picture", b"\xff\xd8\xff\xe0", png_of(8, 8), b"GIF89a" + bytes(20)])
def test_pictures_that_are_broken(client, content) -> None:
    import ultralytics  # noqa: F401 - replaces PIL.Image.open by one that fails with an ImportError

    status, _, answer = client("POST", "/v2/models/tiny/predict", content, Content_Type="image/jpeg")
    assert status == 400, answer
    assert list(json.loads(answer)) == ["error"]


@pytest.mark.parametrize("cut", [10, 400, 5000])
def test_clients_that_leave(server, cut) -> None:
    body, length = request_of()
    head = (
        f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        f"Inference-Header-Content-Length: {length}\r\n\r\n"
    ).encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
            connection.sendall((head + body)[:cut])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
            connection.sendall(head + body)  # whole, but nobody waits for the answer
    deadline = time.monotonic() + 300
    while server.repository.get("tiny").in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.repository.get("tiny").in_flight == 0


@pytest.mark.parametrize(
    "lines",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_http(server, lines) -> None:
    with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
        try:
            connection.sendall(lines)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except OSError:  # closed while there was still more to send
            answer = b""
        assert answer == b"" or b" 4" in answer.split(b"\r\n")[0]


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_slow_client_is_left(classifier: Path, client_of, size) -> None:
    with serve.running(f"tiny={classifier}", port=0, grpc_port=None, timeout_s=2.0) as server:
        with socket.create_connection(("127.0.0.1", server.state.port), timeout=300) as connection:
            lines = [
                "POST /v2/models/tiny/infer HTTP/1.1",
                "Host: localhost",
                f"Content-Length: {size}",
                "",
                "{",
            ]
            connection.sendall("\r\n".join(lines).encode())
            answer = connection.makefile("rb").read()  # to the end of the connection
            assert answer.startswith(b"HTTP/1.1 408 ")
        assert client_of(server.state.port)("GET", "/v2")[0] == 200


def test_ten_times_too_many_requests(classifier: Path, client_of) -> None:
    """Every one gets an answer or a reason, at once or in its turn."""
    options = {"port": 0, "grpc_port": None, "queue": 2, "instances": 1}
    with serve.running(f"tiny={classifier}", **options) as server:
        client = client_of(server.state.port)
        body, length = request_of()

        def ask(_: int) -> int:
            status, headers, content = client(
                "POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=length
            )
            if status == 503:
                assert headers["retry-after"]
                assert "error" in json.loads(content)
            return status

        with ThreadPoolExecutor(30) as pool:
            statuses = list(pool.map(ask, range(600)))
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert ask(0) == 200
        model = server.repository.get("tiny")
        assert model.in_flight == model.waiting == 0
