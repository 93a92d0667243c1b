"""A server whose model, clients and new files all try to command whoever reads its log, page or answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from corpus_of_strangers import EVIL, HONEST, NAME, check_text

_RAW = "\x1b]0;owned\x07\x9b2J\u202e".encode()


class _Server:
    def __init__(self, model: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "deploykit", "serve", f"cat={model}", *flags]
        command += ["--port", "0", "--grpc-port", "0", "--log-level", "debug", "--poll", "0.05"]
        environment = {**os.environ, "FORCE_COLOR": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        assert self.process.stdout is not None
        self.banner = b""
        while b"/predict" not in self.banner:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            self.banner += line
        found = re.search(rb"http://127.0.0.1:(\d+)/v2", self.banner)
        grpc = re.search(rb"grpc *\x1b\[0m  (\S+)", self.banner)
        assert found
        assert grpc
        self.port, self.grpc = int(found[1]), grpc[1].decode()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Bytes that are not HTTP, and what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=300) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

    def line(self) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> bytes:
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=300)
        return log


@pytest.fixture
def serve() -> Iterator[Callable[..., _Server]]:
    started: list[_Server] = []

    def start(model: Path, *flags: str) -> _Server:
        started.append(_Server(model, *flags))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()


def _requests(server: _Server, picture: Path) -> None:
    wanted = " ".join(EVIL.splitlines())
    for path in ("/v2/models/cat", "/v2/models/cat/card", "/v2/models/cat/config", "/v2/models/cat/stats"):
        status, body = server.ask("GET", path)
        assert status == 200, body
        check_text(body)
    card = json.loads(server.ask("GET", "/v2/models/cat/card")[1])
    assert card["classes"] == [wanted, f"b{wanted}", HONEST]
    status, body = server.ask("POST", "/v2/models/cat/predict", picture.read_bytes())
    assert status == 200, body
    check_text(body)
    assert HONEST.encode() in body
    feed = {"name": f"in{NAME}", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": [0.0] * 192}
    status, body = server.ask("POST", "/v2/models/cat/infer", json.dumps({"inputs": [feed]}).encode())
    assert status == 200, body
    check_text(body)
    assert json.loads(body)["outputs"][0]["name"] == f"out{NAME}"
    _wrong_requests(server)
    status, body = server.ask("GET", "/metrics")
    assert status == 200
    check_text(body)


def _wrong_requests(server: _Server) -> None:
    evil = quote(EVIL, safe="")
    document = json.dumps({"inputs": [{"name": EVIL, "datatype": EVIL, "shape": [1], "data": [1]}]}).encode()
    feed = {"name": EVIL, "datatype": "FP32", "shape": [1], "data": [1]}
    calls: list[tuple[str, str, bytes, dict[str, str]]] = [
        ("GET", f"/v2/models/{evil}", b"", {}),
        ("GET", f"/v2/models/cat/versions/{evil}", b"", {}),
        ("GET", f"/{evil}?{evil}={evil}", b"", {}),
        ("POST", f"/v2/models/cat/predict?conf={evil}", b"x", {}),
        ("POST", f"/v2/models/cat/predict?{evil}=1", b"x", {}),
        ("POST", "/v2/models/cat/predict", b"no picture", {"Content-Type": "text/\x9b2J"}),
        ("POST", "/v2/models/cat/infer", document, {}),
        ("POST", "/v2/models/cat/infer", json.dumps({"inputs": [feed]}).encode(), {}),
        ("POST", "/v2/models/cat/infer", b'{"' + _RAW, {"Content-Encoding": "\x9b"}),
        ("POST", f"/v2/repository/models/{evil}/load", b"{}", {}),
        ("GET", "/v2", b"", {"Origin": "http://\x9b2J"}),
    ]
    for method, path, body, headers in calls:
        status, answer = server.ask(method, path, body, **headers)
        assert status >= 400 or path == "/v2", (path, answer)
        check_text(answer)
    for data in (
        b"GET /" + _RAW + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        _RAW + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + _RAW + b"\r\n\r\n",
    ):
        check_text(server.send(data).replace(b"\r\n", b"\n"))


def _grpc(server: _Server) -> None:
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        metadata: Any = client.get_model_metadata("cat", as_json=True)
        assert metadata["inputs"][0]["name"] == f"in{NAME}"
        for name, version in ((EVIL, ""), ("cat", EVIL)):
            with pytest.raises(InferenceServerException) as caught:
                client.get_model_metadata(name, version)
            check_text(str(caught.value.message()).encode())


@pytest.mark.parametrize("flags", [(), ("--log-json",)], ids=["text", "json"])
def test_logs_and_answers(
    serve: Callable[..., _Server],
    evil_model: Path,
    evil_picture: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
) -> None:
    model = tmp_path / evil_model.name
    model.write_bytes(evil_model.read_bytes())
    server = serve(model, *flags)
    check_text(server.banner)
    _requests(server, evil_picture)
    _grpc(server)
    (tmp_path / "draft").write_bytes(b"broken")
    (tmp_path / "draft").replace(model)
    log = b""
    while b"cannot be loaded" not in log:
        line = server.line()
        assert line
        log += line
    log += server.end()
    text = check_text(log)
    assert "owned" in text
    for line in text.splitlines():
        if flags:
            json.loads(line)
        else:
            assert re.match(r"\d\d:\d\d:\d\d |  ", line), line
