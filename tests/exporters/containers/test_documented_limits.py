"""The numbers of SECURITY.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from deploykit_exporters.containers import budget, hdf5, keras_h5, labels, texts, torch_file
from deploykit_exporters.containers.pickles import machine

PAGE = Path(__file__).parents[3] / "SECURITY.md"


def megabytes(count: int) -> str:
    assert count % (1 << 20) == 0
    return f"{count >> 20} MB"


def documented() -> dict[str, str]:
    """What is limited, and to what, of the table of a read."""
    section = PAGE.read_text().partition("## Limits of a read")[2].partition("\n##")[0]
    return dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)[1:])


def coded() -> dict[str, str]:
    free = megabytes(budget.FREE_BYTES)
    made, step, tensor = budget._BYTES_PER_BYTE, budget._BYTES_PER_STEP, budget._TENSOR_BYTES_PER_BYTE
    text, python = megabytes(budget._FREE_TEXT), megabytes(texts._MAX_PYTHON)
    events = texts._MAX_EVENTS
    return {
        "memory for objects of a pickle": f"{free}, and {made} bytes for each byte of pickle that was read",
        "states that a pickle gives to objects": "the same, each time by its size",
        "operations of a pickle": f"{budget._FREE_STEPS:,}, and one for every {step} bytes of the file",
        "storages in storages": f"{torch_file._MAX_NESTED} levels",
        "tensors, by their own sizes": f"{free}, and {tensor} times the file",
        "a tensor that repeats its storage": free,
        "a deflated archive": f"{torch_file._MAX_EXPANSION} times its size",
        "globals that a pickle names": f"{machine._MAX_GLOBALS:,}, of {machine._MAX_PATH:,} characters",
        "different keys and elements with the same hash": f"{budget._MAX_ALIKE:,} parts; "
        "for sets, their square",
        "levels of plain containers": str(budget._MAX_LEVELS),
        "content written out": f"{text}, and {budget._TEXT_PER_BYTE} bytes for each byte read",
        "containers that contain themselves": f"{budget._MAX_LOOPS} places",
        "integers": f"{budget._MAX_INTEGER_BITS:,} bits",
        "arrays of an HDF5 file": f"{free}, and {hdf5._BYTES_PER_BYTE} times the file",
        "attributes of an HDF5 file": "the same",
        "links of an HDF5 file": f"its own groups, {keras_h5._MAX_LEVELS} levels",
        "YAML": f"{events:,} values, merged {events + texts._MAX_MERGED:,} at most",
        "Python text (mmengine, YOLOX)": f"{python}, {texts._MAX_SEPARATORS:,} separators",
        "files of names and settings": megabytes(labels.LARGEST),
    }


def test_the_limits_of_a_read_are_documented() -> None:
    assert documented() == coded()
