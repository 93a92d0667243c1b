"""Transforms that are not those of the training: golden answers show what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.golden.difference import DifferenceError, Why, one_error
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import record
from PIL import Image
from recordings import NAMES, SIDE, Make, Prove, evaluation, letterbox, refused
from torchvision import transforms
from torchvision.transforms import v2

# What is wrong with the pre-processing.


TRANSFORMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "mean": (
        evaluation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        "has mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (deploykit: mean 0.5 0.5 0.5",
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ),
    "crop": (evaluation(crop=0.875), "resizes the short edge to 73 and crops 64x64", {"crop_pct": 0.875}),
    "no crop": (evaluation(crop=1.0), "resizes the short edge to 64 and crops 64x64", {"crop_pct": 1.0}),
    "interpolation": (
        evaluation(by=transforms.InterpolationMode.BILINEAR),
        "resizes by bilinear",
        {"interpolation": "bilinear"},
    ),
    "stretched": (
        transforms.Compose(
            [transforms.Resize((SIDE, SIDE), 3), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
        ),
        "stretches to 64x64",
        {"crop_mode": "squash", "crop_pct": 1.0},
    ),
    "all at once": (
        evaluation(crop=0.95, by=transforms.InterpolationMode.BILINEAR, mean=(0.4, 0.5, 0.6)),
        "mean 0.4 0.5 0.6",
        {"crop_pct": 0.95, "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6], "std": [0.5, 0.5, 0.5]},
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_is_another(name: str, vit: Make, prove: Prove) -> None:
    transform, says, config = TRANSFORMS[name]
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert says in error.hint
    assert f"--config '{json.dumps(config)}'" in error.hint
    assert prove(vit(), vit(), {"config": config}, transform=transform).spec.parity.golden


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (lambda tensor: tensor.flip(0), "gives the channels as BGR (deploykit: RGB)"),
        (lambda tensor: tensor.flip(2), "mirrors the image"),
        (lambda tensor: tensor.flip(0, 2) * 2, "BGR (deploykit: RGB), has mean 0.5 0.5 0.5, std 0.25"),
        (lambda tensor: tensor.flip(1), "Give the mean, std, interpolation"),
        (lambda tensor: tensor.index_fill(2, torch.tensor([0]), 0.9), "Give the mean, std, interpolation"),
        (lambda tensor: tensor + 0.1 * (torch.eye(SIDE) * torch.arange(SIDE) > 50), "Give the mean"),
    ],
)
def test_a_transform_that_does_more(after: Any, says: str, vit: Make, prove: Prove) -> None:
    transform = transforms.Compose([evaluation(), after])
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert says in error.hint


def by_tensor(*, antialias: bool, scale_first: bool) -> v2.Compose:
    """The evaluation on tensors, as torchvision recommends today."""
    floats = [v2.ToDtype(torch.float32, scale=True)]
    resize = [v2.Resize(71, transforms.InterpolationMode.BICUBIC, antialias=antialias), v2.CenterCrop(SIDE)]
    steps = [*floats, *resize] if scale_first else [*resize, *floats]
    return v2.Compose([v2.ToImage(), *steps, v2.Normalize((0.5,) * 3, (0.5,) * 3)])


def test_a_transform_that_rounds_elsewhere_is_the_same(vit: Make, prove: Prove) -> None:
    resized_in_bytes = prove(vit(), vit(), transform=by_tensor(antialias=True, scale_first=False))
    assert "% of the pixels equal on 1 picture" in resized_in_bytes.spec.parity.golden_said
    in_floats = prove(vit(), vit(), transform=by_tensor(antialias=True, scale_first=True))
    assert "pixels equal up to rounding on 1 picture" in in_floats.spec.parity.golden_said


@pytest.mark.parametrize("scale_first", [True, False])
def test_a_transform_without_antialiasing(scale_first: bool, vit: Make, prove: Prove) -> None:
    transform = by_tensor(antialias=False, scale_first=scale_first)
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert "OpenCV does, without antialiasing (deploykit: bicubic, as Pillow" in error.hint


@pytest.mark.parametrize("off", [0.006, -0.006])
def test_a_mean_that_is_a_little_off(off: float, vit: Make, prove: Prove) -> None:
    transform = evaluation(mean=(0.5, 0.5 + off, 0.5))
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert f"has mean 0.5 {0.5 + off:g} 0.5" in error.hint


def test_grey_images(vit: Make, prove: Prove) -> None:
    def grey(**how: Any) -> transforms.Compose:
        steps = evaluation(mean=how.get("mean", 0.5), std=0.5, crop=how.get("crop", 0.9))
        return transforms.Compose([transforms.Grayscale(), steps])

    net = vit(in_chans=1)
    assert "100.00% of the pixels equal" in prove(net, net, transform=grey()).spec.parity.golden_said
    error = refused(lambda: prove(net, net, transform=grey(mean=0.4, crop=1.0)))
    assert "resizes the short edge to 64" in error.hint
    assert "has mean 0.4, std 0.5 (deploykit: mean 0.5, std 0.5)" in error.hint


def test_channels_that_ultralytics_has_the_other_way_round(
    ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    path, net = ultralytics_file("yolov8n")

    def transform(image: Image.Image) -> np.ndarray:
        return np.ascontiguousarray(letterbox(160, image)[::-1])

    golden = record(net, tmp_path / "golden.npz", transform=transform)
    error = refused(lambda: export(path, ExportOptions(output=tmp_path / "yolo.onnx", golden=golden)))
    assert "gives the channels as BGR" in error.hint


def test_a_transform_of_another_size(vit: Make, prove: Prove) -> None:
    net = vit(dynamic_img_size=True)
    error = refused(lambda: prove(net, net, transform=evaluation(96)))
    assert "makes 96x96 of the photo, deploykit 64x64" in error.problem
    assert "--imgsz 96,96" in error.hint


def test_the_first_difference_is_the_problem_and_one_command_mends_all(vit: Make, prove: Prove) -> None:
    wrong = {"transform": evaluation(crop=1.0), "labels": NAMES[::-1]}
    options = {"labels": NAMES, "config": {"eps": 1e-6}}
    error = refused(lambda: prove(vit(), vit(num_heads=4), options, **wrong))
    assert "differ in the pre-processing: " in error.problem
    config = {"eps": 1e-6, "crop_pct": 1.0, "num_heads": 4}
    for part in (
        "The network differs, too: logits is off by",
        "The recorded model has 4 heads.",
        "The head differs, too: the classes are in another order",
        f"Export with --config '{json.dumps(config)}'.",
    ):
        assert part in error.hint
    assert prove(vit(), vit(num_heads=4), {"config": config}, **wrong).spec.parity.golden
    wrong["transform"] = evaluation()
    assert "in the network: " in refused(lambda: prove(vit(), vit(num_heads=4), options, **wrong)).problem
    assert "in the head: " in refused(lambda: prove(vit(), vit(), options, **wrong)).problem


def test_a_whole_configuration_is_not_repeated() -> None:
    given = {f"setting {n}": n for n in range(30)}
    why = Why(said="The recorded model has 4 heads.", config={"num_heads": 4}, options=("--weights ema",))
    found = [DifferenceError("network", "it is off.", why=why)]
    error = one_error(found, "golden.npz", given)
    assert error.hint.endswith('Add {"num_heads": 4} to what --config gives, and export with --weights ema.')
    error = one_error(found, "golden.npz", {"eps": 1})
    assert error.hint.endswith("""Export with --config '{"eps": 1, "num_heads": 4}' --weights ema.""")
