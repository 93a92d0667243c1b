"""What is read from an Ultralytics file: task, variant, names, sizes, pre-processing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
from deploykit_runtimes.errors import CheckpointError, OptionError
from torch import nn

MODELS = (
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n-p6",
    "yolov8n-seg",
    "yolov9t",
    "yolov10n",
    "yolo11n-pose",
    "yolo12n",
    "yolo26n",
    "yolo26n-obb",
    "yolo26n-cls",
)


def build(path: Path, **hints: Any) -> BuiltModel:
    checkpoint = read_checkpoint(path)
    return build_checkpoint(checkpoint, **hints)


def build_checkpoint(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolo_ultralytics.match(checkpoint)
    assert match is not None
    return yolo_ultralytics.build(checkpoint, match, Hints(**hints))


@pytest.mark.parametrize("name", MODELS)
def test_spec(name: str, ultralytics_file: Callable[..., Any]) -> None:
    path, model = ultralytics_file(name)
    spec = build(path).spec
    task = model.task
    own_name = name + "u" if name.startswith(("yolov3", "yolov5")) else name
    assert (spec.family, spec.origin, spec.variant, spec.task) == ("yolo", "ultralytics", own_name, task)
    assert spec.classes == ("cat", "dog", "crème brûlée")
    side = math.ceil(160 / 64) * 64 if name.endswith("p6") else 160
    assert (spec.input.height, spec.input.width) == (side, side)
    assert spec.source == path.name
    end2end = name in ("yolov10n", "yolo26n", "yolo26n-obb")
    assert [line.partition(",")[0] for line in spec.assumed] == ["the one-to-one head"] * end2end
    if task == "classify":
        assert spec.output.names == ("probabilities",)
        assert spec.preprocess.resize == "short"
    else:
        assert spec.output.names[0] == ("detections" if end2end else "predictions")
        assert spec.output.layout == ("end2end" if end2end else "yolo")
        assert spec.output.nms is end2end
        assert spec.preprocess.resize == "letterbox"
        assert spec.preprocess.stride == (64 if name.endswith("p6") else 32)
    assert spec.output.keypoints == ((17, 3) if task == "pose" else (0, 0))
    assert spec.output.mask_channels == (32 if task == "segment" else 0)


def test_groups_cover_the_outputs(ultralytics_file: Callable[..., Any]) -> None:
    for name in ("yolov8n", "yolov8n-seg", "yolov8n-obb"):
        built = build(ultralytics_file(name)[0])
        with torch.inference_mode():
            outputs = built.module(torch.rand(1, 3, 64, 64))
        channels = (outputs[0] if isinstance(outputs, tuple) else outputs).shape[1]
        slices = [range(g.start or 0, g.stop or 0) for g in built.groups if g.output == "predictions"]
        assert sorted(n for part in slices for n in part) == list(range(channels))


def test_unsupported_head(tmp_path: Path, ultralytics_file: Callable[..., Any]) -> None:
    def relabel(model: Any) -> None:
        head = model.model[-1]
        model.model[-1] = nn.Identity()
        model.model[-1].i, model.model[-1].f = head.i, head.f

    path, _ = ultralytics_file("yolov8n-obb", edit=relabel)
    with pytest.raises(CheckpointError, match="ends in Identity, wanted one of"):
        build(path)


@pytest.mark.parametrize(
    ("arguments", "size", "assumed"),
    [
        ({"imgsz": 1280}, (1280, 1280), False),
        ({"imgsz": 416}, (416, 416), False),
        ({"imgsz": 300}, (320, 320), False),  # rounded up to the stride, as Ultralytics does
        ({"imgsz": [256, 320]}, (256, 320), False),
        ({"imgsz": "640"}, (640, 640), True),
        ({}, (640, 640), True),
        (None, (640, 640), True),
    ],
)
def test_image_size(
    arguments: Any, size: tuple[int, int], assumed: bool, ultralytics_file: Callable[..., Any]
) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    spec = build_checkpoint(dataclasses.replace(checkpoint, meta={"train_args": arguments})).spec
    assert (spec.input.height, spec.input.width) == size
    assert bool(spec.assumed) is assumed
    assert spec.preprocess.resize_to == size


def test_hints(ultralytics_file: Callable[..., Any]) -> None:
    path, _ = ultralytics_file("yolov8n")
    spec = build(path, imgsz=(96, 640), labels=("a", "b", "c"), variant="mine").spec
    assert (spec.input.height, spec.input.width, spec.variant) == (96, 640, "mine")
    assert spec.classes == ("a", "b", "c")
    for wrong in ({"imgsz": (100, 640)}, {"labels": ("a",)}, {"features": True}):
        with pytest.raises(OptionError):
            build(path, **wrong)


@pytest.mark.parametrize(
    ("yaml", "variant"),
    [
        ({"yaml_file": "yolov8x.yaml", "scale": "x"}, "yolov8x"),
        ({"yaml_file": "/runs/yolo11.yaml", "scale": "m"}, "yolo11m"),
        ({"yaml_file": r"C:\models\yolov5-p6.yaml", "scale": "l"}, "yolov5l-p6u"),
        ({"yaml_file": "yolov5nu.yaml"}, "yolov5nu"),  # 8.0
        ({"yaml_file": "yolov8.yaml", "width_multiple": 0.5}, "yolov8s"),
        ({"yaml_file": "my_plants.yaml", "scale": "s"}, "yolov8s"),
        ({"width_multiple": [0.5]}, "yolov8"),
        (None, "yolov8"),
    ],
)
def test_variant(yaml: Any, variant: str, ultralytics_file: Callable[..., Any]) -> None:
    def rename(model: Any) -> None:
        model.yaml = yaml

    path, _ = ultralytics_file("yolov8n", edit=rename)
    assert build(path).spec.variant == variant


@pytest.mark.parametrize("name", ["yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n-seg", "yolov5n"])
def test_generation_without_a_yaml(name: str, ultralytics_file: Callable[..., Any]) -> None:
    def forget(model: Any) -> None:
        model.yaml = {}

    variant = build(ultralytics_file(name, edit=forget)[0]).spec.variant
    assert variant == name.replace("yolov9t", "yolov9").replace("0n", "0").replace("5n", "5").replace(
        "1n", "1"
    ).replace("2n", "2").replace("6n", "6")


def test_classifier_transforms_of_the_file(ultralytics_file: Callable[..., Any]) -> None:
    from ultralytics.data.augment import classify_transforms

    def attach(model: Any) -> None:
        model.transforms = classify_transforms(
            160, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="BICUBIC"
        )

    preprocess = build(ultralytics_file("yolov8n-cls", edit=attach)[0]).spec.preprocess
    assert preprocess.mean == pytest.approx((0.485, 0.456, 0.406))
    assert preprocess.std == pytest.approx((0.229, 0.224, 0.225))
    assert preprocess.interpolation == "bicubic"
    assert (preprocess.resize_to, preprocess.crop) == ((160,), (160, 160))


def test_preprocess_equals_ultralytics(
    ultralytics_file: Callable[..., Any], photos: dict[str, np.ndarray]
) -> None:
    from deploykit_runtimes.pixels.preprocess import preprocess
    from PIL import Image
    from ultralytics.data.augment import LetterBox, classify_transforms

    spec = build(ultralytics_file("yolov8n")[0]).spec
    classify = build(ultralytics_file("yolov8n-cls")[0]).spec
    for photo in photos.values():
        letterboxed = LetterBox((160, 160), auto=False, stride=32)(image=photo) / 255.0
        found, _ = preprocess(photo, spec)
        assert np.abs(found - letterboxed.transpose(2, 0, 1)).max() <= 1 / 255 + 1e-6
        found, _ = preprocess(photo, classify)
        expected = classify_transforms(160)(Image.fromarray(photo)).numpy()
        assert np.abs(found - expected).max() <= 1 / 255 + 1e-6
