"""CLIPs of OpenAI and open_clip: image towers of every form, whole models, and the files beside them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.ort.runner import open_ort
from open_clip_towers import HEADS, TEXT, assert_embeds, build, checkpoint_of, disturbed, half, openai
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def test_openais_files_have_quickgelu_and_give_the_projected_embedding() -> None:
    model, tensors = openai()
    scalars = {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    built = build(checkpoint_of({**tensors, **scalars}), config=HEADS)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=images).pooler_output
    assert_embeds(built, images, expected)
    assert "The activation is QuickGELU, because the file has the form of OpenAI's" in built.spec.assumed[0]
    assert built.spec.recognised[0].endswith("norm before the blocks, embeddings of 24 values.")
    assert built.spec.preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
    assert (built.spec.preprocess.resize_to, built.spec.preprocess.crop) == ((64,), (64, 64))


def test_the_mixed_precision_of_openais_weights_tells_quickgelu() -> None:
    _, tensors = openai()
    built = build(checkpoint_of(half(tensors)), config=HEADS)
    assert "QuickGELU, because the file has the form of OpenAI's" in built.spec.assumed[0]


def test_every_tensor_of_the_text_tower_is_accounted_for() -> None:
    _, tensors = openai()
    settings = build(checkpoint_of(tensors), config=HEADS).settings
    assert {(setting.name, setting.treatment) for setting in settings} == {
        ("transformer.*", "harmless"),
        ("token_embedding.*", "harmless"),
        ("positional_embedding", "harmless"),
        ("ln_final.*", "harmless"),
        ("text_projection", "harmless"),
        ("logit_scale", "harmless"),
    }
    assert next(setting.value for setting in settings if setting.name == "transformer.*") == "12 tensors"


def test_a_tensor_that_nobody_knows_is_refused() -> None:
    _, tensors = openai()
    with pytest.raises(CheckpointError, match=r"left over: visual\.surprise"):
        build(checkpoint_of({**tensors, "visual.surprise": torch.ones(3)}), config=HEADS)


def test_a_tower_alone_is_read_too() -> None:
    model, tensors = openai()
    tower = {key.removeprefix("visual."): value for key, value in tensors.items() if "visual." in key}
    built = build(checkpoint_of(tower), config={**HEADS, "activation": "quick_gelu"})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_embeds(built, images, model.get_image_features(pixel_values=images).pooler_output)


ACTIVATIONS = [
    ({}, "weights.pt", {}, "gelu", True),
    ({"variant": "ViT-B-32-quickgelu"}, "weights.pt", {}, "quick_gelu", False),
    ({"variant": "ViT-B-32"}, "weights.pt", {}, "gelu", False),
    ({}, "ViT-B-32-quickgelu.pt", {}, "quick_gelu", False),
    ({}, "epoch_3.pt", {"name": "2026_01-model_ViT-B-32-quickgelu-lr_1"}, "quick_gelu", False),
    ({}, "epoch_3.pt", {"name": "2026_01-model_ViT-B-32-lr_1"}, "gelu", True),
    ({"config": {**HEADS, "activation": "quick_gelu"}}, "weights.pt", {}, "quick_gelu", False),
]


@pytest.mark.parametrize(("hints", "name", "meta", "expected", "assumed"), ACTIVATIONS)
def test_the_activation_is_told_or_said_to_be_assumed(
    hints: dict[str, Any], name: str, meta: dict[str, Any], expected: str, assumed: bool
) -> None:
    model, tensors = openai(hidden_act=expected)
    built = build(checkpoint_of(tensors, name, **meta), **{"config": HEADS, **hints})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_embeds(built, images, model.get_image_features(pixel_values=images).pooler_output)
    said = [sentence for sentence in built.spec.assumed if "activation" in sentence]
    assert len(said) == assumed
    assert not said or """--config '{"activation": "quick_gelu"}' or""" in said[0]


def test_an_exported_tower_gives_the_embedding_at_every_size(tmp_path: Path) -> None:
    model, tensors = openai()
    torch.save(tensors, tmp_path / "clip.pt")
    config = {**HEADS, "activation": "quick_gelu"}
    result = export(tmp_path / "clip.pt", ExportOptions(dynamic=("all",), config=config))
    images = torch.randn(2, 3, 64, 64)
    with open_ort(result.path) as runner, torch.inference_mode():
        found = runner.infer({"images": images.numpy()})["pooled"]
        assert runner.infer({"images": torch.randn(1, 3, 96, 32).numpy()})["pooled"].shape == (1, 24)
        expected = model.get_image_features(pixel_values=images).pooler_output.numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


# Towers of timm.

TRUNKS: list[tuple[dict[str, Any], dict[str, nn.Module]]] = [
    ({"class_token": False, "global_pool": "map", "num_classes": 0}, {}),
    (
        {"class_token": False, "global_pool": "avg", "num_classes": 0},
        {"drop": nn.Dropout(0.0), "proj": nn.Linear(48, 24, bias=False)},
    ),
    ({"num_classes": 0}, {"mlp": Mlp(48, 48, 24, bias=(True, False))}),
    ({"num_classes": 20}, {}),
    ({"pre_norm": True, "num_classes": 0}, {"drop": nn.Dropout(0.0), "proj": nn.Linear(48, 24)}),
]


class Tower(nn.Module):
    """open_clip's adapter around a network of timm, as its checkpoints name it."""

    def __init__(self, trunk: nn.Module, head: dict[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(OrderedDict(head))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.head(self.trunk(images))
        return embedding


@pytest.mark.parametrize(("settings", "head"), TRUNKS)
def test_a_tower_of_timm_gives_what_its_head_makes_of_it(
    settings: dict[str, Any], head: dict[str, nn.Module]
) -> None:
    torch.manual_seed(0)
    tiny = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3}
    if settings.get("pre_norm"):
        settings = {**settings, "norm_layer": lambda width, **kwargs: nn.LayerNorm(width, eps=1e-5, **kwargs)}
    tower = disturbed(Tower(VisionTransformer(**tiny, dynamic_img_size=True, **settings), head))
    tensors = {f"visual.{key}": tensor for key, tensor in tower.state_dict().items()}
    tensors |= {
        "text.ln_final.weight": torch.ones(3),
        "logit_scale": torch.ones(()),
        "logit_bias": torch.ones(1),
    }
    built = build(checkpoint_of(tensors), config={"num_heads": 3})
    for height, width in ((64, 64), (96, 32)):
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            assert_embeds(built, images, tower(images))
    siglip = settings.get("global_pool") == "map"
    assert built.spec.preprocess.resize == ("stretch" if siglip else "short")
    assert (built.spec.preprocess.mean == (0.5, 0.5, 0.5)) == siglip


def test_a_tower_of_timm_that_is_not_a_plain_vit_is_refused_by_name() -> None:
    tower = VisionTransformer(
        img_size=32, patch_size=16, embed_dim=48, depth=1, num_heads=3, num_classes=0, global_pool="map"
    )
    tensors = {f"visual.trunk.{key}": tensor for key, tensor in tower.state_dict().items()}
    config = {"embed_dim": 48, "vision_cfg": {"timm_model_name": "vit_pe_core_tiny_patch16_384"}}
    with pytest.raises(CheckpointError, match="timm's vit_pe_core_tiny_patch16_384, of the class Eva"):
        build(checkpoint_of(tensors), config=config)


def test_a_configured_tower_of_timm_is_what_open_clip_builds() -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    vision = {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "mlp",
    }
    config = {
        "embed_dim": 24,
        "vision_cfg": vision,
        "text_cfg": TEXT,
        "custom_text": True,
        "init_logit_bias": -10,
    }
    torch.manual_seed(0)
    kwargs = {key: value for key, value in config.items() if key != "custom_text"}
    model = disturbed(open_clip.CustomTextCLIP(**kwargs))
    built = build(checkpoint_of(model.state_dict(), open_clip={"model_cfg": config}))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert_embeds(built, images, model.encode_image(images))
    assert ask_witness(built, built.spec).startswith("open_clip 3")
    assert built.spec.variant == "vit_tiny_patch16_224"


def test_without_a_configuration_there_is_no_witness() -> None:
    _, tensors = openai()
    built = build(checkpoint_of(tensors), config=HEADS)
    assert ask_witness(built, built.spec).startswith("none: ")
