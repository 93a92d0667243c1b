"""Thresholds that a model follows, and those that would have no effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.answers.thresholds import ThresholdsOf
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError

BOXES = {"conf": 0.5, "iou": 0.5, "max_det": 3}


def spec_of(task: Any, layout: Any, **output: Any) -> ModelSpec:
    return ModelSpec(
        task=task,
        family="yolo",
        variant="v",
        origin="o",
        num_classes=3,
        input=InputSpec(name="images", channels=3, height=32, width=32),
        preprocess=Preprocess(),
        output=OutputSpec(names=("out",), layout=layout, **output),
    )


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (spec_of("classify", "logits"), {"top_k": 2}),
        (spec_of("detect", "yolo"), BOXES),
        (spec_of("segment", "yolo"), BOXES),
        (spec_of("detect", "end2end"), {"conf": 0.5, "max_det": 3}),
        (spec_of("features", "features"), {}),
        (spec_of("features", "features"), {"conf": None, "top_k": None}),
    ],
)
def test_what_a_task_uses_is_taken(spec: ModelSpec, options: dict[str, Any]) -> None:
    found = ThresholdsOf(spec).asked(options)
    for name, value in options.items():
        if value is not None:
            assert getattr(found, name) == value


@pytest.mark.parametrize(
    ("spec", "options", "expected"),
    [
        *((spec_of("classify", "logits"), {name: value}, "classify") for name, value in BOXES.items()),
        *((spec_of("features", "features"), {name: 1}, "features") for name in ("top_k", *BOXES)),
        *(
            (spec_of(task, "yolo"), {"top_k": 3}, f"the task {task}")
            for task in ("detect", "segment", "pose", "obb")
        ),
        (spec_of("detect", "end2end"), {"iou": 0.5}, "overlap"),
        (spec_of("detect", "yolo", nms=True), {"iou": 0.5}, "overlap"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    spec: ModelSpec, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(OptionError) as caught:
        ThresholdsOf(spec).asked(options)
    assert f"--{next(iter(options)).replace('_', '-')} would have no effect" in caught.value.problem
    assert expected in caught.value.problem


@pytest.mark.parametrize(
    "options",
    [{"conf": "high"}, {"conf": 2}, {"iou": -1}, {"max_det": 0}, {"max_det": 2.5}, {"conf": [0.1, 0.2]}],
)
def test_wrong_values_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} wants"):
        ThresholdsOf(spec_of("detect", "yolo")).asked(options)


def test_numbers_of_numpy() -> None:
    found = ThresholdsOf(spec_of("detect", "yolo")).asked({"conf": np.float32(0.5), "max_det": np.int64(2)})
    assert (found.conf, found.max_det) == (0.5, 2)
