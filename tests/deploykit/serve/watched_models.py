"""A server whose model files change, and clients that ask it all the while."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deploykit import serve

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD of fcntl.h and RENAME_EXCHANGE of rename(2)."""

TENSOR = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)


class Clients:
    """Ask for both models all the while; whatever fails is kept."""

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
        shutil.copy(self._good[before % 2], self._draft)
        put(self._draft, path)
        self.until(lambda: self.version(model) > before, f"{model} is loaded anew")
        self.until(lambda: model not in self.get("/v2/health/ready").get("reload_errors", {}), model)
        assert "reload_error" not in self.get(f"/v2/models/{model}")

    def breaks(self, spoil: Callable[[Path], None], words: str) -> str:
        """A bad file, which is refused with these words; the whole reason."""
        version, failures = self.version("a"), self.failures("a")
        spoil(self.path)
        self.until(lambda: self.failures("a") > failures, f"{spoil} is noticed")
        self.until(lambda: "reload_error" in self.get("/v2/models/a/ready"), "it is reported")
        ready = self.get("/v2/health/ready")
        assert ready["ready"]
        assert ready["reload_failed"]
        reason: str = ready["reload_errors"]["a"]
        assert reason.startswith(f"a newer file cannot be loaded, version {version} stays: ")
        assert words in reason, reason
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


def put(draft: Path, path: Path) -> None:
    """Put what is at ``draft`` in the place of what is at ``path``. There is a file at any moment: a server
    that looks at the wrong one would report a missing file."""
    if not os.path.lexists(path):
        draft.rename(path)
        return
    exchanged = ctypes.CDLL(None, use_errno=True).renameat2(
        _HERE, os.fsencode(draft), _HERE, os.fsencode(path), _EXCHANGE
    )
    if exchanged:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    remove(draft)


def replaced(path: Path, content: bytes) -> None:
    draft = path.with_name("bad")
    draft.write_bytes(content)
    put(draft, path)


def spoiled(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        model = onnx.load(path)
        change(model)
        replaced(path, model.SerializeToString())

    return spoil


@contextmanager
def serving(folder: Path, good: tuple[Path, Path], **options: Any) -> Iterator[Watched]:
    models = [str(folder / f"{name}.onnx") for name in ("a", "b")]
    with serve.running(models, port=0, grpc_port=None, poll_s=0.02, **options) as server:
        yield Watched(server.state.port, folder, good)
