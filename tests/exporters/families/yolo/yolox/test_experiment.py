"""The settings of a YOLOX experiment: honoured, refused, or proven not to matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.proof.tensors import compare
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess

BASE = {"num_classes": 3, "width": 0.0625, "depth": 0.33, "act": "silu", "test_size": (64, 96)}
TRAINING: dict[str, Any] = {
    "data_num_workers": 4,
    "input_size": (640, 640),
    "multiscale_range": 5,
    "random_size": (14, 26),
    "data_dir": None,
    "train_ann": "a.json",
    "val_ann": "b.json",
    "test_ann": "c.json",
    "mosaic_prob": 1.0,
    "mixup_prob": 1.0,
    "hsv_prob": 1.0,
    "flip_prob": 0.5,
    "degrees": 10.0,
    "translate": 0.1,
    "shear": 2.0,
    "mosaic_scale": (0.1, 2),
    "enable_mixup": True,
    "mixup_scale": (0.5, 1.5),
    "warmup_epochs": 5,
    "max_epoch": 300,
    "warmup_lr": 0,
    "min_lr_ratio": 0.05,
    "basic_lr_per_img": 0.01,
    "scheduler": "yolox",
    "no_aug_epochs": 15,
    "ema": True,
    "weight_decay": 5e-4,
    "momentum": 0.9,
    "print_interval": 10,
    "eval_interval": 10,
    "save_history_ckpt": True,
    "exp_name": "mine",
    "test_conf": 0.9,
    "nmsthre": 0.1,
    "seed": 3,
    "output_dir": "out",
}
"""Every attribute of ``yolox.exp.yolox_base.Exp`` 0.3.0 beside those of ``BASE``."""


def build(fixtures: Path, config: Any, **hints: Any) -> BuiltModel:
    return load_checkpoint(fixtures / "yolox_plain.pth", Hints(config=config, **hints)).built


def assert_recorded(built: BuiltModel, fixtures: Path) -> None:
    with np.load(fixtures / "yolox_plain.npz") as recorded, torch.inference_mode():
        found = built.module(torch.from_numpy(recorded["images0"].astype(np.float32))).numpy()
        for group in built.groups:
            assert compare(recorded["output0_0"], found, group).max_rel <= 1e-5


def text_of(values: dict[str, Any]) -> str:
    lines = "".join(f"        self.{name} = {value!r}\n" for name, value in values.items())
    return f"class Exp(MyExp):\n    def __init__(self):\n        super().__init__()\n{lines}"


def test_settings_of_the_training_change_nothing(fixtures: Path) -> None:
    plain = build(fixtures, BASE).spec
    for name, value in TRAINING.items():
        for config in ({**BASE, name: value}, {"text": text_of({**BASE, name: value})}):
            built = build(fixtures, config)
            (setting,) = (one for one in built.settings if one.name == name)
            assert setting.treatment == "harmless"
            assert built.spec == plain
    assert_recorded(built, fixtures)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_classes", value) for value in (80, 2, 1)),
        *(("width", value) for value in (0.25, 0.5, 1.0, 0.08)),
        *(("depth", value) for value in (0.67, 1.0, 1.33)),
    ],
)
def test_an_experiment_of_another_network_is_refused(name: str, value: Any, fixtures: Path) -> None:
    for config in ({**BASE, name: value}, {"text": text_of({**BASE, name: value})}):
        with pytest.raises(CheckpointError, match=f"config says {name} = ") as refused:
            build(fixtures, config)
        assert f"--ignore config:{name}" in refused.value.hint
        assert_recorded(build(fixtures, config, ignore=(name,)), fixtures)


def test_what_is_honoured(fixtures: Path) -> None:
    built = build(fixtures, BASE)
    assert (built.spec.input.height, built.spec.input.width) == (64, 96)
    assert_recorded(built, fixtures)
    relu = build(fixtures, {**BASE, "act": "relu"})
    images = torch.full((1, 3, 64, 64), 100.0)
    with torch.inference_mode():
        assert not torch.allclose(relu.module(images), built.module(images))
    with pytest.raises(OptionError, match="act is 'gelu'"):
        build(fixtures, {**BASE, "act": "gelu"})


@pytest.mark.parametrize(
    "config",
    [
        {"legacy": True},
        {"text": "class Exp:\n    def get_eval_loader(self):\n        ValTransform(legacy=True)\n"},
    ],
)
def test_legacy_pre_processing(config: dict[str, Any], fixtures: Path, photos: dict[str, np.ndarray]) -> None:
    """``ValTransform(legacy=True)`` normalises what ``preproc`` gives, channels turned round."""
    plain, legacy = build(fixtures, BASE).spec, build(fixtures, config, imgsz=(64, 96)).spec
    mean, std = (np.array(one).reshape(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for photo in (photos["cat"], photos["cat_wide"]):
        want = (preprocess(photo, plain)[0][::-1] / 255 - mean) / std
        np.testing.assert_allclose(preprocess(photo, legacy)[0], want, atol=1e-5)
    assert not any("BGR" in line for line in legacy.assumed)


def test_the_assumption_names_the_setting(fixtures: Path) -> None:
    (line,) = (line for line in build(fixtures, BASE).spec.assumed if "BGR" in line)
    assert """--config '{"legacy": true}'""" in line


def test_a_setting_that_nobody_reads(fixtures: Path) -> None:
    """A mapping is what the user wrote for deploykit; the text of an experiment may hold anything."""
    with pytest.raises(CheckpointError, match=r"config has settings .* atc = 'relu'"):
        build(fixtures, {**BASE, "atc": "relu"})
    found = build(fixtures, {"text": text_of({**BASE, "atc": "relu"})}).settings
    assert [one.path for one in found if one.treatment == "unknown"] == ["config:atc"]
    with pytest.raises(OptionError, match="legacy is 'yes'"):
        build(fixtures, {**BASE, "legacy": "yes"})
    with pytest.raises(OptionError, match="test_size is 640"):
        build(fixtures, {**BASE, "test_size": 640})


def test_the_package_is_a_witness_where_it_is_installed(fixtures: Path) -> None:
    pytest.importorskip("yolox", reason="yolox is not installed: .ci/run gives it an environment of its own")
    for name in ("plain", "depthwise"):
        for config in (None, {"legacy": True}, {"test_size": [320, 480]}):
            built = load_checkpoint(fixtures / f"yolox_{name}.pth", Hints(config=config)).built
            assert "100.00% of the pixels equal" in ask_witness(built, built.spec)


def test_without_the_package_the_reason_is_told(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    built = build(fixtures, BASE)
    for name in ("yolox", "yolox.models"):
        monkeypatch.setitem(sys.modules, name, None)
    assert ask_witness(built, built.spec).startswith("none: yolox ")
