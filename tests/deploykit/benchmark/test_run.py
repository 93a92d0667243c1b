"""Measuring a real ONNX file on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError

from deploykit.benchmark.options import BenchOptions
from deploykit.benchmark.run import bench, example_images
from deploykit.checkup.tiny import tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def spec(preprocess: Preprocess, **image: object) -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="f",
        variant="v",
        origin="o",
        input=InputSpec(height=6, width=4, **image),  # type: ignore[arg-type]
        preprocess=preprocess,
        output=OutputSpec(names=("logits",), layout="logits"),
    )


def test_rows_say_what_ran_where(model: Path) -> None:
    steps: list[str] = []
    found = bench(model, BenchOptions(runs=7, warmup=1), report=steps.append)
    (row,) = found.rows
    assert (row.name, row.shape, row.summary.runs, row.warmup) == ("ort-cpu, batch 1", (1, 3, 8, 8), 7, 1)
    assert row.placement.providers == {"CPUExecutionProvider": 2}
    assert row.load_seconds is not None
    assert found.model["size_bytes"] == model.stat().st_size
    assert steps[0].startswith("Opening")


def test_a_batch_that_the_model_does_not_take_is_refused(model: Path) -> None:
    with pytest.raises(OptionError, match="fixed to 1"):
        bench(model, BenchOptions(batches=(2,), runs=1))


@pytest.mark.parametrize("options", [{"runtimes": ()}, {"batches": (0,)}, {"runs": 0}, {"seconds": 0.0}])
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        BenchOptions(**options)  # type: ignore[arg-type]


def test_example_images_are_normalised_and_reproducible() -> None:
    wanted = spec(Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    images = example_images(wanted, 2)
    assert (images.shape, images.dtype) == ((2, 3, 6, 4), np.float32)
    assert -1 <= images.min() < -0.5
    assert 0.5 < images.max() <= 1
    assert np.array_equal(images, example_images(wanted, 2))
    assert images.flags.c_contiguous


def test_example_images_follow_layout_and_dtype() -> None:
    images = example_images(spec(Preprocess(included=True), layout="NHWC", dtype="uint8"), 1, (5, 7))
    assert (images.shape, images.dtype) == ((1, 5, 7, 3), np.uint8)
    assert images.max() > 200
