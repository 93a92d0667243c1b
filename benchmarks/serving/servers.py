"""The servers: what each is asked, how it is started, and that nothing of it stays behind."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ceiling import TENSOR
from load import Request

PEERS = ("fastapi", "litserve", "bentoml", "mlserver", "ray")
START_S = 90.0
PATIENCE_S = 15.0


def raw() -> Request:
    return Request("the bytes", "/predict", TENSOR.tobytes(), {"Content-Type": "application/octet-stream"})


def form() -> Request:
    edge = "edge-of-the-tensor"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="request"; filename="tensor"\r\n\r\n'
    body = head.encode() + TENSOR.tobytes() + f"\r\n--{edge}--\r\n".encode()
    return Request("a form", "/predict", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})


def v2_binary(model: str = "b0") -> Request:
    size = {"binary_data_size": TENSOR.nbytes}
    entry = {"name": "images", "shape": list(TENSOR.shape), "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Request("V2 binary", f"/v2/models/{model}/infer", head + TENSOR.tobytes(), headers)


def v2_base64(model: str = "b0") -> Request:
    entry: dict[str, Any] = {"name": "images", "shape": [1, 1], "datatype": "BYTES"}
    entry["parameters"] = {"content_type": "base64"}
    entry["data"] = [base64.b64encode(TENSOR.tobytes()).decode()]
    body = json.dumps({"inputs": [entry]}).encode()
    return Request("V2 base64", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})


REQUESTS: Mapping[str, Callable[[], Request]] = {
    "deploykit": v2_binary,
    "fastapi": raw,
    "litserve": form,
    "bentoml": raw,
    "mlserver": v2_base64,
    "ray": raw,
}


def logits(body: bytes, request: Request) -> np.ndarray:
    """[1000] of an answer, which is JSON if the request was, or else bytes that end in float32 numbers."""
    if request.headers["Content-Type"] == "application/json":
        return np.array(json.loads(body)["outputs"][0]["data"], np.float32)
    return np.frombuffer(body[-4000:], np.float32)


def command_of(name: str, path: Path, port: int, pythons: Mapping[str, str]) -> list[str]:
    """Raises RuntimeError where the Python of a peer is not known."""
    if name == "deploykit":
        return [sys.executable, "-m", "deploykit", "serve", f"b0={path}", "--port", str(port), "--no-grpc"]
    if name not in pythons:
        raise RuntimeError(f"no --peer {name}=PYTHON names the Python that has it")
    return [pythons[name], str(Path(__file__).parent / "peers" / f"{name}_server.py"), str(path), str(port)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def started(command: Sequence[str], port: int, request: Request) -> Iterator[tuple[int, bytes]]:
    """A server that answers: the id of its process, and its first answer.

    Raises:
        RuntimeError: It ends, or does not answer, or answers that the request is wrong.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + START_S
            while (answer := ask(port, request)) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    last = log.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise RuntimeError(f"it does not answer: {''.join(last)[:200] or 'and says nothing'}")
                time.sleep(0.3)
            yield process.pid, answer
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """As a service manager does: the first process is asked to end, and what it leaves behind is killed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    while left := session_of(process.pid):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.05)


def session_of(leader: int) -> list[int]:
    """The living processes of a session, which hold on to it in process groups of their own too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def ask(port: int, request: Request) -> bytes | None:
    """The answer; None if there is no server yet, or it says that it is not ready.

    Raises:
        RuntimeError: The server refuses the request.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", request.path, request.body, request.headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status == 200:
        return body
    if response.status in (404, 503):  # Ray's and MLServer's while they load
        return None
    raise RuntimeError(f"it answers {response.status}: {body[:200]!r}")
