"""The class of a processor, by what Linux says of it; C++ reads the same vectors."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from deploykit_runtimes.machine.cpu import ARM, X86, cpu_class, cpu_flags

TEXT = (Path(__file__).parents[2] / "golden" / "int8" / "cpus.txt").read_text(encoding="utf-8")
BLOCKS = [dict(line.split("\t", 1) for line in text.splitlines()) for text in TEXT.split("\n\n")]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block['machine']} {block['class']}")
def test_classes(block: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    info = block["cpuinfo"].replace("\\n", "\n")
    (tmp_path / "proc/cpuinfo").write_text(info, encoding="utf-8")
    assert cpu_class(tmp_path, architecture=block["machine"]) == block["class"]


def test_what_nobody_tells(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path) == frozenset()
    assert cpu_class(tmp_path, architecture="AMD64") == "no-vnni"


def test_this_machine() -> None:
    found = cpu_class()
    machine = platform.machine().lower()
    assert (found in ("vnni", "no-vnni")) == (machine in X86)
    assert (found in ("arm", "arm-dot")) == (machine in ARM)
