"""Ctrl-C during the commands that measure a model or search for another form of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .test_interruptions import interrupted

Moments = Callable[[float, int], list[float]]


@pytest.fixture
def pictures(bed) -> Path:
    """A list of 24 pictures of noise and their classes."""
    folder = bed.root / "pictures"
    folder.mkdir()
    chance, lines = np.random.default_rng(0), []
    for number in range(24):
        Image.fromarray(chance.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 3}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder


def test_verify_bisect(bed, weights: list[Path], models: list[Path], moments: Moments) -> None:
    bed.warm_up()
    interrupted(bed, moments, 4, "verify", weights[0], models[0], "--bisect")


def test_selftest(bed, models: list[Path], moments: Moments) -> None:
    bed.warm_up()
    interrupted(bed, moments, 2, "selftest", models[0])


def test_eval(bed, models: list[Path], pictures: Path, moments: Moments) -> None:
    bed.warm_up()
    page = bed.out / "new" / "page.html"
    interrupted(bed, moments, 3, "eval", models[0], pictures / "list.csv", "--fresh", "--html", page)


@pytest.mark.parametrize("form", ["--fp16", "--int8"])
def test_quantize(bed, models: list[Path], pictures: Path, moments: Moments, form: str) -> None:
    bed.warm_up()
    target = bed.out / "new" / "model.onnx"
    quick = ["--keep-slower", "--target", "ort-cpu", "--seconds", "0.1", "--calibrate", "8"]
    options = quick if form == "--int8" else []
    interrupted(bed, moments, 3, "quantize", models[0], form, *options, "--calib", pictures, "-o", target)
