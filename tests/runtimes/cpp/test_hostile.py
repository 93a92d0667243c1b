"""``deploykit-run`` refuses the model files that attack it, at once, and as Python does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bombs import BOMBS
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.memory_limit import LOAD_BYTES, RUN_BYTES
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
from hostile_models import CONTRACT, FORGED_VALUES, HONEST, HOSTILE, YOLO, forged, model
from PIL import Image

MEGABYTES, SECONDS = 500, 5
SEED = 20

_MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
said = done.stderr.decode(errors="replace")
print(json.dumps([done.returncode, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, said]))
"""


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.new("RGB", (50, 40)).save(path)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models_are_refused(name: str, tool: Path, picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(HOSTILE[name]())
    command = [sys.executable, "-S", "-c", _MEASURE, str(tool), str(path), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, megabytes, seconds, said = json.loads(done.stdout)
    assert code == 5, said
    assert said.startswith("error: ")
    assert len(said) < 1000
    assert megabytes < MEGABYTES
    assert seconds < SECONDS


@pytest.mark.parametrize("name", BOMBS)
def test_no_operator_takes_the_machine(name: str, tool: Path, picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[name]())
    command = [sys.executable, "-S", "-c", _MEASURE, str(tool), str(path), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, megabytes, _, said = json.loads(done.stdout)
    assert code == 5, said
    assert "memory" in said
    assert megabytes < 200 + ((LOAD_BYTES + RUN_BYTES) >> 20)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, 2) for text in ("0", "-1", "4x", "G", "1.2.3", ".5G", "4 GBB", "1e9")),
        (" 3gb ", 0),
        ("off", 0),
    ],
)
def test_sizes_in_the_environment_are_read_as_in_python(
    text: str, code: int, tool: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYKIT_MEMORY", text)
    path = tmp_path / "m.onnx"
    path.write_bytes(next(iter(HONEST.values()))())
    done = subprocess.run([tool, path, picture], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("DEPLOYKIT_MEMORY wants a size, as 4G or 500M, or off" in done.stderr) == (code == 2)


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_answered(name: str, tool: Path, picture: Path, tmp_path: Path, run) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(HONEST[name]())
    assert json.loads(run([tool, path, picture]))["failed"] == 0


def _python(path: Path) -> tuple[int, str]:
    try:
        with open_runner(path, threads=1) as runner:
            Predictor(runner).predict(np.zeros((40, 50, 3), np.uint8))
    except DeploykitError as error:
        return error.exit_code, error.problem
    return 0, ""


def _same_outcome(tool: Path, path: Path, picture: Path) -> None:
    wanted = _python(path)
    done = subprocess.run(
        [str(tool), "--threads", "1", str(path), str(picture)],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert (done.returncode, said) == (wanted[0], said), (wanted, said)


def test_forged_contracts_have_the_outcome_that_they_have_in_python(
    tool: Path, picture: Path, tmp_path: Path
) -> None:
    print("seed", SEED)  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(SEED)
    pairs = [(key, value) for key in CONTRACT for value in FORGED_VALUES]
    for key, value in chance.sample(pairs, 400):
        path = tmp_path / "m.onnx"
        path.write_bytes(forged(key, value))
        _same_outcome(tool, path, picture)


def test_forged_keys_of_ultralytics_have_the_outcome_that_they_have_in_python(
    tool: Path, picture: Path, tmp_path: Path
) -> None:
    for key in YOLO:
        for value in FORGED_VALUES:
            path = tmp_path / "m.onnx"
            path.write_bytes(model(metadata={**YOLO, key: value}))
            _same_outcome(tool, path, picture)
