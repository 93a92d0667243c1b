"""The picture of the README is what its script makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


def test_the_picture_is_what_the_model_answers(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    made = pictures.make(tmp_path)
    with Image.open(made) as new, Image.open(DOCS / made.name) as kept:
        assert new.size == kept.size
        off = np.abs(np.asarray(new.convert("RGB"), int) - np.asarray(kept.convert("RGB"), int))
    assert off.mean() < 1.0, "run docs/pictures.py again"


def test_the_picture_is_small() -> None:
    assert (DOCS / "predict.jpg").stat().st_size < 60_000
