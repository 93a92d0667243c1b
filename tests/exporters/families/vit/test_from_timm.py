"""ViT checkpoints of timm: every form of the architecture."""

from __future__ import annotations

import json
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.vit import from_timm as vit_timm
from deploykit_exporters.families.vit.source import read_architecture
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm_vits import TINY, as_checkpoint, assert_computes, assert_equal, build, tiny
from torch import nn

VARIANTS: dict[str, dict[str, Any]] = {
    "class token": {},
    "average": {"global_pool": "avg"},
    "no class token": {"global_pool": "avg", "class_token": False},
    "norm before pooling": {"global_pool": "avg", "class_token": False, "fc_norm": False},
    "attention pooling": {"global_pool": "map", "class_token": False},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "registers with positions": {"reg_tokens": 4},
    "deit3": {"no_embed_class": True, "init_values": 0.1},
    "layer scale": {"init_values": 0.1},
    "qk norm": {"qk_norm": True},
    "no qkv bias": {"qkv_bias": False},
    "no projection bias": {"proj_bias": False},
    "clip": {"pre_norm": True, "norm_layer": partial(nn.LayerNorm, eps=1e-5)},
    "one class": {"num_classes": 1},
    "odd mlp": {"mlp_ratio": 511.5 / 192},
    "swiglu": {"mlp_layer": SwiGLUPacked, "mlp_ratio": 5.34, "act_layer": nn.SiLU},
    "grey": {"in_chans": 1},
    "wide patches": {"patch_size": (8, 16)},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=list(VARIANTS))
def test_every_form_computes_what_timm_computes(settings: dict[str, Any]) -> None:
    model = tiny(**settings)
    built = build(as_checkpoint(model))
    assert_computes(built, model, (2, 64, 64), (1, 96, 32), (3, 16, 80))
    assert built.spec.num_classes == model.num_classes
    assert built.spec.output.activation == ("sigmoid" if model.num_classes == 1 else "softmax")


def test_distilled_heads_are_averaged() -> None:
    model = tiny(kind=VisionTransformerDistilled)
    built = build(as_checkpoint(model))
    assert_computes(built, model, (2, 64, 64), (1, 80, 48))
    assert built.spec.preprocess.mean == (0.485, 0.456, 0.406)
    assert "distillation token" in built.spec.recognised[0]


@pytest.mark.parametrize("settings", [{}, {"global_pool": "avg"}], ids=["token", "avg"])
def test_without_a_head_the_tokens_are_the_output(settings: dict[str, Any]) -> None:
    model = tiny(num_classes=0, **settings)
    built = build(as_checkpoint(model))
    assert built.spec.task == "features"
    assert built.spec.output.names == ("features", "pooled")
    assert [group.output for group in built.groups] == ["features", "pooled"]
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        for module in (built.module, built.exportable):
            assert module is not None
            tokens, pooled = module(images)
            assert_equal(tokens, model.forward_features(images))
            assert_equal(pooled, model(images))


def test_features_of_a_classifier_on_request() -> None:
    model = tiny()
    built = build(as_checkpoint(model), features=True)
    assert (built.spec.task, built.spec.num_classes, built.spec.classes) == ("features", 0, ())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(built.module(images)[1], model.forward_head(model.forward_features(images), True))


def test_another_size_is_the_one_timm_would_load() -> None:
    model = tiny()
    built = build(as_checkpoint(model), imgsz=(96, 128))
    larger = timm.create_model(
        "vit_tiny_patch16_224", **{**TINY, "img_size": (96, 128)}, pretrained=False
    ).eval()
    larger.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(model.state_dict(), larger))
    assert_computes(built, larger, (2, 96, 128))
    assert (built.spec.input.height, built.spec.input.width) == (96, 128)
    assert "96x128" in built.notes[0]
    assert "antialiased" in built.notes[0]


def test_axes_are_multiples_of_the_patch() -> None:
    axes = build(as_checkpoint(tiny(patch_size=(8, 16)))).axes
    assert (axes["height"].min, axes["height"].max, axes["height"].step) == (16, 256, 8)
    assert (axes["width"].min, axes["width"].max, axes["width"].step) == (32, 256, 16)
    assert axes["batch"].min == 1


