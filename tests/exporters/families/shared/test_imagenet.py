"""ImageNet's names, and timm's evaluation pre-processing against timm's own transforms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deploykit_exporters.families.shared.imagenet import (
    IMAGENET_MEAN,
    crop_preprocess,
    imagenet_class_names,
    stretch_preprocess,
    timm_preprocess,
)
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval


def test_the_thousand_names_differ_and_are_in_index_order() -> None:
    names = imagenet_class_names()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[285], names[999]) == (
        "tench, Tinca tinca",
        "Egyptian cat",
        "toilet tissue, toilet paper, bathroom tissue",
    )
    assert names[134].startswith("crane: ")
    assert names[517].startswith("crane: ")


SETTINGS: list[dict[str, Any]] = [
    {"crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    {"crop_pct": 0.875, "interpolation": "bilinear"},
    {"crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
    {"crop_pct": 0.95, "interpolation": "bicubic", "crop_mode": "squash"},
    {"crop_pct": 1.0, "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "crop_mode": "border"},
    {"crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "crop_mode": "border"},
    {"crop_pct": 1.0, "interpolation": "lanczos"},
]


@pytest.mark.parametrize("photo", ["cat", "rocket", "flower_portrait", "cat_small"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_timms_transform(photos: dict[str, np.ndarray], photo: str, settings: dict[str, Any]) -> None:
    how = timm_preprocess((96, 96), settings)
    spec = ModelSpec(
        task="classify",
        family="vit",
        variant="",
        origin="timm",
        input=InputSpec(height=96, width=96),
        preprocess=how,
        output=OutputSpec(names=("logits",), layout="logits"),
    )
    transform = transforms_imagenet_eval(96, **settings)
    expected = transform(Image.fromarray(photos[photo])).numpy()
    found, _ = preprocess(photos[photo], spec)
    assert np.abs(found - expected).max() <= 1.01 / 255 / min(how.std)


def test_the_first_source_that_has_a_setting_wins() -> None:
    how = timm_preprocess(
        (224, 224), {"mean": None, "crop_pct": 0.8}, {"mean": (0.1, 0.2, 0.3), "crop_pct": 1}
    )
    assert (how.mean, how.resize_to) == ((0.1, 0.2, 0.3), (280,))


def test_nothing_said_is_timms_last_resort() -> None:
    how = timm_preprocess((224, 224))
    assert (how.mean, how.resize_to, how.interpolation) == (IMAGENET_MEAN, (256,), "bicubic")


def test_one_value_of_mean_is_for_all_channels() -> None:
    assert timm_preprocess((224, 224), {"mean": [0.5], "interpolation": "random"}).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_mode": "border"}, "one mean for all channels"),
        ({"crop_mode": "diagonal"}, "crop_mode 'diagonal'"),
        ({"interpolation": "sinc"}, "interpolation 'sinc'"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        timm_preprocess((224, 224), settings)


def test_an_image_is_scaled_until_it_covers_a_rectangle() -> None:
    how = crop_preprocess((96, 160), crop_pct=0.8)
    assert (how.resize, how.resize_to, how.crop) == ("cover", (120, 200), (96, 160))
    assert stretch_preprocess((96, 160)) == replace(
        how, resize="stretch", resize_to=(96, 160), crop=None, interpolation="bilinear"
    )
