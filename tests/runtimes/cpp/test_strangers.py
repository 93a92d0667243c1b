"""Names that are attacks, through deploykit-run: what it prints is what Python prints, and nothing that a
terminal obeys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.errors import DeploykitError
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "deploykit" / "strangers"))
from corpus_of_strangers import EVIL, HONEST, NAME, check_text, write_model


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its name is no UTF-8."""
    folder = tmp_path_factory.mktemp("pictures")
    path = Path(os.fsdecode(os.fsencode(folder / f"p{EVIL}") + b"\xff.png"))
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(path)
    return path


def _run(tool: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([tool, *arguments], capture_output=True, check=False)
    for stream in (done.stdout, done.stderr):
        assert "\x1b" not in check_text(stream)
    return done


def test_answers(tool: Path, picture: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / f"{EVIL}.onnx", (EVIL, f"b{EVIL}", HONEST), EVIL, NAME)
    done = _run(tool, model, picture)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "deploykit", "predict", str(model), str(picture), "--json"]
    python = subprocess.run(command, capture_output=True, check=True)
    found, wanted = json.loads(done.stdout), json.loads(python.stdout)
    assert found["model"] == wanted["model"] == str(model)
    assert found["results"][0]["image"] == str(picture)
    names = [[entry["name"] for entry in each["results"][0]["top"]] for each in (found, wanted)]
    assert names[0] == names[1]
    assert HONEST.encode() in done.stdout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deploykit.task", EVIL),
        ("deploykit.task", f"{HONEST}\u3000\u0600"),
        ("deploykit.input.height", EVIL),
        ("deploykit.task", "-" * 1_000_000),
        (f"deploykit.input.dynamic.{EVIL}", "1 2 1"),
        ("deploykit.input.name", NAME),
    ],
    ids=["task", "honest", "number", "long", "axis", "input"],
)
def test_errors_are_pythons(tool: Path, picture: Path, tmp_path: Path, key: str, value: str) -> None:
    import onnx

    path = write_model(tmp_path / "model.onnx", ("a", "b"), "tiny", "")
    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    done = _run(tool, path, picture)
    assert done.returncode in (5, 8)
    with pytest.raises(DeploykitError) as caught, load(path) as predictor:
        predictor.predict(picture)
    assert done.stderr.decode() == f"error: {caught.value}\n"


def test_what_is_typed(tool: Path, picture: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", ("a", "b"), "tiny", "")
    for arguments in ((f"--{EVIL}",), (EVIL, EVIL), (model, EVIL), (model, picture, "--top-k", EVIL)):
        done = _run(tool, *arguments)
        assert done.returncode in (2, 5, 8)
        assert b"owned" in done.stderr


def test_what_the_engine_says(tool: Path, picture: Path, tmp_path: Path) -> None:
    import onnx

    path = write_model(tmp_path / "model.onnx", ("a", "b"), EVIL, NAME)
    model = onnx.load(path)
    model.graph.node[0].attribute[0].i = 1
    model.graph.node[1].op_type = "Gemm"
    onnx.save(model, path)
    done = _run(tool, path, picture)
    assert done.returncode in (5, 7, 8)
    assert b"owned" in done.stderr
