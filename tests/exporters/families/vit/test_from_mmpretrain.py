"""A ViT checkpoint that mmengine's Runner saved (see tests/fixtures/make_mmpretrain.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.vit.family import FAMILY
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.pixels.preprocess import preprocess


@pytest.fixture(scope="module")
def checkpoint(fixtures: Path) -> Checkpoint:
    return read_checkpoint(fixtures / "mmpretrain_vit.pth")


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, np.ndarray]:
    return dict(np.load(fixtures / "mmpretrain_vit.npz"))


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert match.origin == "mmpretrain"
    return FAMILY.build(checkpoint, match, Hints(**hints))


def edited(checkpoint: Checkpoint, tensors: dict[str, torch.Tensor], **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path("edited.pth"), sha256="", container="torch", tensors=tensors, meta=meta)


def test_logits_are_mmpretrains(checkpoint: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    built = build(checkpoint)
    cases = {"tensors": "logits", "noise": "noise_logits"}
    for given, wanted in cases.items():
        images = torch.from_numpy(expected[given].astype(np.float32) / (64 if given == "noise" else 1))
        assert built.exportable is not None
        for module in (built.module, built.exportable):
            with torch.inference_mode():
                found = module(images).numpy()
            assert np.abs(found - expected[wanted]).max() <= 1e-5 * np.abs(expected[wanted]).max()


def test_the_file_tells_everything(checkpoint: Checkpoint) -> None:
    spec = build(checkpoint).spec
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert (spec.classes, spec.assumed) == (names, ())
    assert (spec.input.height, spec.input.width, spec.variant) == (64, 64, "vit_d48_l2_h3_patch16_64")
    assert spec.output.activation == "softmax"


def test_preprocessing_is_the_test_pipeline(checkpoint: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    spec = build(checkpoint).spec
    assert (spec.preprocess.resampler, spec.preprocess.interpolation) == ("pillow", "bicubic")
    for index in range(2):
        found, _ = preprocess(expected[f"photo_{index}"], spec)
        assert np.abs(found - expected["tensors"][index]).max() <= 1.01 / 127.5


def test_a_backbone_alone_gives_features(checkpoint: Checkpoint) -> None:
    tensors = {
        key.removeprefix("backbone."): tensor
        for key, tensor in checkpoint.tensors.items()
        if key.startswith("backbone.")
    }
    built = build(edited(checkpoint, tensors), config={"num_heads": 3})
    assert (built.spec.task, built.spec.origin) == ("features", "mmpretrain")
    assert "usual one of mmpretrain" in built.spec.assumed[-1]


def test_averaged_patches_have_a_norm_of_their_own(checkpoint: Checkpoint) -> None:
    tensors = dict(checkpoint.tensors)
    tensors["backbone.ln2.weight"] = torch.rand(48) + 0.5
    tensors["backbone.ln2.bias"] = torch.rand(48)
    config = "model = dict(backbone=dict(type='VisionTransformer', arch=dict(num_heads=3), img_size=64))"
    built = build(edited(checkpoint, tensors, meta={"cfg": config}))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        normed = build(edited(checkpoint, tensors, meta={"cfg": config}), features=True).module(images)[0]
        mean = normed[:, 1:].mean(1)
        pooled = torch.nn.functional.layer_norm(
            mean, (48,), tensors["backbone.ln2.weight"], tensors["backbone.ln2.bias"], 1e-6
        )
        head = tensors["head.layers.head.weight"], tensors["head.layers.head.bias"]
        torch.testing.assert_close(built.module(images), torch.nn.functional.linear(pooled, *head))


def test_deit3_reads_its_first_norm_twice(checkpoint: Checkpoint) -> None:
    tensors = dict(checkpoint.tensors)
    tensors["backbone.pos_embed"] = tensors["backbone.pos_embed"][:, 1:]
    for layer in range(2):
        tensors[f"backbone.layers.{layer}.attn.gamma1.weight"] = torch.rand(48)
        tensors[f"backbone.layers.{layer}.ffn.gamma2.weight"] = torch.rand(48)
    built = build(edited(checkpoint, tensors), config={"num_heads": 3})
    net: Any = built.module
    block = net.net.blocks[1]
    assert torch.equal(block.norm2.weight, tensors["backbone.layers.1.ln1.weight"])
    assert torch.equal(block.ls2.gamma, tensors["backbone.layers.1.ffn.gamma2.weight"])
    assert "DeiT3" in built.notes[0]


def test_other_interpolation_of_positions_is_refused(checkpoint: Checkpoint) -> None:
    config = "model = dict(backbone=dict(arch=dict(num_heads=3), interpolate_mode='nearest'))"
    with pytest.raises(CheckpointError, match="nearest"):
        build(edited(checkpoint, dict(checkpoint.tensors), meta={"cfg": config}))


def test_a_config_given_as_text_overrides_the_files(checkpoint: Checkpoint) -> None:
    text = """
arch = dict(embed_dims=48, num_layers=2, num_heads=1, feedforward_channels=160)
model = dict(backbone=dict(type='VisionTransformer', arch=arch, img_size=64, patch_size=16))
data_preprocessor = dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=False)
"""
    spec = build(checkpoint, config={"text": text}).spec
    assert spec.variant == "vit_d48_l2_h1_patch16_64"
    assert (spec.preprocess.color, spec.preprocess.mean) == ("bgr", (1.0, 2.0, 3.0))


@pytest.mark.parametrize("hidden", [False, True])
def test_a_norm_that_mmpretrain_makes_and_does_not_use_is_refused(
    checkpoint: Checkpoint, hidden: bool
) -> None:
    tensors = dict(checkpoint.tensors)
    if hidden:
        classes = tensors["head.layers.head.weight"].shape[0]
        tensors["head.layers.head.weight"] = torch.rand(classes, 10)
        tensors["head.layers.pre_logits.weight"] = torch.rand(10, 48)
        tensors["head.layers.pre_logits.bias"] = torch.rand(10)
    backbone = "dict(type='DistilledVisionTransformer', arch=dict(num_heads=3), pre_norm=True)"
    config = f"model = dict(backbone={backbone})"
    with pytest.raises(CheckpointError, match="pre_norm = True"):
        build(edited(checkpoint, tensors, meta={"cfg": config}))
