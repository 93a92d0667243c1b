"""Files that ask for more than a machine has are refused at once, by both runtimes and in the same words."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.contract import limits
from deploykit_runtimes.errors import DeploykitError, ModelError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.graph_limits import check_graph_limits
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
from hostile_models import CONTRACT, FORGED_VALUES, HONEST, HOSTILE, YOLO, at_run, forged, model
from measured import measured

ROOT = Path(__file__).parents[3]
SEED = 20
MEGABYTES, SECONDS = 500, 5

_ANSWER = """
import sys
import numpy as np
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
try:
    with open_runner(sys.argv[1], threads=1) as runner:
        Predictor(runner).predict(np.zeros((40, 50, 3), np.uint8))
except DeploykitError as error:
    sys.exit([print(f"error: {error}", file=sys.stderr), error.exit_code][1])
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(HOSTILE[name]())
    code, megabytes, seconds, said = measured(sys.executable, "-c", _ANSWER, path)
    assert code == 5, said
    assert said.startswith("error: ")
    assert len(said) < 1000
    assert megabytes < MEGABYTES
    assert seconds < SECONDS


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_answered(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(HONEST[name]())
    code, _, _, said = measured(sys.executable, "-c", _ANSWER, path)
    assert code == 0, said


def _outcome(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    try:
        with open_runner(path, threads=1) as runner:
            result = Predictor(runner).predict(np.zeros((40, 50, 3), np.uint8))
    except DeploykitError as error:
        assert error.exit_code in (5, 8), error
        return "refused"
    assert result is not None
    return "answered"


@pytest.mark.parametrize("key", CONTRACT)
def test_every_forged_value_is_answered_or_refused(key: str, tmp_path: Path) -> None:
    outcomes = [_outcome(forged(key, value), tmp_path / "m.onnx") for value in FORGED_VALUES]
    assert "refused" in outcomes or key.rpartition(".")[2] in _ANYTHING


_ANYTHING = {
    *(
        "family",
        "variant",
        "origin",
        "source",
        "source_sha256",
        "recognised",
        "assumed",
        "exporter",
        "shapes",
    ),
    *("inputs", "reference", "engine"),
}
"""Keys that hold any text."""


@pytest.mark.parametrize("key", YOLO)
def test_every_forged_value_of_ultralytics_is_answered_or_refused(key: str, tmp_path: Path) -> None:
    for value in FORGED_VALUES:
        _outcome(model(metadata={**YOLO, key: value}), tmp_path / "m.onnx")


def test_mutated_contracts_are_answered_or_refused(tmp_path: Path) -> None:
    """Several values at a time, each another key's or a forged one."""
    print("seed", SEED)  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(SEED)
    keys = list(CONTRACT)
    for _ in range(300):
        changed = dict(CONTRACT)
        for key in chance.sample(keys, chance.randint(1, 6)):
            changed[key] = chance.choice([*FORGED_VALUES, *CONTRACT.values()])
        _outcome(model(metadata=changed), tmp_path / "m.onnx")


def test_mutated_bytes_are_read_or_refused(tmp_path: Path) -> None:
    print("seed", SEED)  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(SEED)
    honest = model()
    for _ in range(3000):
        content = bytearray(honest)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "m.onnx").write_bytes(content)
        try:
            read_onnx(tmp_path / "m.onnx").spec()
        except ModelError:
            continue


def _table() -> dict[str, int]:
    return {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)}


def test_cpp_has_the_same_table() -> None:
    text = (ROOT / "runtimes/cpp/src/contract/limits.hpp").read_text()
    found = re.findall(r"int64_t k(\w+) = ([0-9 <]+);", text)
    assert {name.upper(): eval(value) for name, value in found} == _table()


@pytest.mark.parametrize("page", ["SECURITY.md"])
def test_the_table_is_documented(page: str) -> None:
    section = (ROOT / page).read_text().partition("## Limits of models")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| .+ \| .+ \|$", section, re.MULTILINE)
    assert {name.upper(): int(value.replace(",", "")) for name, value in rows} == _table()


def test_a_graph_that_makes_much_from_an_image_is_not_refused(golden: Path) -> None:
    """The sizes that follow from constants are never larger than they are."""
    files = sorted((golden / "cpp").glob("*.onnx"))
    assert len(files) > 30
    for path in files:
        check_graph_limits(memoryview(path.read_bytes()))


def test_running_out_of_memory_says_what_asked_for_how_much(tmp_path: Path) -> None:
    """No constant tells: the shape is the product of what the caller feeds."""
    path = tmp_path / "m.onnx"
    path.write_bytes(at_run())
    with open_runner(path, threads=1) as runner, pytest.raises(ModelError) as caught:
        runner.infer({"images": np.full((1, 3, 32, 32), 1 << 20, np.float32)})
    assert "ran out of memory in the node ConstantOfShape" in caught.value.problem
    assert re.search(r"asks for \d{12,} bytes", caught.value.problem)