def test_checkpoint_saver_file(tmp_path: Path) -> None:
    model = tiny(1)
    args = Namespace(model="vit_tiny_patch16_224", img_size=64, mean=[0.1, 0.2, 0.3], std=None, crop_pct=0.8)
    saver = timm.utils.CheckpointSaver(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        args=args,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(epoch=0, metric=1.0)
    built = build(read_checkpoint(tmp_path / "last.pth.tar"))
    assert_computes(built, model, (2, 64, 64), (1, 80, 80))
    how = built.spec.preprocess
    assert (how.mean, how.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert (how.resize_to, how.crop, how.interpolation) == ((80,), (64, 64), "bicubic")
    assert "(48 channels instead of 192, 2 blocks instead of 12)" in built.spec.assumed[0]
    assert "attention heads, activation, eps, pooling) is taken from it" in built.spec.assumed[0]
    assert built.spec.recognised[1] == "Pre-processing is from the training arguments."


def test_hub_folder_tells_labels_and_preprocessing(tmp_path: Path) -> None:
    model = tiny(2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    labels = [f"n{index}" for index in range(7)]
    pretrained = {"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 7,
        "label_names": labels,
        "label_descriptions": {"n0": "zebra"},
        "pretrained_cfg": {**pretrained, "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = build(read_checkpoint(tmp_path)).spec
    assert spec.classes == ("zebra", *labels[1:])
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert (spec.preprocess.resize, spec.preprocess.resize_to) == ("stretch", (64, 64))
    assert spec.preprocess.crop is None


def test_half_precision_weights_with_a_lightning_prefix(tmp_path: Path) -> None:
    model = tiny(3).half()
    state = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(7)}, "epoch": 3}, tmp_path / "a.ckpt")
    assert_computes(build(read_checkpoint(tmp_path / "a.ckpt")), model.float(), (2, 64, 64), (1, 48, 48))


def test_original_deit3_names_of_layer_scale() -> None:
    model = tiny(no_embed_class=True, init_values=0.1)
    tensors = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): tensor
        for key, tensor in model.state_dict().items()
    }
    checkpoint = Checkpoint(path=Path("deit3.pth"), sha256="", container="torch", tensors=tensors)
    assert_computes(build(checkpoint), model, (2, 64, 64))


REAL = [
    ("vit_tiny_patch16_224", {}, ""),
    ("vit_base_patch16_224", {}, ""),
    ("vit_base_patch32_384", {}, ""),
    ("vit_large_patch14_224", {}, ""),
    ("vit_huge_patch14_224", {}, ""),
    ("deit_tiny_distilled_patch16_224", {}, ""),
    ("deit3_base_patch16_224", {}, ""),
    ("vit_medium_patch16_reg4_gap_256", {}, ""),
    ("vit_base_patch16_clip_224", {}, ""),
    ("vit_base_patch16_224", {"img_size": 448}, "vit_base_patch16_448"),
]


@pytest.mark.parametrize(("name", "settings", "expected"), REAL, ids=[f"{r[0]}-{r[2]}" for r in REAL])
def test_real_sizes_are_named_from_their_shapes(name: str, settings: dict[str, Any], expected: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, **settings)
    checkpoint = as_checkpoint(model)
    source = vit_timm.read(checkpoint, checkpoint.tensors, Hints())
    arch, assumed = read_architecture(source, {})
    assert source.name(arch, arch.image_size) == (expected or name)
    assert (arch.num_heads, arch.depth) == (model.blocks[0].attn.num_heads, len(model.blocks))
    assert arch.pool == model.global_pool
    assert "attention heads" in assumed[0]


@pytest.mark.parametrize(
    ("name", "meta", "hints"),
    [
        ("weights.pth", {"arch": "vit_base_patch16_clip_quickgelu_224"}, {}),
        ("weights.pth", {}, {"variant": "vit_base_patch16_clip_quickgelu_224"}),
        ("vit_base_patch16_clip_quickgelu_224-1a2b3c.pth", {}, {}),
        ("weights.pth", {"timm_config": {"architecture": "vit_base_patch16_clip_quickgelu_224.openai"}}, {}),
    ],
    ids=["arch", "variant", "file name", "hub"],
)
def test_a_name_tells_what_shapes_cannot(name: str, meta: dict[str, Any], hints: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_clip_quickgelu_224")
    checkpoint = as_checkpoint(model, name, **meta)
    source = vit_timm.read(checkpoint, checkpoint.tensors, Hints(**hints))
    arch, assumed = read_architecture(source, {})
    assert (source.variant, source.activation) == ("vit_base_patch16_clip_quickgelu_224", "quick_gelu")
    assert (arch.num_heads, arch.eps, assumed) == (12, model.blocks[0].norm1.eps, ())
    assert source.preprocess((224, 224)).mean == model.pretrained_cfg["mean"]
    assert source.preprocess_from
