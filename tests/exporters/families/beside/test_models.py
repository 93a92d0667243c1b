"""Names of architectures that training code left in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
from deploykit_runtimes.errors import CheckpointError
from training_files import built_with, networks, vit


def test_a_name_of_timm_that_is_not_read_is_said(tmp_path: Path) -> None:
    told = {"hyper_parameters": {"model_name": "vit_small_patch16_clip_quickgelu_224"}}
    built = built_with(vit(), told, tmp_path)
    assert any("--variant vit_small_patch16_clip_quickgelu_224" in note for note in built.notes)


@pytest.mark.parametrize(
    "told", [{"cfg": {"model": {"name": "tf_efficientnet_b0"}}}, {"backbone": "tf_efficientnet_b0"}]
)
def test_a_name_that_decides_padding_and_eps_is_not_passed_over(tmp_path: Path, told: dict[str, Any]) -> None:
    model = timm.create_model("tf_efficientnet_b0", num_classes=5)
    with pytest.raises(
        CheckpointError,
        match=r"names 'tf_efficientnet_b0' .*deploykit would build "
        r"efficientnet_b0",
    ):
        built_with(model, told, tmp_path)
    assert (
        built_with(model, told, tmp_path, variant="tf_efficientnet_b0").spec.variant == "tf_efficientnet_b0"
    )
    ignored = built_with(model, told, tmp_path, ignore=("name", "backbone"))
    assert ignored.spec.variant == "efficientnet_b0"


OTHER = [
    "Eva",
    "SwinTransformer",
    "resnet50",
    "timm.models.convnext.ConvNeXt",
    "swin_tiny_patch4_window7_224",
    "beit_b",
]


@pytest.mark.parametrize("name", [*OTHER, "efficientnet_b0"])
@pytest.mark.parametrize("key", ["model", "arch", "backbone", "model_name", "encoder.name"])
def test_the_name_of_another_architecture_is_refused(tmp_path: Path, name: str, key: str) -> None:
    place, _, inner = key.partition(".")
    told = {"hyper_parameters": {place: {inner: name} if inner else name}}
    with pytest.raises(CheckpointError, match=f"names '{name}'") as error:
        built_with(vit(), told, tmp_path)
    ignored = str(error.value.hint).rpartition("--ignore ")[2].strip("'")
    built = built_with(vit(), told, tmp_path, ignore=(ignored,))
    assert any(one.treatment == "ignored" for one in built.settings)


@pytest.mark.parametrize("name", [*OTHER, "vit_small_patch16_224", "ViT-B/16"])
def test_beside_an_efficientnet_too(tmp_path: Path, name: str) -> None:
    model = networks()["timm efficientnet"]
    with pytest.raises(CheckpointError, match="names "):
        built_with(model, {"cfg": {"model": name}}, tmp_path)


@pytest.mark.parametrize(
    "name", ["ViT", "vit_small", "VisionTransformer", "deit_small", "my_net", "mae_vit_base", "DINOv2"]
)
def test_names_of_the_same_architecture_and_of_none_are_not_refused(tmp_path: Path, name: str) -> None:
    assert built_with(vit(), {"cfg": {"model": name, "teacher": "resnet50"}}, tmp_path).spec.family == "vit"
