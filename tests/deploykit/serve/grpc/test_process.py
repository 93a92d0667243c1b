"""The server as a process with gRPC: while it loads, at its end, and at a port that is taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

START = Callable[..., Any]

HELD = """
import sys, time
from pathlib import Path
from deploykit.__main__ import run
from deploykit.serve import repository

go_on, opened = Path(sys.argv.pop(1)), repository.open_safely

def held(name, *others):
    while name == "last" and not go_on.exists():
        time.sleep(0.01)
    return opened(name, *others)

repository.open_safely = held
run()
"""


def images() -> list[triton.InferInput]:
    tensor = triton.InferInput("images", [1, 3, 32, 32], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 3, 32, 32), np.float32))
    return [tensor]


def test_a_signal_loses_no_call_that_was_taken_on(classifier: Path, start: START) -> None:
    server = start(f"tiny={classifier}")
    address = server.ready()["grpc"]
    answered: list[np.ndarray] = []
    refused: list[str] = []

    def ask() -> None:
        with triton.InferenceServerClient(address) as client:
            while not refused:
                try:
                    answered.append(client.infer("tiny", images()).as_numpy("logits"))
                except InferenceServerException as error:
                    refused.append(error.status())

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    while len(answered) < 50:
        time.sleep(0.01)
    code, log = server.end()
    for client in clients:
        client.join()
    assert code == 0, log
    assert set(refused) <= {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    assert f"tiny version 1: {len(answered)} answered, 0 failed" in log
    assert all(np.array_equal(answer, answered[0]) for answer in answered)


def test_live_and_not_ready_while_models_load(classifier: Path, start: START, tmp_path: Path) -> None:
    """One model after the other: the first answers while the last is still to come."""
    http, rpc = free_ports(2)
    ports = ("--port", str(http), "--grpc-port", str(rpc))
    held = [sys.executable, "-c", HELD, str(tmp_path / "go on")]
    server = start(
        f"first={classifier}", f"last={classifier}", *ports, wrap=lambda command: [*held, *command[3:]]
    )
    assert "loaded first version 1" in server.line()
    with triton.InferenceServerClient(f"127.0.0.1:{rpc}") as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert client.is_model_ready("first")
        assert not client.is_model_ready("last")
        assert client.get_model_repository_index().models[-1].state == "LOADING"
        assert client.infer("first", images()).as_numpy("logits").shape == (1, 3)
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            client.infer("last", images())
        assert status(f"http://127.0.0.1:{http}/v2/health/live") == 200
        assert status(f"http://127.0.0.1:{http}/v2/health/ready") == 503
        (tmp_path / "go on").touch()
        server.ready()
        assert client.is_server_ready()
        assert client.is_model_ready("last")
        assert status(f"http://127.0.0.1:{http}/v2/health/ready") == 200
        assert client.infer("last", images()).as_numpy("logits").shape == (1, 3)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=300) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_second_signal_ends_at_once(classifier: Path, start: START) -> None:
    """The first one waits for a request whose body is still to come."""
    server = start(f"tiny={classifier}", "--timeout", "25")
    port = int(server.ready()["url"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")  # the server waits for its body
        connection.sendall(b"{ ")
        server.process.send_signal(signal.SIGTERM)
        while "stopping" not in server.line():
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(1.5)  # within a second, it would be the same wish
        code, log = server.end()
    assert code == -signal.SIGKILL
    assert "a second time" in log


def test_a_port_that_is_taken_is_told_in_one_message(classifier: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = f"""
import deploykit
try:
    with deploykit.serve.running("tiny={classifier}", port=0, grpc_port={port}):
        pass
except deploykit.DeploykitError as error:
    print(error.problem)
"""
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == f"gRPC cannot listen on 127.0.0.1:{port}: Address already in use.\n"
    assert run.stderr == "", "grpc writes no lines of its own"


def test_two_servers_do_not_share_a_port(classifier: Path, start: START) -> None:
    address = start(f"tiny={classifier}").ready()["grpc"]
    second = start(f"tiny={classifier}", "--grpc-port", address.rpartition(":")[2])
    _, log = second.process.communicate(timeout=300)
    assert second.process.returncode == 2
    assert f"gRPC cannot listen on {address}: Address already in use." in log
    assert "E0000" not in log
    with grpc.insecure_channel(address) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"") == b"\x08\x01"
