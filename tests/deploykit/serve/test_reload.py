"""Model files that change while the server answers: what failed is tried again when it changes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from deploykit_runtimes.errors import DeploykitError, OptionError, RuntimeUnavailableError
from watched_models import Clients, Watched, replaced, serving, spoiled

from deploykit import serve
from deploykit.serve import opening


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("not even that")


SURPRISES = [
    OptionError("The cache is not trusted."),
    RuntimeUnavailableError("No device is left."),
    RuntimeError("\x1b]52;c;" + "x" * 5000),
    MemoryError("64 GB"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(),
    asyncio.CancelledError(),
    CancelledError(),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
    RecursionError("too deep"),
    SpeechlessError(),
]


@pytest.mark.parametrize("surprise", SURPRISES, ids=lambda error: type(error).__name__)
def test_whatever_a_library_raises_ends_one_attempt_only(
    folder: Path,
    classifier: Path,
    other_classifier: Path,
    monkeypatch: pytest.MonkeyPatch,
    surprise: BaseException,
) -> None:
    real = opening.open_model

    def open_model(name: str, version: str, path: Path, options: Any) -> Any:
        if path.read_bytes() == b"surprise":
            raise surprise
        return real(name, version, path, options)

    monkeypatch.setattr(opening, "open_model", open_model)
    with serving(folder, (classifier, other_classifier)) as watched:
        clients = Clients(watched.port, ("a", "b"))
        words = "not enough memory" if isinstance(surprise, MemoryError) else type(surprise).__name__
        if isinstance(surprise, DeploykitError):
            words = surprise.problem
        watched.breaks(lambda path: replaced(path, b"surprise"), words)
        watched.mend("b")
        watched.mend()
        clients.end()
        assert clients.lost == []
        # When a client asks for it, the failure is reported as well, and nothing ends.
        replaced(watched.path, b"surprise")
        connection = http.client.HTTPConnection("127.0.0.1", watched.port, timeout=300)
        connection.request("POST", "/v2/repository/models/a/load", "{}")
        response = connection.getresponse()
        assert response.status == 500
        assert words in json.loads(response.read())["error"]
        connection.close()
        watched.mend()


def test_a_file_that_never_ends_to_open_holds_up_no_other_model(
    folder: Path, classifier: Path, other_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hangs, go_on = opening.open_model, threading.Event(), threading.Event()

    def open_model(name: str, version: str, path: Path, options: Any) -> Any:
        if path.read_bytes() == b"endless":
            hangs.set()
            assert go_on.wait(300)
        return real(name, version, path, options)

    monkeypatch.setattr(opening, "open_model", open_model)
    with serving(folder, (classifier, other_classifier)) as watched:
        replaced(watched.path, b"endless")
        assert hangs.wait(300)
        for _ in range(3):
            watched.mend("b")
        go_on.set()
        watched.mend()


def test_a_failed_file_is_tried_again_when_its_weights_or_permissions_change(
    folder: Path, classifier: Path, other_classifier: Path
) -> None:
    with serving(folder, (classifier, other_classifier)) as watched:
        model = onnx.load(classifier)
        onnx.save(model, folder / "x.onnx", save_as_external_data=True, location="w", size_threshold=1024)
        whole = (folder / "w").read_bytes()
        (folder / "w").unlink()
        watched.breaks(lambda path: os.replace(folder / "x.onnx", path), "does not exist")
        version = watched.version("a")
        (folder / "draft").write_bytes(whole)
        os.replace(folder / "draft", folder / "w")  # the .onnx file is as it was
        watched.until(lambda: watched.version("a") > version, "the weights are noticed")
        assert "reload_failed" not in watched.get("/v2/health/ready")

        watched.breaks(lambda path: replaced(path, b"bad"), "a.onnx")
        failures = watched.failures("a")
        watched.path.chmod(0o640)
        watched.until(lambda: watched.failures("a") > failures, "the permissions are noticed")


@pytest.mark.parametrize("runtime", ["ort-cpu", "ov-cpu"])
def test_weights_that_are_overwritten_in_place_do_not_end_the_process(
    folder: Path, classifier: Path, start: Callable[..., Any], runtime: str
) -> None:
    """Engines map files of weights; reading a mapped page that no longer exists is a signal, not an error."""
    model = onnx.load(classifier)
    (folder / "a.onnx").unlink()
    onnx.save(model, folder / "a.onnx", save_as_external_data=True, location="w", size_threshold=1024)
    weights = (folder / "w").read_bytes()
    served = start(
        *(str(folder / f"{name}.onnx") for name in ("a", "b")), "--poll", "0.05", "--runtime", runtime
    )
    watched = Watched(int(served.ready()["url"].rpartition(":")[2]), folder, (classifier, classifier))
    clients = Clients(watched.port, ("a", "b"))
    for failures in (1, 2):
        (folder / "w").write_bytes(b"short")
        watched.until(partial(watched.failed, failures), "short weights are noticed")
        watched.until(partial(clients.answered, "a", clients.answers["a"] + 20), "the old version answers")
        (folder / "w").write_bytes(weights)
        watched.until(partial(watched.has, failures + 1), "whole weights are loaded")
    clients.end()
    assert clients.lost == []


def test_new_permissions_of_a_good_file_are_no_reason_to_load_it(
    folder: Path, classifier: Path, other_classifier: Path
) -> None:
    with serving(folder, (classifier, other_classifier)) as watched:
        watched.path.chmod(0o600)
        for _ in range(3):  # each takes two looks at both files
            watched.mend("b")
        assert watched.version("a") == 1


def test_other_inputs_are_served_and_said(
    folder: Path, classifier: Path, other_classifier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["pixels" if name == "images" else name for name in node.input]
        model.graph.input[0].name = "pixels"
        for entry in model.metadata_props:
            entry.value = "pixels" if entry.value == "images" else entry.value

    with serving(folder, (classifier, other_classifier)) as watched:
        spoiled(rename)(watched.path)
        watched.until(lambda: watched.version("a") == 2, "the file is loaded")
        assert watched.get("/v2/models/a")["inputs"][0]["name"] == "pixels"
        assert "a version 2 has other inputs: pixels" in caplog.text
        watched.mend()


def test_who_holds_no_key_is_not_told_why(folder: Path) -> None:
    keys = ("a-long-enough-key",)
    options = {"port": 0, "grpc_port": None, "poll_s": 0.02, "api_keys": keys}
    with serve.running(str(folder / "a.onnx"), **options) as server:
        replaced(folder / "a.onnx", b"bad")

        def ready(**headers: str) -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", server.state.port, timeout=300)
            connection.request("GET", "/v2/health/ready", headers=headers)
            document = json.loads(connection.getresponse().read())
            connection.close()
            return document

        deadline = time.monotonic() + 300
        while "reload_failed" not in ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ready() == {"ready": True, "reload_failed": True}
        assert list(ready(Authorization=f"Bearer {keys[0]}")["reload_errors"]) == ["a"]


def test_a_server_that_stops_while_a_file_never_ends_to_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hangs, go_on = opening.open_model, threading.Event(), threading.Event()

    def open_model(name: str, version: str, path: Path, options: Any) -> Any:
        if version == "2":
            hangs.set()
            assert go_on.wait(300)
        return real(name, version, path, options)

    monkeypatch.setattr(opening, "open_model", open_model)
    with serve.running(str(folder / "a.onnx"), port=0, grpc_port=None, poll_s=0.02):
        os.utime(folder / "a.onnx")
        assert hangs.wait(300)
    assert not go_on.is_set(), "the server has stopped all the same"
    go_on.set()
