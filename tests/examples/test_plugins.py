"""A family and a runtime of another package, registered by its entry points, in every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

PLUGINS = Path(__file__).parents[2] / "examples/plugins"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """As after ``pip install ./examples/plugins``: the modules on the path, the entry points beside them."""
    project = tomllib.loads((PLUGINS / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(lines))
    path = os.pathsep.join(filter(None, (str(site), str(PLUGINS), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained-looking ResNet-18 of five classes, and a picture."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "running_mean" in name:
                tensor.normal_(0, 0.1)
    torch.save(net.state_dict(), folder / "resnet18.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder


def run(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploykit", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_they_are_short() -> None:
    for name in ("resnet_family.py", "reference_runtime.py"):
        assert len((PLUGINS / name).read_text().splitlines()) <= 60, name


def test_the_family_is_exported_and_the_runtime_answers_alike(
    environment: dict[str, str], folder: Path
) -> None:
    done = run(environment, folder, "export", "resnet18.pth", "--imgsz", "64", "--dynamic", "batch")
    assert done.returncode == 0, done.stderr
    assert "resnet, from torchvision" in done.stdout
    answers = []
    for runtime in ("ort-cpu", "onnx-reference"):
        done = run(
            environment, folder, "predict", "resnet18.onnx", "picture.png", "--runtime", runtime, "--json"
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    assert answers[1]["placement"]["engine"] == "onnx-reference"
    first, second = ([each["score"] for each in answer["results"][0]["top"]] for answer in answers)
    assert first == pytest.approx(second, abs=1e-5)


def test_without_the_package_a_resnet_is_refused_by_name(folder: Path) -> None:
    done = run(dict(os.environ), folder, "export", "resnet18.pth")
    assert done.returncode == 2
    assert "this is a ResNet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("doctor", "--runtime", "onnx-reference"), "onnx-reference"),
        (("bench", "resnet18.onnx", "--runtime", "onnx-reference", "--seconds", "0.1"), "onnx-reference"),
    ],
)
def test_the_other_commands_know_the_runtime(
    environment: dict[str, str], folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    if not (folder / "resnet18.onnx").exists():
        assert run(environment, folder, "export", "resnet18.pth", "--imgsz", "64").returncode == 0
    done = run(environment, folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert words in done.stdout


def test_a_family_that_cannot_be_loaded_spoils_nothing_but_itself(
    environment: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: broken\nVersion: 1\n")
    points = "[deploykit.families]\nbroken = no_such_module:FAMILY\nposing = json:loads\n"
    (info / "entry_points.txt").write_text(points)
    path = os.pathsep.join((str(tmp_path), environment["PYTHONPATH"]))
    beside = {**environment, "PYTHONPATH": path}
    done = run(beside, folder, "export", "resnet18.pth", "--imgsz", "64", "-o", "beside.onnx")
    assert done.returncode == 0, done.stderr
    for name in ("broken (no_such_module:FAMILY)", "posing (json:loads)"):
        assert " ".join(done.stderr.split()).count(f"The family {name}") == 1
    done = run(beside, folder, "export", "resnet18.pth", "--family", "broken")
    assert done.returncode == 6, done.stderr
    assert "error: The family broken (no_such_module:FAMILY) cannot be loaded" in done.stderr
    done = run(beside, folder, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {each["name"]: each for each in json.loads(done.stdout)["abilities"]}
    assert "No module named 'no_such_module'" in found["family broken"]["detail"]
    assert (
        "has no match" in found["family posing"]["detail"]
        or "has no name" in found["family posing"]["detail"]
    )
    assert "family resnet" not in found
