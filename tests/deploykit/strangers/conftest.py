"""Commands in processes of their own, and the files that they are run on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from corpus_of_strangers import EVIL, HONEST, NAME, check_text, write_model
from warm import Warm


def _exporters_conftest() -> Any:
    """Checkpoints of the real training libraries are made by the fixtures of tests/exporters."""
    path = Path(__file__).parents[2] / "exporters/conftest.py"
    spec = importlib.util.spec_from_file_location("exporters_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ultralytics_file = _exporters_conftest().ultralytics_file

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process from which commands are forked: it imports torch once."""
    made = Warm()
    yield made
    made.close()


@pytest.fixture(scope="session")
def run_on(warm: Warm) -> Run:
    """A command in a process of its own, with colours or without, whose output is checked."""

    def run(*arguments: str | Path, color: bool = True) -> subprocess.CompletedProcess[bytes]:
        choice = {"FORCE_COLOR": "1"} if color else {"NO_COLOR": "1"}
        done = warm.run(*arguments, **choice)
        for stream in (done.stdout, done.stderr):
            text = check_text(stream)
            assert color or "\x1b" not in text
        assert done.returncode != 70, done.stderr.decode()
        return done

    return run


@pytest.fixture(scope="session")
def evil_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that runs, in a file with such a name, all names of which are attacks."""
    folder = tmp_path_factory.mktemp("evil")
    return write_model(folder / f"m{EVIL}.onnx", (EVIL, f"b{EVIL}", HONEST), EVIL, NAME)


@pytest.fixture(scope="session")
def evil_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture whose name is no UTF-8 either."""
    folder = tmp_path_factory.mktemp("pictures")
    path = Path(os.fsdecode(os.fsencode(folder / f"p{EVIL}") + b"\xff.png"))
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(path)
    return path
