"""The golden vectors of the C++ runtime say what Python says today."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def maker() -> Iterator[object]:
    sys.path.insert(0, str(GOLDEN))
    import make_cpp

    yield make_cpp
    sys.path.remove(str(GOLDEN))


def test_errors_of_metadata(maker) -> None:
    assert (GOLDEN / "cpp" / "metadata.txt").read_text() == "\n".join(maker.metadata_errors()) + "\n"


def test_errors_of_answers(maker) -> None:
    assert (GOLDEN / "cpp" / "foreign_errors.txt").read_text() == "\n".join(maker.answer_errors()) + "\n"
