"""Files of other exporters: inferred, and marked as inferred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.foreign import infer_spec
from deploykit_runtimes.ort import open_ort
from deploykit_runtimes.runner import TensorInfo

IMAGE = TensorInfo(name="x", dtype="float32", shape=("batch", 3, "h", "w"))


def output(*shape: int | str) -> TensorInfo:
    return TensorInfo(name="output0", dtype="float32", shape=shape)


def ultralytics(task: str, **extra: str) -> dict[str, str]:
    return {"task": task, "names": "{0: 'cat', 1: 'dog'}", "stride": "32", "imgsz": "[640, 480]", **extra}


def test_a_plain_classifier(write_classifier: Callable[..., Path]) -> None:
    with open_ort(write_classifier(None)) as runner:
        spec = runner.spec
    assert (spec.task, spec.num_classes, spec.inferred) == ("classify", 3, True)
    assert spec.assumed
    assert set(spec.input.dynamic) == {"batch", "height", "width"}


def test_an_ultralytics_detector() -> None:
    spec = infer_spec((IMAGE,), (output("n", 6, "a"),), ultralytics("detect"))
    assert spec.classes == ("cat", "dog")
    assert (spec.input.height, spec.input.width) == (640, 480)
    assert (spec.preprocess.resize, spec.preprocess.pad_value) == ("letterbox", 114)
    assert (spec.output.layout, spec.output.nms) == ("yolo", False)
    assert spec.input.dynamic["height"].step == 32


def test_an_end_to_end_detector() -> None:
    spec = infer_spec((IMAGE,), (output("n", 300, 6),), ultralytics("detect"))
    assert (spec.output.layout, spec.output.nms) == ("end2end", True)


def test_an_ultralytics_pose_model() -> None:
    spec = infer_spec((IMAGE,), (output("n", 56, 8400),), ultralytics("pose", kpt_shape="[17, 3]"))
    assert spec.output.keypoints == (17, 3)
    assert spec.output.layout == "yolo"


def test_feature_maps() -> None:
    spec = infer_spec((IMAGE,), (output("n", 64, "h", "w"), output("n", 128, "h", "w")), {})
    assert spec.task == "features"


@pytest.mark.parametrize(
    "inputs",
    [(), (IMAGE, IMAGE), (TensorInfo(name="ids", dtype="int64", shape=("n", 12)),)],
)
def test_what_is_no_image_model_is_refused(inputs: tuple[TensorInfo, ...]) -> None:
    with pytest.raises(ModelError, match="one float image input"):
        infer_spec(inputs, (output("n", 10),), {})


@pytest.mark.parametrize("metadata", [ultralytics("fly"), {"task": "detect", "names": "{0: open('x')}"}])
def test_hostile_metadata_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(ModelError, match=r"task|names"):
        infer_spec((IMAGE,), (output("n", 6, "a"),), metadata)
