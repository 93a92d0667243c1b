"""BEiT of its own repository (microsoft/unilm): timm's keys, no name, and the arguments of its training."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.families.shared.timm_library.witness import resize_model
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from timm.models.beit import Beit
from torch import nn
from torchvision import transforms

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 64, "num_classes": 5}
KINDS: dict[str, dict[str, Any]] = {
    "fine-tuned": {"use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.1},
    "pre-trained": {
        "use_abs_pos_emb": False,
        "use_shared_rel_pos_bias": True,
        "init_values": 0.1,
        "global_pool": "token",
        "num_classes": 0,
    },
    "class token": {"use_abs_pos_emb": True, "use_rel_pos_bias": True, "global_pool": "token"},
    "no biases": {"use_abs_pos_emb": False, "use_rel_pos_bias": True, "qkv_bias": False, "patch_size": 8},
}
# As run_class_finetuning.py saves them, among others.
ARGS: dict[str, Any] = {
    "model": "beit_base_patch16_224",
    "imagenet_default_mean_and_std": False,
    "input_size": 64,
    "crop_pct": None,
    "use_mean_pooling": True,
    "rel_pos_bias": True,
    "abs_pos_emb": False,
    "qkv_bias": True,
    "layer_scale_init_value": 0.1,
    "update_freq": 2,
    "data_set": "IMNET",
    "init_scale": 0.001,
    "window_size": (4, 4),
}


def tiny(kind: str = "fine-tuned", **settings: Any) -> Any:
    torch.manual_seed(0)
    model = Beit(**{**SMALL, **KINDS[kind], **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def official(model: Any) -> dict[str, torch.Tensor]:
    """The weights with what that code saves beside them."""
    tensors = dict(model.state_dict())
    for name, module in model.named_modules():
        if getattr(module, "relative_position_index", None) is not None:
            tensors[f"{name}.relative_position_index"] = module.relative_position_index
    if not model.num_classes:
        tensors["mask_token"] = torch.randn(1, 1, model.embed_dim)
        tensors |= {"lm_head.weight": torch.randn(20, model.embed_dim), "lm_head.bias": torch.randn(20)}
        tensors["cls_pt_layers.0.attn.qkv.weight"] = torch.randn(144, 48)
    return tensors


def checkpoint_of(model: Any, args: dict[str, Any] | None = None, name: str = "best.pth") -> Checkpoint:
    meta = {} if args is None else {"args": args}
    return Checkpoint(path=Path(name), sha256="", container="torch", tensors=official(model), meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    built = family.build(checkpoint, match, asked)
    assert (family.name, built.spec.origin) == ("vit", "beit")
    return built


def assert_equal(module: nn.Module, images: torch.Tensor, model: Any, *, features: bool) -> None:
    with torch.inference_mode():
        tokens = model.forward_features(images)
        expected = (tokens, model.forward_head(tokens, pre_logits=True)) if features else (model(images),)
        found = module(images)
    for one, other in zip((found,) if isinstance(found, torch.Tensor) else found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_tell_the_model(kind: str, features: bool) -> None:
    model = tiny(kind)
    built = build(checkpoint_of(model), features=features)
    images = torch.randn(2, 3, 64, 64)
    assert built.fixed is not None
    for module in (built.module, built.fixed(64, 64)):
        assert_equal(module, images, model, features=features or not model.num_classes)
    assert any("eps 1e-6" in line for line in built.spec.assumed)
    assert any("64x64 images" in line for line in built.spec.assumed)
    assert any("mean" in line for line in built.spec.assumed)


@pytest.mark.parametrize("args", [False, True])
@pytest.mark.parametrize("size", [(96, 96), (48, 80)])
def test_another_size_is_made_as_timm_makes_it(size: tuple[int, int], args: bool) -> None:
    model = tiny()
    built = build(checkpoint_of(model, ARGS if args else None), imgsz=size)
    resize_model(model, size)
    images = torch.randn(1, 3, *size)
    assert_equal(built.module, images, model, features=False)
    assert any("timm's way" in line for line in built.spec.assumed)


def test_images_that_are_not_square_are_told_by_the_size() -> None:
    model = tiny(img_size=(32, 80))
    with pytest.raises(CheckpointError, match="--imgsz"):
        build(checkpoint_of(model))
    built = build(checkpoint_of(model), imgsz=(32, 80))
    assert not any("square" in line for line in built.spec.assumed)
    assert_equal(built.module, torch.randn(1, 3, 32, 80), model, features=False)


@pytest.mark.parametrize("imagenet", [False, True])
@pytest.mark.parametrize(("size", "crop"), [(64, None), (64, 0.9), (384, None)])
def test_the_training_arguments_tell_the_evaluation(
    photos: dict[str, np.ndarray], imagenet: bool, size: int, crop: float | None
) -> None:
    told = {"imagenet_default_mean_and_std": imagenet, "input_size": size, "crop_pct": crop}
    built = build(checkpoint_of(tiny(img_size=size), ARGS | told))
    assert built.spec.variant == "beit_base_patch16_224"
    assert not any("Pre-processing" in line or "square" in line for line in built.spec.assumed)
    # The evaluation of that code: 224 of 256 below 384 pixels, all of the image from there on.
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if imagenet else ([0.5] * 3, [0.5] * 3)
    process = transforms.Compose(
        [
            transforms.Resize(int(size / (crop or (224 / 256 if size < 384 else 1))), interpolation=3),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    found, _ = preprocess(photos["cat"], built.spec)
    expected = process(Image.fromarray(photos["cat"])).numpy()
    assert found.shape[-3:] == expected.shape
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1.01 / 255 / min(std)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"use_mean_pooling": False}, "use_mean_pooling"),
        ({"rel_pos_bias": False}, "rel_pos_bias"),
        ({"abs_pos_emb": True}, "abs_pos_emb"),
        ({"qkv_bias": False}, "qkv_bias"),
        ({"layer_scale_init_value": 0}, "layer_scale_init_value"),
        ({"input_size": 96}, "input_size"),
        ({"num_heads": 6}, "num_heads"),
    ],
)
def test_arguments_of_another_model_are_refused(told: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        build(checkpoint_of(tiny(), ARGS | told))
    built = build(checkpoint_of(tiny(), ARGS | told), ignore=(f"args:{named}",))
    assert_equal(built.module, torch.randn(1, 3, 64, 64), tiny(), features=False)


def test_every_argument_is_accounted_for() -> None:
    built = build(checkpoint_of(tiny(), ARGS | {"hedgehogs": 3}))
    told = {setting.name: setting.treatment for setting in built.settings}
    assert {name for name in ARGS | {"hedgehogs": 3} if told[name] == "unknown"} == {"hedgehogs"}


def test_the_file_name_of_a_beit_v2_tells_its_mean() -> None:
    built = build(checkpoint_of(tiny(), name="beitv2_base_patch16_224_pt1k_ft21k.pth"))
    assert built.spec.preprocess.mean == pytest.approx([0.485, 0.456, 0.406])
    assert build(checkpoint_of(tiny())).spec.preprocess.mean == pytest.approx([0.5] * 3)
    asked = build(checkpoint_of(tiny()), config={"mean": [0.1, 0.2, 0.3], "eps": 0.01})
    assert asked.spec.preprocess.mean == pytest.approx([0.1, 0.2, 0.3])
    assert asked.module.net.blocks[0].norm1.eps == 0.01
    with pytest.raises(OptionError, match="num_heads"):
        build(checkpoint_of(tiny()), config={"num_heads": 6})


@pytest.mark.parametrize("kind", ["fine-tuned", "class token"])
def test_every_lost_weight_is_named(kind: str) -> None:
    tensors = official(tiny(kind))
    # Without them it is another model, or known as none.
    unstated = {"pos_embed", "patch_embed.proj.weight", *(key for key in tensors if key.endswith("_index"))}
    for lost in tensors.keys() - unstated:
        left = {key: tensor for key, tensor in tensors.items() if key != lost}
        checkpoint = Checkpoint(path=Path("x.pth"), sha256="", container="torch", tensors=left, meta={})
        with pytest.raises(CheckpointError) as error:
            build(checkpoint)
        assert lost in str(error.value) or lost.rpartition(".")[0] in str(error.value), f"{lost}: {error}"


def test_weights_that_timm_names_are_timms() -> None:
    name = "beitv2_base_patch16_224"
    model = timm.create_model(name, embed_dim=48, depth=2, num_heads=3, img_size=64, num_classes=5)
    meta = {"args": Namespace(model=name, model_kwargs={key: SMALL[key] for key in list(SMALL)[:4]})}
    tensors = model.state_dict()
    checkpoint = Checkpoint(path=Path("x.pth"), sha256="", container="torch", tensors=tensors, meta=meta)
    family, match = recognise(checkpoint, Hints())
    assert family.build(checkpoint, match, Hints()).spec.origin == "timm"


def test_an_exported_classifier_is_proven(tmp_path: Path) -> None:
    torch.save({"model": official(tiny()), "args": Namespace(**ARGS)}, tmp_path / "checkpoint-best.pth")
    result = export(tmp_path / "checkpoint-best.pth", ExportOptions(output=tmp_path / "m.onnx"))
    assert result.spec.origin == "beit"
    assert result.spec.parity is not None
    assert "not a package" in result.spec.parity.witness


CHANGES: list[dict[str, Any]] = [
    *({"patch_size": 8}, {"in_chans": 1}, {"in_chans": 4}, {"num_classes": 1}, {"num_classes": 0}),
    *({"embed_dim": 96}, {"depth": 1}, {"num_heads": 6}, {"num_heads": 1}, {"qkv_bias": False}),
    *({"mlp_ratio": 2.5}, {"init_values": None}, {"init_values": 1e-5}, {"use_abs_pos_emb": True}),
    *({"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, {"use_shared_rel_pos_bias": True}),
    *({"global_pool": "token"}, {"img_size": 96}),
]


@pytest.mark.parametrize("changed", CHANGES, ids=str)
def test_every_argument_of_that_codes_constructor_is_told_by_the_shapes(changed: dict[str, Any]) -> None:
    model = tiny(**changed)
    built = build(checkpoint_of(model))
    images = torch.randn(1, model.in_chans, *model.patch_embed.img_size)
    assert (built.spec.input.height, built.spec.input.channels) == (images.shape[2], images.shape[1])
    assert_equal(built.module, images, model, features=not model.num_classes)


def test_without_tables_the_heads_are_not_guessed() -> None:
    model = tiny(use_rel_pos_bias=False, use_abs_pos_emb=True)
    checkpoint = checkpoint_of(model)
    family, match = recognise(checkpoint, Hints())
    with pytest.raises(CheckpointError, match="does not say which model"):
        family.build(checkpoint, match, Hints())


def test_weights_of_another_rank_are_refused() -> None:
    tensors = official(tiny("class token"))
    for key, tensor in tensors.items():
        for other in (tensor[None], tensor.flatten(), tensor.new_ones(())):
            if key.endswith("_index") or other.shape == tensor.shape:
                continue
            changed = {**tensors, key: other}
            with pytest.raises(CheckpointError):
                build(Checkpoint(path=Path("x.pth"), sha256="", container="torch", tensors=changed, meta={}))
