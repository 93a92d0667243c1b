"""ViT checkpoints of timm: every form of the architecture, and what its files tell."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.dialects import vit_timm
from deploykit_exporters.dialects.vit import read_architecture
from deploykit_exporters.families import vit
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.vit import FAMILY
from deploykit_runtimes.errors import CheckpointError, OptionError
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

TINY = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 7}
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


def tiny(seed: int = 0, kind: Any = VisionTransformer, **settings: Any) -> Any:
    torch.manual_seed(seed)
    model = kind(**{**TINY, "dynamic_img_size": True, **settings}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def as_checkpoint(model: nn.Module, name: str = "weights.pth", **meta: Any) -> Checkpoint:
    tensors = model.state_dict()
    return Checkpoint(path=Path(name), sha256="0" * 64, container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert (match.family, match.origin) == ("vit", "timm")
    return FAMILY.build(checkpoint, match, Hints(**{"config": {"num_heads": 3}, **hints}))


def assert_equal(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def assert_computes(built: BuiltModel, model: Callable[[torch.Tensor], torch.Tensor], *sizes: Any) -> None:
    """Both forms of the built model give the training library's output at every [N, H, W]."""
    assert built.exportable is not None
    for batch, height, width in sizes:
        images = torch.randn(batch, built.spec.input.channels, height, width)
        with torch.inference_mode():
            expected = model(images)
            assert_equal(built.module(images), expected)
            assert_equal(built.exportable(images), expected)
            if built.fixed is not None:
                assert_equal(built.fixed(height, width)(images), expected)


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
        "1 attention heads (48 channels each): the weights do not tell; "
        "override as in --config '{\"num_heads\": 1}'.",
        "Not told by the file, and assumed: activation GELU, norms with eps 1e-06, the class token pooled. "
        "Name the architecture with --variant, or give what it does not say with --config.",
        "The positions are those of 64x64 images, as a square has them: the file does not tell. For others "
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
