"""The golden vectors that the C++ runtime reads too (see tests/golden/make_preprocess.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.contract.metadata import spec_from_metadata
from deploykit_runtimes.pixels.preprocess import preprocess

FOLDER = Path(__file__).parents[1] / "golden" / "preprocess"
CONTRACT = {
    "deploykit.task": "features",
    "deploykit.family": "golden",
    "deploykit.variant": "golden",
    "deploykit.origin": "golden",
    "deploykit.output.names": "features",
    "deploykit.output.layout": "features",
}


def blocks() -> list[dict[str, str]]:
    texts = (FOLDER / "index.txt").read_text().strip().split("\n\n")
    return [dict(line.split("\t", 1) for line in text.splitlines()) for text in texts]


def read(entry: str, dtype: str) -> np.ndarray:
    name, *shape = entry.split()
    values = np.fromfile(FOLDER / name, dtype)
    return values.reshape([int(side) for side in shape] + ([3] if dtype == "u1" else []))


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block["name"])
def test_golden(block) -> None:
    spec = spec_from_metadata({**CONTRACT, **block})
    tensor, geometry = preprocess(read(block["image"], "u1"), spec)
    assert geometry.resized == tuple(map(int, block["resized"].split()))
    assert geometry.offset == tuple(map(int, block["offset"].split()))
    wanted = read(block["tensor"], "<f4")
    assert tensor.shape == wanted.shape
    np.testing.assert_allclose(tensor, wanted, rtol=1e-5, atol=2e-6)
