"""Whole models of timm that were pickled: every layer tells what it is, and none of their code runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_runtimes.errors import CheckpointError
from torch import nn

VIT: dict[str, Any] = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "heads": ("vit_small_patch16_224", VIT | {"num_heads": 6}),
    "activation": ("vit_small_patch16_224", VIT | {"act_layer": "relu"}),
    "eps": ("vit_small_patch16_224", VIT | {"norm_layer": nn.LayerNorm}),
    "average": ("vit_small_patch16_224", VIT | {"global_pool": "avg"}),
    "largest": ("vit_small_patch16_224", VIT | {"global_pool": "max"}),
    "clip": ("vit_base_patch16_clip_quickgelu_224", VIT),
    "distilled": ("deit_tiny_distilled_patch16_224", VIT),
    "padding": ("efficientnet_b0", {"pad_type": "same"}),
    "tensorflow": ("tf_efficientnet_b0", {}),
    "norms": ("efficientnet_b0", {"bn_eps": 0.01}),
    "gelu": ("efficientnet_b0", {"act_layer": "gelu"}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "prefix": (
        "vit_small_patch16_224",
        VIT | {"pool_include_prefix": True},
        "pool_include_prefix is True there",
    ),
    "attention": ("vit_small_patch16_224", VIT | {"attn_layer": "diff"}, "DiffAttention there"),
    "stride": ("efficientnet_b0", {"output_stride": 16}, "conv_dw.stride is"),
    "pool": ("efficientnet_b0", {"global_pool": "max"}, "AdaptiveMaxPool2d"),
}


def built_from(path: Path, **hints: Any) -> BuiltModel:
    checkpoint = read_checkpoint(path)
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "inside"])
@pytest.mark.parametrize(("name", "settings"), MODELS.values(), ids=list(MODELS))
def test_a_pickled_model_tells_what_its_weights_do_not(
    tmp_path: Path, perturb: Any, name: str, settings: dict[str, Any], *, wrapped: bool
) -> None:
    model: Any = perturb(timm.create_model(name, **{"num_classes": 5, **settings}).eval(), 0)
    holder = nn.Module()
    holder.model = model
    torch.save(holder if wrapped else model, tmp_path / "whole.pth")
    built = built_from(tmp_path / "whole.pth", imgsz=(64, 64))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected, found = model.double()(images), built.module.double()(images)
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    assert built.spec.variant == name
    assert built.spec.preprocess.mean == tuple(model.pretrained_cfg["mean"])
    assert not any("attention heads" in line or "Not in the file" in line for line in built.spec.assumed)


@pytest.mark.parametrize(("name", "settings", "problem"), REFUSED.values(), ids=list(REFUSED))
def test_a_pickled_model_with_a_layer_that_is_not_built_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], problem: str
) -> None:
    torch.save(timm.create_model(name, **settings), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=problem):
        built_from(tmp_path / "whole.pth")


def test_what_the_user_says_does_not_outweigh_the_module(tmp_path: Path) -> None:
    torch.save(timm.create_model("vit_small_patch16_224", **VIT), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"num_heads is 3 there, 6 here"):
        built_from(tmp_path / "whole.pth", config={"num_heads": 6})
