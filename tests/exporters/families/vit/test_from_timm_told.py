"""ViT checkpoints of timm: what its files tell, what is assumed, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.vit import family as vit
from deploykit_exporters.families.vit import from_timm as vit_timm
from deploykit_exporters.families.vit.family import FAMILY
from deploykit_exporters.families.vit.source import read_architecture
from deploykit_runtimes.errors import CheckpointError, OptionError
from timm_vits import as_checkpoint, assert_computes, assert_equal, build, tiny
from torch import nn


def test_thousand_classes_without_names_are_imagenet() -> None:
    spec = build(as_checkpoint(tiny(num_classes=1000))).spec
    assert len(set(spec.classes)) == 1000
    assert spec.classes[281] == "tabby, tabby cat"
    assert spec.assumed[-1] == "The 1000 classes are those of ImageNet-1k."


def test_labels_override_and_must_be_as_many_as_the_classes() -> None:
    checkpoint = as_checkpoint(tiny())
    assert build(checkpoint, labels=tuple("abcdefg")).spec.classes == tuple("abcdefg")
    with pytest.raises(OptionError, match="2 names, the model has 7 classes"):
        build(checkpoint, labels=("a", "b"))


def test_what_was_assumed_is_said() -> None:
    spec = build(as_checkpoint(tiny(num_heads=1)), config=None).spec
    assert spec.variant == "vit_d48_l2_h1_patch16_64"
    assert spec.assumed == (
        "1 attention heads (48 channels each): the weights do not show it; override as in --config "
        "'{\"num_heads\": 3}'.",
        "Not in the file, and assumed: activation GELU, norms with eps 1e-06, the class token "
        "pooled, norms before the layers, patches side by side, no rotary positions. "
        "Name the architecture with --variant, or give what it does not say with --config.",
        "The positions are those of 64x64 images, assuming a square: the file does not say. For others "
        "of as many patches say so, as in --config '{\"img_size\": [64, 64]}'.",
        "Pre-processing is the usual one of timm: short edge to 71 (bicubic), centre crop 64x64, "
        "mean 0.5 0.5 0.5, std 0.5 0.5 0.5.",
    )


def test_config_overrides_preprocessing() -> None:
    config = {"mean": [0.1, 0.2, 0.3], "crop_pct": 1.0, "interpolation": "bilinear"}
    told = {"num_heads": 3, "img_size": 64, "activation": "gelu", "eps": 1e-6, "global_pool": "token"}
    spec = build(as_checkpoint(tiny()), config=config | told).spec
    assert (spec.preprocess.resize_to, spec.preprocess.interpolation) == ((64,), "bilinear")
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert spec.assumed == ()


def test_a_rectangular_grid_needs_the_trained_size() -> None:
    model = tiny(img_size=(48, 64))
    with pytest.raises(CheckpointError, match="13 entries") as error:
        build(as_checkpoint(model))
    assert "img_size" in error.value.hint
    built = build(as_checkpoint(model), config={"num_heads": 3, "img_size": [48, 64]})
    assert_computes(built, model, (2, 48, 64), (1, 64, 64))


@pytest.mark.parametrize("imgsz", [(60, 64), (64, 72), (0, 64)])
def test_sizes_off_the_patch_grid_are_refused(imgsz: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="multiples of the patch size, 16x16"):
        build(as_checkpoint(tiny()), imgsz=imgsz)


def test_wrong_weights_are_named() -> None:
    checkpoint = as_checkpoint(tiny())
    tensors = dict(checkpoint.tensors)
    del tensors["blocks.1.norm2.bias"]
    tensors["blocks.0.attn.relative_position_bias_table"] = torch.zeros(4)
    tensors["blocks.1.mlp.fc1.bias"] = torch.zeros(5)
    broken = Checkpoint(path=Path("broken.pth"), sha256="", container="torch", tensors=tensors)
    with pytest.raises(CheckpointError) as error:
        build(broken)
    for part in ("broken.pth", "missing: blocks.1.norm2.bias", "left over: blocks.0.attn.relative_position"):
        assert part in error.value.problem
    assert "misshapen: blocks.1.mlp.fc1.bias (wanted 192, found 5)" in error.value.problem


def test_a_variant_of_another_size_is_refused() -> None:
    with pytest.raises(
        CheckpointError, match="768 channels and 12 blocks; the weights have 48 channels and 2"
    ):
        build(as_checkpoint(tiny()), variant="vit_base_patch16_224")


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(CheckpointError, match="48 channels cannot be divided among 5"):
        build(as_checkpoint(tiny()), config={"num_heads": 5})


def test_without_position_embeddings_it_is_no_plain_vit() -> None:
    checkpoint = as_checkpoint(tiny(pos_embed="none"))
    with pytest.raises(CheckpointError, match="pos_embed"):
        build(checkpoint)


def test_other_networks_are_not_claimed() -> None:
    for name in ("resnet18", "efficientnet_b0", "swin_tiny_patch4_window7_224"):
        with torch.device("meta"):
            model = timm.create_model(name)
        assert FAMILY.match(as_checkpoint(model)) is None


HOSTILE: list[dict[str, Any]] = [
    {"args": Namespace(img_size="huge")},
    {"args": {"mean": 5}},
    {"args": {"crop_pct": -0.0001, "std": ["a"]}},
    {"timm_config": {"input_size": ["a", "b", "c"]}},
    {"timm_config": {"label_names": {"x": "y"}}},
]


@pytest.mark.parametrize("meta", HOSTILE, ids=str)
def test_senseless_settings_are_one_clear_error(meta: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as error:
        build(as_checkpoint(tiny(), "weights.pth", **meta))
    assert "weights.pth" in error.value.problem


def test_a_block_number_out_of_order_costs_no_memory() -> None:
    tensors = dict(tiny().state_dict())
    tensors["blocks.999999999.norm1.weight"] = torch.zeros(48)
    checkpoint = Checkpoint(path=Path("a.pth"), sha256="", container="torch", tensors=tensors)
    with pytest.raises(CheckpointError, match="3 blocks, but number 2 is missing"):
        build(checkpoint)


def test_shapes_that_only_claim_to_be_large_cost_no_memory() -> None:
    tensors = dict(tiny().state_dict())
    tensors["blocks.0.mlp.fc1.weight"] = torch.zeros(1, 1).expand(1 << 40, 1)
    checkpoint = Checkpoint(path=Path("a.pth"), sha256="", container="torch", tensors=tensors)
    with pytest.raises(CheckpointError, match="misshapen"):
        build(checkpoint)


def clip_of_timm(**settings: Any) -> Any:
    """As timm keeps a CLIP: the projection is the head, whose bias is zero."""
    model = tiny(pre_norm=True, num_classes=24, norm_layer=partial(nn.LayerNorm, eps=1e-5), **settings)
    with torch.no_grad():
        model.head.bias.zero_()
    return model


def test_the_projection_of_a_clip_is_an_embedding_and_not_a_classifier() -> None:
    model = clip_of_timm()
    built = build(as_checkpoint(model), config={"num_heads": 3, "eps": 1e-5})
    assert (built.spec.task, built.spec.output.names) == ("features", ("features", "pooled"))
    assert any("its 24 values are the embedding of an image" in line for line in built.spec.assumed)
    for height, width in ((64, 64), (96, 32)):
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            for module in (built.module, built.exportable):
                assert module is not None
                tokens, embedding = module(images)
                assert_equal(tokens, model.forward_features(images))
                assert_equal(embedding, model(images))


def test_whoever_names_the_classes_has_a_classifier() -> None:
    model = clip_of_timm()
    labels = tuple(f"class {index}" for index in range(24))
    built = build(as_checkpoint(model), config={"num_heads": 3, "eps": 1e-5}, labels=labels)
    assert (built.spec.task, built.spec.classes) == ("classify", labels)
    assert_computes(built, model, (2, 64, 64))


def test_a_classifier_on_a_clip_stays_one() -> None:
    model = tiny(pre_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-5))
    assert build(as_checkpoint(model)).spec.task == "classify"


def test_images_that_are_not_a_whole_number_of_patches_keep_their_size() -> None:
    """As vit_so400m_patch14_siglip_384: 27 patches of 14 are 378 of its 384 pixels."""
    model = tiny(img_size=70, dynamic_img_size=False, class_token=False, global_pool="map")
    checkpoint = as_checkpoint(model, timm_config={"input_size": [3, 70, 70], "crop_pct": 1.0})
    built = build(checkpoint)
    assert (built.spec.input.height, built.spec.preprocess.crop) == (70, (70, 70))
    assert_computes(built, model, (2, 70, 70))
    with pytest.raises(OptionError, match="multiples of the patch size"):
        build(checkpoint, imgsz=(71, 71))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_so400m_patch14_siglip_384", 384),
        ("vit_base_patch16_siglip_256", 256),
        ("vit_large_patch14_clip_336", 336),
        ("vit_base_patch14_dinov2", 518),
    ],
)
def test_a_name_tells_the_size_of_the_images(name: str, size: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    checkpoint = as_checkpoint(model, arch=name)
    source = vit_timm.read(checkpoint, checkpoint.tensors, Hints())
    arch, assumed = read_architecture(source, {})
    assert vit._own_size(arch, source) == (size, size)
    assert (arch.eps, arch.pool, assumed) == (model.blocks[0].norm1.eps, model.global_pool, ())
