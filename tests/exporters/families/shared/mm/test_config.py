"""Configurations of mmengine as text: read, never run; and their test pipelines."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.shared.mm.config import mm_config, mm_preprocess, parse_config
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(string.ascii_letters, min_size=1), inner)
    ),
    max_leaves=12,
)


@given(value=VALUES)
def test_every_literal_comes_back(value: Any) -> None:
    assert parse_config(f"value = {value!r}\n") == {"value": value}


@given(text=st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_config(text)
    except OptionError:
        return


def test_dict_calls_names_and_negative_numbers() -> None:
    text = """
_base_ = ['./base.py']
import os
size = 224
model = dict(backbone=dict(type='ViT', img_size=size), scale=-1.5)
pipeline = [dict(type='Resize', scale=(size, size)), {'a': 1}]
unknown = os.environ
lost = dict(a=unknown)
star = dict(**model)
def f(): pass
"""
    assert parse_config(text) == {
        "_base_": ["./base.py"],
        "size": 224,
        "model": {"backbone": {"type": "ViT", "img_size": 224}, "scale": -1.5},
        "pipeline": [{"type": "Resize", "scale": (224, 224)}, {"a": 1}],
    }


@pytest.mark.parametrize(
    "text",
    [
        "x = __import__('os').system('touch hacked')",
        "x = dict(open('hacked', 'w'))",
        "x = [i for i in range(10**9)]",
        "x = 'a' * 10**12",
        "x = {**y}",
        "x = {[]: 1}",
        "x = {set(): 1}",
        "x = lambda: 1",
    ],
)
def test_nothing_is_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_config(text) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["x = (", "\x00", "(" * 10_000, "x = " + "-" * 100_000 + "1", "a" * (5 << 20)]
)
def test_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_config(text)


def test_where_the_configuration_is_found() -> None:
    assert mm_config({"meta": {"cfg": "a = 1"}}, None) == {"a": 1}
    assert mm_config({"meta": {"config": "a = 2"}}, {}) == {"a": 2}
    assert mm_config({"meta": {"cfg": "a = 1"}}, {"text": "a = 3"}) == {"a": 3}
    assert mm_config({"meta": 5}, {"num_heads": 3}) == {}


@pytest.mark.parametrize("name", ["vit", "efficientnet"])
def test_the_pipeline_of_a_real_checkpoint(fixtures: Path, name: str) -> None:
    checkpoint = read_checkpoint(fixtures / f"mmpretrain_{name}.pth")
    expected = np.load(fixtures / f"mmpretrain_{name}.npz")
    how = mm_preprocess(mm_config(checkpoint.meta, None), (64, 64))
    spec = ModelSpec(
        task="classify",
        family="vit",
        variant="",
        origin="mmpretrain",
        input=InputSpec(height=64, width=64),
        preprocess=how,
        output=OutputSpec(names=("logits",), layout="logits"),
    )
    for index in range(2):
        found, _ = preprocess(expected[f"photo_{index}"], spec)
        assert np.abs(found - expected["tensors"][index]).max() <= 1.01 / min(how.std)


def test_sizes_scale_with_the_input() -> None:
    pipeline = [
        {"type": "ResizeEdge", "scale": 256, "edge": "short"},
        {"type": "CenterCrop", "crop_size": 224},
    ]
    how = mm_preprocess({"test_pipeline": pipeline}, (448, 448))
    assert (how.resize, how.resize_to, how.crop, how.resampler) == ("short", (512,), (448, 448), "opencv")


def test_the_efficientnet_crop() -> None:
    step = {"type": "EfficientNetCenterCrop", "crop_size": 240, "backend": "pillow"}
    how = mm_preprocess({"test_pipeline": [step, {"type": "PackInputs"}]}, (240, 240))
    assert (how.pre_crop, how.resize, how.resize_to) == (240 / 272, "stretch", (240, 240))
    assert (how.interpolation, how.resampler) == ("bicubic", "pillow")


def test_pipelines_of_mmcls() -> None:
    steps = [
        {"type": "Resize", "size": (256, -1), "backend": "pillow", "interpolation": "bicubic"},
        {"type": "CenterCrop", "crop_size": 224},
        {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": True},
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    how = mm_preprocess({"data": {"test": {"pipeline": steps}}}, (224, 224))
    assert (how.resize, how.resize_to, how.crop, how.color) == ("short", (256,), (224, 224), "rgb")
    assert (how.mean, how.std, how.scale) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 1.0)


def test_an_exact_resize() -> None:
    how = mm_preprocess({"test_pipeline": [{"type": "Resize", "scale": (320, 240)}]}, (240, 320))
    assert (how.resize, how.resize_to, how.crop) == ("stretch", (240, 320), None)
    assert mm_preprocess({"test_pipeline": [{"type": "Resize", "scale": 64}]}, (128, 128)).resize_to == (
        128,
        128,
    )


def test_without_a_configuration_it_is_the_imagenet_default() -> None:
    how = mm_preprocess({}, (224, 224))
    assert (how.resize, how.resize_to, how.crop, how.resampler) == ("short", (256,), (224, 224), "opencv")
    assert (how.color, how.mean[0]) == ("rgb", 123.675)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomErasing"},
        {"type": "ResizeEdge", "scale": 256, "edge": "width"},
        {"type": "Resize", "scale": (256, 256), "keep_ratio": True},
        {"type": "ResizeEdge", "scale": 256, "interpolation": "sinc"},
        {"type": "ResizeEdge", "scale": 256, "backend": "tensorflow"},
    ],
)
def test_steps_that_cannot_be_reproduced_are_refused(step: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="test pipeline"):
        mm_preprocess({"test_pipeline": [step]}, (224, 224))
