"""A file of golden cases, and servers of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions

Answers = dict[str, tuple[int, bytes, dict[str, str]]]


@pytest.fixture(scope="session")
def model(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the digits, with a free batch."""
    path = tmp_path_factory.mktemp("remote") / "digits.onnx"
    source = golden.parent / "fixtures" / "trained" / "vit.pth.tar"
    export(source, ExportOptions(output=path, dynamic=("batch",), witness=False))
    return path


@pytest.fixture(scope="session")
def detector(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of shapes that takes pictures and gives boxes, all axes free."""
    path = tmp_path_factory.mktemp("remote") / "shapes.onnx"
    source = golden.parent / "fixtures" / "trained" / "detect.pt"
    export(
        source, ExportOptions(output=path, dynamic=("all",), preprocess=True, postprocess=True, witness=False)
    )
    return path


@pytest.fixture
def answering() -> Iterator[Callable[[Answers], str]]:
    """A server of fixed answers, by verb and path (``GET /v2``): status, body and headers. Its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body, headers = answers.get(f"{self.command} {self.path}", (404, b"", {}))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server_info() -> Answers:
    """What a server of the digits says about itself and them, but for its answers."""
    images = {"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
    logits = {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}
    said = {"name": "digits", "inputs": [images], "outputs": [logits]}
    return {
        "GET /v2": (200, json.dumps({"name": "triton", "version": "2.60.0"}).encode(), {}),
        "GET /v2/models/digits": (200, json.dumps(said).encode(), {}),
    }
