"""The examples run: each on a golden model and a photo."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load
from PIL import Image


@pytest.fixture
def photo(photos, tmp_path: Path) -> Path:
    Image.fromarray(photos["cat"]).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_classify(tool: Path, run, golden: Path, photo: Path) -> None:
    lines = run(
        [tool.parent / "examples" / "example_classify", golden / "cpp" / "logits.onnx", photo]
    ).splitlines()
    assert len(lines) == 3
    assert lines[0].endswith('%  quoted "thing"')


def test_detect_draws(tool: Path, run, golden: Path, photo: Path, photos, tmp_path: Path) -> None:
    out = tmp_path / "boxes.png"
    run([tool.parent / "examples" / "example_detect", golden / "cpp" / "yolo.onnx", photo, out])
    drawn = np.asarray(Image.open(out))
    changed = (drawn != photos["cat"]).any(2)
    assert changed.any()
    assert (drawn[changed] == (255, 64, 0)).all()


@pytest.mark.parametrize("name", ["video_loop", "batching"])
def test_concurrent_examples(name: str, tool: Path, run, golden: Path, photo: Path) -> None:
    model = golden / "cpp" / "finished_detect.onnx"
    printed = run([tool.parent / "examples" / f"example_{name}", model, photo])
    assert "frames per second" in printed or "answered" in printed


def test_java(build: Path, run, golden: Path, photo: Path, photos, differences) -> None:
    if shutil.which("java") is None or not (build / "examples" / "libdeploykit_jni.so").exists():
        pytest.skip("no JDK is installed: apt-get install default-jdk-headless")
    model = golden / "cpp" / "pose.onnx"
    source = Path(__file__).parents[3] / "runtimes" / "cpp" / "examples" / "java" / "Predict.java"
    command = [
        "java",
        f"-Djava.library.path={build / 'examples'}",
        "-Dfile.encoding=UTF-8",
        source,
        model,
        photo,
    ]
    found = json.loads(run(command, LC_ALL="C.UTF-8"))
    with load(model, threads=1) as predictor:
        wanted = predictor.predict(photos["cat"]).to_dict()
    assert differences(found, wanted) == []


@pytest.mark.parametrize("name", ["classify", "detect", "batching", "video_loop"])
def test_an_example_without_arguments_says_what_it_wants(name: str, tool: Path) -> None:
    done = subprocess.run(
        [tool.parent / "examples" / f"example_{name}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_the_tool_without_arguments_prints_its_usage(tool: Path) -> None:
    done = subprocess.run([tool], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("deploykit-run MODEL IMAGE")
