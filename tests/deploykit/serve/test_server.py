"""The server as a process: its start, its end, and what happens in between under load."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.errors import ModelError, OptionError

import deploykit

TENSOR = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)


class Process:
    """``deploykit serve`` in a process of its own, ready."""

    def __init__(self, *models: str, **options: object) -> None:
        given = [
            part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        command = [sys.executable, "-m", "deploykit", "serve", *models, "--port", "0", "--no-grpc", "--json"]
        self.process = subprocess.Popen(
            [*command, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}") or text.count("{") != text.count("}"):
            line = self.process.stdout.readline()
            assert line, self.end(signal.SIGKILL)
            text += line
        self.ready = json.loads(text)
        self.port = int(self.ready["url"].rpartition(":")[2])

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and log."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> tuple[int, str]:
        """Wait for its end; its exit code and log."""
        _, log = self.process.communicate(timeout=300)
        return self.process.returncode, log


@contextmanager
def serving(*models: str, **options: object) -> Iterator[Process]:
    process = Process(*models, **options)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


class Load:
    """Clients that ask one after the other on connections that stay open, until they are told to stop."""

    def __init__(self, port: int, model: str, clients: int = 4) -> None:
        entry: dict[str, Any] = {"name": "images", "shape": list(TENSOR.shape), "datatype": "FP32"}
        entry["parameters"] = {"binary_data_size": TENSOR.nbytes}
        head = json.dumps({"inputs": [entry]}).encode()
        self._body, self._length = head + TENSOR.tobytes(), str(len(head))
        self._port, self._path = port, f"/v2/models/{model}/infer"
        self.answers: list[dict[str, Any]] = []
        self.lost: list[str] = []
        self.refused = self.cut = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            while not self._stop.is_set():
                connection.request(
                    "POST", self._path, self._body, {"Inference-Header-Content-Length": self._length}
                )
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    self.answers.append(json.loads(content))
                elif response.status == 503:
                    self.refused += 1
                else:
                    self.lost.append(f"{response.status} {content!r}")
        except (http.client.RemoteDisconnected, ConnectionError):
            self.cut += 1  # before the request was taken on, or after: the server's own count tells which
        finally:
            connection.close()

    def wait_for(self, answers: int) -> None:
        deadline = time.monotonic() + 300
        while len(self.answers) < answers and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.answers) >= answers

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(300)
        assert not self.lost, self.lost[:3]


def values(answer: dict[str, Any]) -> np.ndarray:
    return np.array(answer["outputs"][0]["data"], np.float32)


def test_ready_answering_and_ended_by_a_signal(classifier: Path) -> None:
    with serving(f"tiny={classifier}") as process:
        assert process.ready["models"][0]["placement"]["device"] == "cpu"
        assert process.ready["grpc"] is None
        running = Load(process.port, "tiny")
        running.wait_for(20)
        running.end()
        code, log = process.end()
    assert code == 0
    assert "loaded tiny version 1" in log
    assert log.strip().endswith("stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_accepted_request(classifier: Path, number: signal.Signals) -> None:
    wanted = load(classifier).runner.infer({"images": TENSOR})["logits"].ravel()
    with serving(f"tiny={classifier}") as process:
        running = Load(process.port, "tiny", clients=8)
        running.wait_for(100)
        code, log = process.end(number)
        running.end()
    assert code == 0, log
    for answer in running.answers:
        np.testing.assert_allclose(values(answer), wanted, atol=1e-5)
    assert f"tiny version 1: {len(running.answers)} answered, 0 failed" in log
    assert "Traceback" not in log


def test_the_answer_to_a_request_that_was_accepted_before_the_signal_comes(classifier: Path) -> None:
    """A request whose body is still on its way when the signal comes has been accepted."""
    head = json.dumps(
        {"inputs": [{"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.5] * 3072}]}
    ).encode()
    with serving(f"tiny={classifier}") as process:
        with socket.create_connection(("127.0.0.1", process.port), timeout=300) as connection:
            start = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n"
            start += f"Content-Length: {len(head)}\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(start.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")  # the server waits for its body
            connection.sendall(head[:-1])
            process.tell(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(head[-1:])
            answer = connection.recv(65536)
        code, log = process.finish()
        assert code == 0, log
    assert b" 200 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_twice_at_once_loses_no_request(classifier: Path, number: signal.Signals) -> None:
    """GNU timeout sends its signal to the process and to the group."""
    body = json.dumps(
        {"inputs": [{"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.5] * 3072}]}
    ).encode()
    with serving(f"tiny={classifier}") as process:
        with socket.create_connection(("127.0.0.1", process.port), timeout=300) as connection:
            start = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n"
            start += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(start.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")  # the server waits for its body
            connection.sendall(body[:-1])
            for pause in (0.05, 0.05, 0.1):  # signals that are pending together become one
                process.tell(number)
                time.sleep(pause)
            connection.sendall(body[-1:])
            answer = connection.recv(65536)
        code, log = process.finish()
    assert code == 0, log
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert "dropped" not in log


def test_a_killed_server_comes_back(classifier: Path) -> None:
    for number, wanted in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        with serving(f"tiny={classifier}") as process:
            running = Load(process.port, "tiny", clients=2)
            running.wait_for(10)
            code, _ = process.end(number)
            running.end()
            assert code == wanted


def test_a_file_that_changes_under_load(classifier: Path, other_classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(classifier, path)
    wanted = {
        version: load(file).runner.infer({"images": TENSOR})["logits"].ravel()
        for version, file in (("1", classifier), ("2", other_classifier), ("3", classifier))
    }
    with serving(str(path), poll=0.05) as process:
        running = Load(process.port, "model")
        for version, file in (("2", other_classifier), ("3", classifier)):
            shutil.copy(file, tmp_path / "draft")
            os.replace(tmp_path / "draft", path)
            deadline = time.monotonic() + 300
            while not running.answers or running.answers[-1]["model_version"] != version:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        path.write_bytes(b"broken")
        seen = len(running.answers)
        time.sleep(0.5)
        running.wait_for(seen + 20)
        running.end()
        code, log = process.end()
    assert code == 0
    assert running.refused == 0
    assert {answer["model_version"] for answer in running.answers} == {"1", "2", "3"}
    for answer in running.answers:
        np.testing.assert_allclose(values(answer), wanted[answer["model_version"]], atol=1e-5)
    assert "version 3 stays" in log


def test_memory_does_not_grow(classifier: Path) -> None:
    def resident(pid: int) -> int:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    with serving(f"tiny={classifier}") as process:
        running = Load(process.port, "tiny", clients=4)
        running.wait_for(1500)
        before = resident(process.process.pid)
        running.wait_for(6000)
        after = resident(process.process.pid)
        running.end()
    assert after - before < 4 << 20, (before, after)


def test_a_port_that_is_taken(classifier: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OptionError, match=f"cannot listen on 127.0.0.1:{port}"),
            deploykit.serve.running(classifier, port=port, grpc_port=None),
        ):
            pass


def test_a_host_that_nobody_has(classifier: Path) -> None:
    with (
        pytest.raises(OptionError, match="HTTP cannot listen on no such host:0: "),
        deploykit.serve.running(classifier, host="no such host", port=0, grpc_port=None),
    ):
        pass


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    threads = threading.active_count()
    with pytest.raises(ModelError), deploykit.serve.running(path, port=0, grpc_port=0):
        pass
    assert threading.active_count() == threads


def test_http_and_grpc_answer_alike(classifier: Path) -> None:
    import tritonclient.grpc
    import tritonclient.http

    with deploykit.serve.running(f"tiny={classifier}", port=0, grpc_port=0) as server:
        answers = []
        for module, address in (
            (tritonclient.http, server.url.removeprefix("http://")),
            (tritonclient.grpc, server.grpc_address),
        ):
            with module.InferenceServerClient(address) as client:
                given = module.InferInput("images", list(TENSOR.shape), "FP32")
                given.set_data_from_numpy(TENSOR)
                answers.append(client.infer("tiny", [given]).as_numpy("logits"))
    np.testing.assert_array_equal(*answers)


def test_unknown_options_are_named(classifier: Path) -> None:
    with pytest.raises(OptionError, match="no option 'ports'"):
        deploykit.serve.running(classifier, ports=8000)
