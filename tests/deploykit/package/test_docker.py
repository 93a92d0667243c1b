"""Dockerfiles, read by dockerfile-parse; images are not built here."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploykit_runtimes.errors import OptionError

from deploykit.package import package

Classifier = Callable[..., Path]


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions in order."""
    parse = pytest.importorskip("dockerfile_parse", reason="dockerfile-parse is not installed")
    parser = parse.DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    return [
        (each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"
    ]


@pytest.fixture
def folder(classifier: Classifier, tmp_path: Path) -> Path:
    package("docker", ["cat=" + str(classifier()), classifier("dog.onnx", external=True)], tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "extras", "runtime"),
    [("Dockerfile", "serve,cpu", "ort-cpu"), ("Dockerfile.cuda", "serve,gpu", "ort-cuda")],
)
def test_dockerfile(name: str, extras: str, runtime: str, folder: Path) -> None:
    steps = instructions(folder / name)
    known = [
        "FROM",
        "COPY",
        "RUN",
        "COPY",
        "ENV",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    assert [step for step, _ in steps] == known
    values = dict(steps)
    assert values["FROM"] == "python:3.12-slim"
    assert f'"deploykit[{extras}] @ file:///source"' in values["RUN"]
    assert ("onnxruntime-gpu[cuda,cudnn]" in values["RUN"]) == (runtime == "ort-cuda")
    assert values["USER"] == "10001"
    assert values["STOPSIGNAL"] == "SIGTERM"
    # The exec form is JSON; otherwise a shell would be process 1 and swallow signals.
    entry = json.loads(values["ENTRYPOINT"])
    assert entry[:4] == ["deploykit", "serve", "--host", "0.0.0.0"]
    assert entry[-2:] == ["--runtime", runtime]
    models = json.loads(values["CMD"])
    assert models == ["/models/cat.onnx", "/models/dog/dog.onnx"]
    assert all((folder / model.removeprefix("/")).is_file() for model in models)
    assert (folder / "models" / "dog" / "weights.bin").is_file()
    options, _, check = values["HEALTHCHECK"].partition("CMD")
    assert "--start-period=" in options
    program, flag, code = json.loads(check)
    assert (program, flag) == ("python", "-c")
    ast.parse(code)
    assert "/v2/health/ready" in code


def test_the_context_is_the_models_and_deploykit_only(folder: Path) -> None:
    assert (folder / ".dockerignore").read_text().splitlines() == ["*", "!models", "!source"]


def test_compose(folder: Path) -> None:
    services: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert list(services) == ["deploykit-cpu", "deploykit-cuda"]
    for service in services.values():
        assert (folder / service["build"]["dockerfile"]).is_file()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
    assert services["deploykit-cuda"]["profiles"] == ["cuda"]
    devices = services["deploykit-cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]


def test_a_wheel_instead_of_the_index(classifier: Classifier, tmp_path: Path) -> None:
    wheel = tmp_path / "deploykit-9.0+local-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    package("docker", classifier(), tmp_path / "out", wheel=wheel, device="cuda")
    text = (tmp_path / "out" / "Dockerfile").read_text()
    assert "COPY wheels /wheels\n" in text
    assert "deploykit[serve,gpu] @ file:///wheels/deploykit-9.0%2Blocal-py3-none-any.whl" in text
    assert (tmp_path / "out" / "wheels" / wheel.name).read_bytes() == b"wheel"
    with pytest.raises(OptionError, match="does not exist"):
        package("docker", classifier(), tmp_path / "no", wheel=tmp_path / "deploykit-1-py3-none-any.whl")


@pytest.mark.parametrize(
    "settings", [{"device": "tpu"}, {"python": "2.7"}, {"port": 80}, {"port": 8001}, {"wheel": "x.whl"}]
)
def test_wrong_options(settings: dict[str, Any], classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        package("docker", classifier(), tmp_path / "out", **settings)
