"""What the protocol needs to be installed, where no server is."""

from __future__ import annotations

import subprocess
import sys

from deploykit.package.ray import _PROTOCOL_PACKAGES

SCRIPT = """
import pkgutil, sys
servers = ("uvicorn", "httptools", "grpc", "grpc_health", "google.protobuf", "prometheus_client", "starlette")
for name in (*servers, "ray", "torch", "onnx", "onnxruntime"):
    sys.modules[name] = None
import deploykit.protocol as room
for module in pkgutil.iter_modules(room.__path__):
    __import__(f"deploykit.protocol.{module.name}")
from deploykit.protocol.tensors import read_request
body = b'{"inputs": [{"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2]}]}'
print(read_request(body, None, ()).feeds["x"].tolist())
print(sorted({"orjson", "python_multipart"} & set(sys.modules)))
"""


def test_it_needs_what_the_folder_for_ray_installs() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used = [line.partition(">=")[0].replace("-", "_") for line in _PROTOCOL_PACKAGES]
    assert done.stdout.splitlines() == ["[1, 2]", repr(sorted(used))]
