"""Real models that the tests of the server share."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., object]) -> Path:
    """A tiny ViT of three classes, batch free, 32 x 32 pixels."""
    return _export(tmp_path_factory.mktemp("classifier"), perturb, seed=0)


@pytest.fixture(scope="session")
def other_classifier(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., object]) -> Path:
    """The same architecture with other weights."""
    return _export(tmp_path_factory.mktemp("other"), perturb, seed=1)


@pytest.fixture
def folder(classifier: Path, tmp_path: Path) -> Path:
    """A folder with the classifier twice: ``a.onnx`` and ``b.onnx``."""
    for name in ("a", "b"):
        shutil.copy(classifier, tmp_path / f"{name}.onnx")
    return tmp_path


def _export(folder: Path, perturb: Callable[..., object], *, seed: int) -> Path:
    import timm
    import torch
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions

    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    torch.save(perturb(model, seed).state_dict(), folder / "tiny.pth")  # type: ignore[attr-defined]
    options = ExportOptions(dynamic=("batch",), labels=("cat", "dog", "bird"))
    return export(folder / "tiny.pth", options).path


class Served:
    """``deploykit serve`` with free ports for HTTP and gRPC, in a process of its own."""

    def __init__(self, *arguments: str, wrap: Callable[[list[str]], list[str]] = list) -> None:
        command = [sys.executable, "-m", "deploykit", "serve", "--json"]
        for port in ("--port", "--grpc-port"):
            command += [] if port in arguments else [port, "0"]
        self.process = subprocess.Popen(
            wrap([*command, *arguments]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> dict[str, Any]:
        """What it prints when it is ready."""
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}") or text.count("{") != text.count("}"):
            line = self.process.stdout.readline()
            assert line, self.end()
            text += line
        document: dict[str, Any] = json.loads(text)
        return document

    def line(self) -> str:
        """The next line of its log."""
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line, "the log has ended"
        return line

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; the exit code and the rest of the log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=300)
        return self.process.returncode, log


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    """Starts a server with arguments of the command line, ``wrap`` making another command of it."""
    started: list[Served] = []

    def serve(*arguments: str, wrap: Callable[[list[str]], list[str]] = list) -> Served:
        started.append(Served(*arguments, wrap=wrap))
        return started[-1]

    yield serve
    for served in started:
        served.process.kill()
        served.process.communicate()


@pytest.fixture(scope="module")
def served_once() -> Iterator[Callable[..., Served]]:
    """Starts servers that all tests of a file share."""
    started: list[Served] = []

    def serve(*arguments: str) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    yield serve
    for served in started:
        served.process.kill()
        served.process.communicate()


@pytest.fixture(scope="session")
def picture(photos: dict[str, np.ndarray]) -> bytes:
    """A photo as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(photos["cat"]).resize((96, 64)).save(file, "PNG")
    return file.getvalue()
