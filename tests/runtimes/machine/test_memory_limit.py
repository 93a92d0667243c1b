"""What a model asks for beyond all reason is refused, whichever operator asks; nothing honest is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bombs import BOMBS
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine import memory_limit
from deploykit_runtimes.open import open_runner
from hostile_models import HONEST
from measured import measured

ROOT = Path(__file__).parents[3]
MEGABYTES = 200 + ((memory_limit.LOAD_BYTES + memory_limit.RUN_BYTES) >> 20)
"""What a loading took stays when the first run begins: constants that fitted, where a later one did not."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")

_ANSWER = """
import sys
import numpy as np
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.memory_limit import limit_memory
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
limit_memory()
try:
    with open_runner(sys.argv[1], threads=1, runtime=sys.argv[2]) as runner:
        for _ in range(2):
            Predictor(runner).predict(np.zeros((40, 50, 3), np.uint8))
except DeploykitError as error:
    sys.exit([print(f"error: {error}", file=sys.stderr), error.exit_code][1])
"""


@pytest.mark.parametrize("name", BOMBS)
def test_no_operator_takes_the_machine(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[name]())
    code, megabytes, _, said = measured(sys.executable, "-c", _ANSWER, path, "ort-cpu")
    assert code == 5, said
    assert "memory" in said
    assert megabytes < MEGABYTES


@pytest.mark.parametrize("name", ["MatMul", "Einsum", "products of the image", "doubled, constant"])
def test_nor_on_openvino(name: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[name]())
    code, megabytes, _, said = measured(sys.executable, "-c", _ANSWER, path, "ov-cpu")
    assert code == 5, said
    assert "OpenVINO" in said
    assert "memory" in said
    assert megabytes < MEGABYTES


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_answered(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(HONEST[name]())
    code, _, _, said = measured(sys.executable, "-c", _ANSWER, path, "ort-cpu")
    assert code == 0, said


_LIMITS = """
import json, resource, sys, threading
from deploykit_runtimes.machine import memory_limit
from deploykit_runtimes.machine.memory_limit import first_run, limit_memory, loading, share_memory
told = []
tell = lambda allowed=0: told.append([allowed, resource.getrlimit(resource.RLIMIT_DATA)[0]])
exec(sys.argv[1])
print(json.dumps(told))
"""


def limits(script: str, **environment: str) -> list[list[int | None]]:
    """What a process had: bytes that a block allowed, and its own limit."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITS, script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    told: list[list[int | None]] = json.loads(done.stdout)
    return told


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    import os

    monkeypatch.delenv(memory_limit.MEMORY, raising=False)
    return dict(os.environ)


def test_a_program_of_others_is_left_alone(environment: dict[str, str]) -> None:
    script = "tell()\nwith loading(100) as allowed: tell(allowed)\ntell()"
    before, inside, behind = limits(script, **environment)
    assert inside[0] is None
    assert before[1] == inside[1] == behind[1]


def test_a_model_has_what_its_size_allows_and_gives_it_back(environment: dict[str, str]) -> None:
    script = """
limit_memory()
tell()
for block in (loading(1 << 20), first_run(1 << 10)):
    with block as allowed: tell(allowed)
    tell()
"""
    before, load, after_load, run, after_run = limits(script, **environment)
    assert before[1] == -1  # nothing is limited before there is a model
    assert load[0] == memory_limit.LOAD_BYTES + memory_limit.LOAD_PER_BYTE * (1 << 20)
    assert run[0] == memory_limit.RUN_BYTES + memory_limit.RUN_PER_VALUE * (1 << 10)
    assert after_load[1] > load[1]
    assert after_run[1] > run[1]


@pytest.mark.parametrize("what", ["share_memory()", "kept = loading(0); kept.__enter__()"])
def test_models_beside_others_have_no_limit_of_their_own(what: str, environment: dict[str, str]) -> None:
    (inside,) = limits(f"limit_memory()\n{what}\nwith loading(0) as allowed: tell(allowed)", **environment)
    assert inside[0] > memory_limit.LOAD_BYTES


def test_a_limit_that_was_set_before_stays(environment: dict[str, str]) -> None:
    script = """
limit_memory()
resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, -1))
with loading(0) as allowed: tell(allowed)
tell()
"""
    inside, behind = limits(script, **environment)
    assert inside[0] < 700 << 20
    assert inside[1] == behind[1] == 700 << 20


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 << 30),
        ("500 MB", 500 << 20),
        ("1.5GiB", 3 << 29),
        ("2000000000", 2_000_000_000),
        (" 3gb ", 3 << 30),
    ],
)
def test_the_environment_sets_the_limit(text: str, size: int, environment: dict[str, str]) -> None:
    (inside,) = limits("with loading(0) as allowed: tell(allowed)", **environment, DEPLOYKIT_MEMORY=text)
    assert size - (200 << 20) < inside[0] <= size


def test_off_sets_none(environment: dict[str, str]) -> None:
    script = "limit_memory()\nwith loading(0) as allowed: tell(allowed)"
    assert limits(script, **environment, DEPLOYKIT_MEMORY="off") == [[None, -1]]


@pytest.mark.parametrize("text", ["0", "-1", "4x", "G", "1.2.3", ".5G", "4 GBB", "1e9"])
def test_what_is_no_size_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, write_classifier: Callable[..., Path]
) -> None:
    monkeypatch.setenv(memory_limit.MEMORY, text)
    with pytest.raises(OptionError, match="DEPLOYKIT_MEMORY wants a size, as 4G or 500M, or off"):
        open_runner(write_classifier())


def test_cpp_has_the_same_numbers() -> None:
    source = (ROOT / "runtimes" / "cpp" / "src" / "machine" / "memory_limit.cpp").read_text()
    for name in ("LOAD_BYTES", "LOAD_PER_BYTE", "RUN_BYTES", "RUN_PER_VALUE"):
        camel = "k" + name.title().replace("_", "")
        found = re.search(rf"{camel} = (\d+);", source)
        assert found is not None
        assert int(found[1]) == getattr(memory_limit, name)


def test_the_numbers_are_documented() -> None:
    section = (ROOT / "SECURITY.md").read_text().partition("### Memory of a model")[2].partition("\n## ")[0]
    load, run = memory_limit.LOAD_BYTES >> 20, memory_limit.RUN_BYTES >> 20
    assert f"| {load:,} MB, and {memory_limit.LOAD_PER_BYTE} bytes for each byte of the model" in section
    assert f"| {run:,} MB, and {memory_limit.RUN_PER_VALUE:,} bytes for each value of its inputs |" in section
