"""Model files that go bad while the server answers: the old version stays until a good one comes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_runtimes.errors import DeploykitError, OptionError, RuntimeUnavailableError
from onnx import TensorProto, helper

from deploykit import serve
from deploykit.serve import opening

TENSOR = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)


class Clients:
    """Ask for both models all the while; whatever is no answer is kept."""

    def __init__(self, port: int, models: tuple[str, ...]) -> None:
        self._port = port
        self.answers = dict.fromkeys(models, 0)
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(model,)) for model in models]
        for thread in self._threads:
            thread.start()

    def _ask(self, model: str) -> None:
        entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32"}
        head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": TENSOR.nbytes}}]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            while not self._stop.wait(0.005):
                connection.request(
                    "POST",
                    f"/v2/models/{model}/infer",
                    head + TENSOR.tobytes(),
                    {"Inference-Header-Content-Length": str(len(head))},
                )
                response = connection.getresponse()
                content = response.read()
                if response.status != 200:
                    self.lost.append(f"{model}: {response.status} {content!r}")
                self.answers[model] += 1
        except OSError as error:
            self.lost.append(f"{model}: {error!r}")
        finally:
            connection.close()

    def answered(self, model: str, count: int) -> bool:
        return self.answers[model] >= count

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(300)


class Watched:
    """A running server with the models ``a`` and ``b``, seen over HTTP."""

    def __init__(self, port: int, folder: Path, good: tuple[Path, Path]) -> None:
        self.port = port
        self.path = folder / "a.onnx"
        self._other = folder / "b.onnx"
        self._good = good
        self._draft = folder / "draft"

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
            assert response.status == 200, content
            return json.loads(content) if response.headers["Content-Type"] == "application/json" else content
        finally:
            connection.close()

    def version(self, model: str) -> int:
        return int(self.get(f"/v2/models/{model}")["versions"][0])

    def has(self, version: int) -> bool:
        return self.version("a") == version

    def failed(self, times: int) -> bool:
        return self.failures("a") == times

    def failures(self, model: str) -> int:
        wanted = f'deploykit_model_load_failures_total{{model="{model}"}} '.encode()
        [line] = [line for line in self.get("/metrics").splitlines() if line.startswith(wanted)]
        return int(float(line.removeprefix(wanted)))

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 300
        while not holds():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    def mend(self, model: str = "a") -> None:
        """A good file, which is loaded."""
        path = self.path if model == "a" else self._other
        before = self.version(model)
        remove(path)
        shutil.copy(self._good[before % 2], self._draft)
        os.replace(self._draft, path)
        self.until(lambda: self.version(model) > before, f"{model} is loaded anew")
        self.until(lambda: model not in self.get("/v2/health/ready").get("reload_errors", {}), model)
        assert "reload_error" not in self.get(f"/v2/models/{model}")

    def breaks(self, spoil: Callable[[Path], None], words: str) -> str:
        """A bad file, which is refused with these words; the whole reason."""
        version, failures = self.version("a"), self.failures("a")
        spoil(self.path)
        self.until(lambda: self.failures("a") > failures, f"{spoil} is noticed")
        self.until(lambda: "reload_error" in self.get("/v2/models/a/ready"), "it is told")
        ready = self.get("/v2/health/ready")
        assert ready["ready"]
        assert ready["reload_failed"]
        reason: str = ready["reload_errors"]["a"]
        assert reason.startswith(f"a newer file cannot be loaded, version {version} stays: ")
        assert words in reason
        assert reason.isprintable()
        assert len(reason) < 500
        assert self.get("/v2/models/a")["reload_error"] == reason
        assert self.version("a") == version
        return reason


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replaced(path: Path, content: bytes) -> None:
    remove(path)
    draft = path.with_name("bad")
    draft.write_bytes(content)
    os.replace(draft, path)


def spoiled(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        model = onnx.load(path)
        change(model)
        replaced(path, model.SerializeToString())

    return spoil


def without_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def failing_when_run(model: onnx.ModelProto) -> None:
    """The last node becomes one that only a run can find at fault."""
    graph = model.graph
    [name] = [output.name for output in graph.output]
    for node in graph.node:
        node.output[:] = ["inner" if output == name else output for output in node.output]
    graph.initializer.append(helper.make_tensor("seven", TensorProto.INT64, [1], [7]))
    graph.node.append(helper.make_node("Shape", ["inner"], ["sizes"]))
    graph.node.append(helper.make_node("Add", ["sizes", "seven"], ["wrong"]))
    graph.node.append(helper.make_node("Reshape", ["inner", "wrong"], [name]))


def asking_for_a_terabyte(model: onnx.ModelProto) -> None:
    graph = model.graph
    [name] = [output.name for output in graph.output]
    for node in graph.node:
        node.output[:] = ["inner" if output == name else output for output in node.output]
    # Of a size that only a run knows, so that nothing is computed ahead.
    graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [1 << 20]))
    graph.node.append(helper.make_node("Shape", ["inner"], ["sizes"]))
    graph.node.append(helper.make_node("Mul", ["sizes", "huge"], ["terabytes"]))
    graph.node.append(helper.make_node("ConstantOfShape", ["terabytes"], ["zeros"]))
    graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["inner", "sum"], [name]))


def damaged_metadata(model: onnx.ModelProto) -> None:
    for entry in model.metadata_props:
        entry.value = "\x1b]0;title\x07" * 100


def other_weights(model: onnx.ModelProto) -> None:
    """Weights of another shape than the graph wants."""
    largest = max(model.graph.initializer, key=lambda weights: len(weights.raw_data))
    largest.dims[:] = [*reversed(largest.dims), 1]


def cut_off(path: Path) -> None:
    replaced(path, path.read_bytes()[: path.stat().st_size // 2])


def with_weights_beside_that_are_too_short(path: Path) -> None:
    model = onnx.load(path)
    remove(path)
    folder = path.parent / "draft-weights"
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "x.onnx", save_as_external_data=True, location="a.weights", size_threshold=1024)
    (path.parent / "a.weights").write_bytes((folder / "a.weights").read_bytes()[:1000])
    os.replace(folder / "x.onnx", path)
    shutil.rmtree(folder)


def a_folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def a_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def a_device(path: Path) -> None:
    remove(path)
    path.symlink_to("/dev/zero")


def a_circle(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def forbidden(path: Path) -> None:
    draft = path.with_name("bad")
    shutil.copy(path, draft)
    draft.chmod(0)
    os.replace(draft, path)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (lambda path: replaced(path, os.urandom(1000)), "a.onnx"),
    "empty": (lambda path: replaced(path, b""), "empty"),
    "cut off": (cut_off, "a.onnx"),
    "gone": (remove, "does not exist"),
    "a folder": (a_folder, "is a folder"),
    "a pipe": (a_pipe, "pipe"),
    "a device": (a_device, "device"),
    "a circle of links": (a_circle, "cannot be read"),
    "forbidden": (forbidden, "ermission denied"),
    "a checkpoint": (lambda path: replaced(path, b"PK\3\4" + bytes(100)), "checkpoint"),
    "no outputs": (spoiled(without_outputs), "output"),
    "fails in its first run": (spoiled(failing_when_run), "Reshape"),
    "a terabyte in its first run": (spoiled(asking_for_a_terabyte), "memory"),
    "damaged metadata": (spoiled(damaged_metadata), "metadata"),
    "weights of another shape": (spoiled(other_weights), "Conv"),
    "weights beside that are too short": (with_weights_beside_that_are_too_short, "a.onnx"),
}


@pytest.fixture
def folder(classifier: Path, tmp_path: Path) -> Path:
    for name in ("a", "b"):
        shutil.copy(classifier, tmp_path / f"{name}.onnx")
    return tmp_path


def obeying_permissions(command: list[str]) -> list[str]:
    """A command as a process for which permissions hold, which for root they do not."""
    if os.geteuid():
        return command
    assert shutil.which("setpriv"), "as root this test wants setpriv, of util-linux"
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


def test_bad_files_of_every_kind_under_load(
    folder: Path, classifier: Path, other_classifier: Path, start: Callable[..., Any]
) -> None:
    served = start(
        *(str(folder / f"{name}.onnx") for name in ("a", "b")), "--poll", "0.05", wrap=obeying_permissions
    )
    port = int(served.ready()["url"].rpartition(":")[2])
    log: list[str] = []
    reading = threading.Thread(target=lambda: log.extend(served.process.stderr))
    reading.start()
    watched = Watched(port, folder, (classifier, other_classifier))
    clients = Clients(port, ("a", "b"))
    try:
        for spoil, words in BAD.values():
            watched.breaks(spoil, words)
            watched.mend("b")
            watched.mend()
    finally:
        clients.end()
    assert clients.lost == []
    assert min(clients.answers.values()) > len(BAD)
    assert watched.failures("b") == 0
    served.process.terminate()
    served.process.wait(300)
    reading.join(300)
    assert served.process.returncode == 0
    text = "".join(log)
    # Once each: what failed is tried again when it changes, not at every look.
    assert text.count("cannot be loaded, version") == len(BAD)
    for version in range(1, len(BAD) + 1):
        assert text.count(f"cannot be loaded, version {version} stays: ") == 1
    assert all(sign.isprintable() for sign in text.replace("\n", ""))


@contextmanager
def serving(folder: Path, good: tuple[Path, Path], **options: Any) -> Iterator[Watched]:
    models = [str(folder / f"{name}.onnx") for name in ("a", "b")]
    with serve.running(models, port=0, grpc_port=None, poll_s=0.02, **options) as server:
        yield Watched(server.state.port, folder, good)


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
        # Asked for by a client, it is told as well, and nothing ends.
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
    """Engines map files of weights; reading a mapped page that is no more is a signal, not an error."""
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
