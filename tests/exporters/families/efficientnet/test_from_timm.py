"""What the files of timm tell about an EfficientNet beside its weights."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.efficientnet.family import FAMILY
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import CheckpointError, OptionError
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def b0() -> Weights:
    torch.manual_seed(0)
    weights: Weights = timm.create_model("efficientnet_b0", num_classes=6).state_dict()
    return weights


def spec_of(path: Path, **hints: Any) -> ModelSpec:
    checkpoint = read_checkpoint(path)
    return described(checkpoint, **hints)


def described(checkpoint: Checkpoint, **hints: Any) -> ModelSpec:
    match = FAMILY.match(checkpoint)
    assert match is not None
    return FAMILY.build(checkpoint, match, Hints(**hints)).spec


def padding(spec: ModelSpec) -> str:
    return "same" if "SAME" in spec.recognised[0] else "symmetric"


def test_training_checkpoint_with_arguments(b0: Weights, tmp_path: Path) -> None:
    args = Namespace(
        model="tf_efficientnet_b0", img_size=160, input_size=None, crop_pct=None, interpolation="", mean=None
    )
    other = {key: torch.zeros_like(value) for key, value in b0.items()}
    path = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": other, "state_dict_ema": b0, "args": args, "epoch": 3}, path)
    spec = spec_of(path)
    assert (spec.variant, padding(spec)) == ("tf_efficientnet_b0", "same")
    assert (spec.input.height, spec.preprocess.resize_to, spec.preprocess.crop) == (160, (182,), (160, 160))
    assert spec.preprocess.interpolation == "bicubic"
    assert "named by the checkpoint" in spec.recognised[1]


def test_arguments_of_the_evaluation_come_first(b0: Weights, tmp_path: Path) -> None:
    args = Namespace(model="efficientnet_b0", mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25], crop_pct=1.0)
    path = tmp_path / "last.pth.tar"
    torch.save({"state_dict": b0, "arch": "efficientnet_b0", "args": args}, path)
    spec = spec_of(path, imgsz=(256, 256))
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.5,) * 3, (0.25,) * 3)
    assert spec.preprocess.resize_to == (256,)
    assert spec.recognised[1] == "Pre-processing is from the training arguments."
    asked = spec_of(path, config={"mean": [0, 0, 0], "interpolation": "bilinear"})
    assert (asked.preprocess.mean, asked.preprocess.interpolation) == ((0, 0, 0), "bilinear")


def test_hugging_face_folder(b0: Weights, tmp_path: Path) -> None:
    save_file(b0, tmp_path / "model.safetensors")
    config = {
        "architecture": "tf_efficientnet_b0",
        "num_classes": 6,
        "label_names": ["n1", "n2", "n3", "n4", "n5", "n6"],
        "label_descriptions": {"n1": "tench, Tinca tinca"},
        "pretrained_cfg": {
            "input_size": [3, 192, 192],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = spec_of(tmp_path)
    assert (spec.variant, padding(spec)) == ("tf_efficientnet_b0", "same")
    assert spec.classes[:2] == ("tench, Tinca tinca", "n2")
    assert (spec.input.width, spec.preprocess.resize_to) == (192, (213,))
    assert (spec.preprocess.interpolation, spec.preprocess.mean) == ("bilinear", (0.5,) * 3)
    assert spec.recognised[1] == "Pre-processing is from timm's pretrained_cfg in the checkpoint."
    assert spec.assumed == ()


@pytest.mark.parametrize(
    ("file", "variant", "mean"),
    [
        ("tf_efficientnet_b0_ap-f262efe1.pth", "tf_efficientnet_b0", 0.5),
        ("tf_efficientnet_b0_aa-827b6e33.pth", "tf_efficientnet_b0", 0.485),
        ("tf_efficientnet_b0_my_cats.pth", "tf_efficientnet_b0", 0.485),
        ("tf_efficientnet_b3.pth", "tf_efficientnet_b0", 0.485),
        ("efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0", 0.485),
        ("cats.pth", "efficientnet_b0", 0.485),
    ],
)
def test_file_names(file: str, variant: str, mean: float, b0: Weights, tmp_path: Path) -> None:
    torch.save(b0, tmp_path / file)
    spec = spec_of(tmp_path / file)
    assert (spec.variant, spec.preprocess.mean[0]) == (variant, mean)
    assert padding(spec) == ("same" if variant.startswith("tf_") else "symmetric")
    assert any("--variant tf_efficientnet_b0" in sentence for sentence in spec.assumed) == (
        file == "cats.pth"
    )


def test_variant_option(b0: Weights, tmp_path: Path) -> None:
    torch.save(b0, tmp_path / "efficientnet_b0.pth")
    tagged = spec_of(tmp_path / "efficientnet_b0.pth", variant="tf_efficientnet_b0.ap_in1k")
    assert (tagged.variant, tagged.preprocess.mean, padding(tagged)) == (
        "tf_efficientnet_b0",
        (0.5,) * 3,
        "same",
    )
    with pytest.raises(OptionError, match="resnet50 is not an EfficientNet of timm"):
        spec_of(tmp_path / "efficientnet_b0.pth", variant="resnet50")


def test_blur_pooling_is_refused(b0: Weights, tmp_path: Path) -> None:
    torch.save({"state_dict": b0, "arch": "efficientnet_blur_b0"}, tmp_path / "model_best.pth.tar")
    with pytest.raises(
        CheckpointError, match=r"efficientnet_blur_b0 has blocks.1.0.aa of the kind BlurPool2d"
    ):
        spec_of(tmp_path / "model_best.pth.tar")


def test_fetched_by_name(b0: Weights) -> None:
    config = timm.get_pretrained_cfg("tf_efficientnet_b0.ns_jft_in1k").to_dict()
    checkpoint = Checkpoint(
        path=Path("model.safetensors"),
        sha256="",
        container="safetensors",
        tensors=b0,
        meta={
            "arch": "tf_efficientnet_b0",
            "timm_config": {**config, "architecture": "tf_efficientnet_b0", "label_names": tuple("abcdef")},
        },
    )
    spec = described(checkpoint)
    assert (spec.variant, spec.classes, spec.assumed) == ("tf_efficientnet_b0", tuple("abcdef"), ())


def test_normalisation_layers_of_other_kinds_are_named() -> None:
    weights = timm.create_model("efficientnet_b0_gn").state_dict()
    checkpoint = Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=weights)
    with pytest.raises(CheckpointError, match="how many channels a GroupNorm groups"):
        described(checkpoint)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("efficientnet_blur_b0", "efficientnet_b0"),
        ("efficientnet_es", "efficientnet_es"),
        ("tf_efficientnet_cc_b0_4e", "efficientnet_cc_b0_4e"),
        ("tf_efficientnet_cc_b0_8e", "efficientnet_cc_b0_8e"),
    ],
)
def test_what_a_file_without_a_name_does_not_show_is_said(name: str, own: str, tmp_path: Path) -> None:
    """The weights are those of several models of timm, and the one that is meant can be named."""
    torch.save(timm.create_model(name, num_classes=3).state_dict(), tmp_path / "best.pth")
    spec = spec_of(tmp_path / "best.pth")
    assert spec.variant == own
    activation = "relu" if own.endswith("es") else "silu"
    assert spec.assumed[0] == (
        f"Not in the file, and assumed: symmetric padding, BatchNorm eps 1e-05, activation {activation}, no "
        f"blur before the strides. This is timm's own {own}; the TensorFlow-born tf_{own} has the same keys "
        f"and shapes: --variant tf_{own} says so."
    )
    assert padding(spec_of(tmp_path / "best.pth", variant=f"tf_{own}")) == "same"


@pytest.mark.parametrize("name", ["tinynet_e", "efficientnet_b1_pruned"])
def test_only_models_that_timm_has_are_suggested(name: str, tmp_path: Path) -> None:
    torch.save(timm.create_model(name, num_classes=3).state_dict(), tmp_path / "best.pth")
    assert (
        "blur before the strides. Name the architecture as timm does"
        in spec_of(tmp_path / "best.pth").assumed[0]
    )
    assert not any(
        "not those of timm" in line for line in spec_of(tmp_path / "best.pth", variant=name).assumed
    )


def test_assumed_preprocessing_is_described(b0: Weights, tmp_path: Path) -> None:
    torch.save(b0, tmp_path / "best.pth")
    assert spec_of(tmp_path / "best.pth", config={"crop_pct": 1.0, "mean": [0.1, 0.2, 0.3]}).assumed[-1] == (
        "Pre-processing is the usual one of timm: short edge to 224 (bicubic), centre crop 224x224, "
        "mean 0.1 0.2 0.3, std 0.229 0.224 0.225."
    )
