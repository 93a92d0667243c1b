"""DINOv3 under the names of its own repository: timm's own reading of them is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError, OptionError
from timm.models.eva import checkpoint_filter_fn
from torch import nn

SMALL: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 0}
NAMES = ("vit_small_patch16_dinov3", "vit_small_patch16_dinov3_qkvb", "vit_small_plus_patch16_dinov3_qkvb")
SIZES = [(224, 224), (64, 96), (80, 48)]
WORDS = {
    "reg_token": "storage_tokens",
    "gamma_1": "ls1.gamma",
    "gamma_2": "ls2.gamma",
    "mlp.fc1_g": "mlp.w1",
    "mlp.fc1_x": "mlp.w2",
}


def tiny(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, "dynamic_img_size": True, "global_pool": "token", **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.rope.periods.copy_(model.rope.periods.bfloat16())  # as the published files have them
    return model.eval()


def official(model: Any) -> dict[str, torch.Tensor]:
    """The weights under the names of DINOv3's own code, with biases of keys that its mask takes out."""
    gated = any("fc1_g" in key for key in model.state_dict())
    found: dict[str, torch.Tensor] = {"mask_token": torch.randn(1, model.embed_dim)}
    for key, tensor in model.state_dict().items():
        new = key
        for ours, theirs in {**WORDS, **({"mlp.fc2": "mlp.w3"} if gated else {})}.items():
            new = new.replace(ours, theirs)
        if key.endswith("q_bias"):
            layer = key.removesuffix("q_bias")
            mask = torch.ones(3, tensor.numel())
            mask[1] = 0
            value = model.state_dict()[f"{layer}v_bias"]
            found[f"{layer}qkv.bias"] = torch.cat([tensor, torch.randn_like(tensor), value])
            found[f"{layer}qkv.bias_mask"] = mask.flatten()
        elif not key.endswith("v_bias"):
            found[new] = tensor
    found["rope_embed.periods"] = model.rope.periods.bfloat16()
    return found


def checkpoint_of(tensors: dict[str, torch.Tensor], name: str = "x.pth", **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path(name), sha256="", container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "dinov3")
    return family.build(checkpoint, match, asked)


def assert_equal(module: nn.Module, images: torch.Tensor, model: Any, *, features: bool) -> None:
    with torch.inference_mode():
        tokens = model.forward_features(images)
        expected = (tokens, tokens[:, 0]) if features else (model(images),)
        found = module(images)
    for one, other in zip((found,) if isinstance(found, torch.Tensor) else found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_what_timm_reads_at_every_size(name: str, classes: int) -> None:
    model = tiny(name, num_classes=classes)
    tensors = official(model)
    theirs = tiny(name, num_classes=classes)
    theirs.load_state_dict(checkpoint_filter_fn(dict(tensors), theirs), strict=True)
    built = build(checkpoint_of(tensors))
    assert built.exportable is not None
    assert built.fixed is not None
    assert (built.spec.input.height, built.spec.input.width) == (224, 224)
    assert "eps 1e-5" in built.spec.assumed[0]
    assert "heads" not in built.spec.assumed[0]
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        for module in (built.module, built.exportable, built.fixed(*size)):
            assert_equal(module, images, theirs, features=not classes)


def test_one_file_takes_every_size(tmp_path: Path) -> None:
    model = tiny(NAMES[1])
    torch.save(
        {"teacher": {f"backbone.{key}": one for key, one in official(model).items()}}, tmp_path / "w.pth"
    )
    options = ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",), imgsz=(64, 64))
    result = export(tmp_path / "w.pth", options)
    assert result.spec.origin == "dinov3"
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    for size in SIZES:
        images = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = model.forward_features(images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_what_is_not_told_is_assumed_or_given() -> None:
    tensors = official(tiny(NAMES[1], num_heads=1))
    del tensors["rope_embed.periods"]
    built = build(checkpoint_of(tensors))
    assert "1 attention heads" in built.spec.assumed[0]
    asked = build(checkpoint_of(tensors), config={"num_heads": 2, "eps": 1e-3})
    assert "heads" not in asked.spec.assumed[0]
    block = asked.module.net.blocks[0]
    assert (block.attn.num_heads, block.norm1.eps) == (2, 1e-3)
    with pytest.raises(OptionError, match="the weights have 4"):
        build(checkpoint_of(official(tiny(NAMES[1]))), config={"num_heads": 2})
    with pytest.raises(CheckpointError, match="num_heads"):
        build(checkpoint_of(tensors, cfg={"num_heads": 4}))
    satellite = build(checkpoint_of(tensors, name="dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth"))
    assert satellite.spec.preprocess.mean == pytest.approx([0.43, 0.411, 0.296])
    assert built.spec.preprocess.mean == pytest.approx([0.485, 0.456, 0.406])


def test_layers_that_are_not_built_are_refused() -> None:
    tensors = official(tiny(NAMES[0]))
    untied = {f"cls_norm.{kind}": torch.ones(64) for kind in ("weight", "bias")}
    with pytest.raises(CheckpointError, match="cls_norm"):
        build(checkpoint_of({**tensors, **untied}))
    local = {f"local_cls_norm.{kind}": torch.ones(64) for kind in ("weight", "bias")}
    built = build(checkpoint_of({**tensors, **local}))
    assert any(setting.name == "local_cls_norm.*" for setting in built.settings)
    with pytest.raises(CheckpointError, match="cannot be divided into heads"):
        build(checkpoint_of({**tensors, "rope_embed.periods": torch.ones(5)}))


def test_a_linear_classifier_sees_the_class_token_and_the_mean_of_the_patches(tmp_path: Path) -> None:
    model, head = tiny(NAMES[1]), nn.Linear(128, 5)
    tensors = {f"backbone.{key}": one for key, one in official(model).items()}
    tensors |= {f"linear_head.{key}": one.detach() for key, one in head.state_dict().items()}
    built = build(checkpoint_of(tensors))
    assert built.spec.num_classes == 5
    assert built.exportable is not None
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        with torch.inference_mode():
            tokens = model.forward_features(images)
            expected = head(torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], dim=1))
            for module in (built.module, built.exportable):
                assert (module(images) - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert_equal(build(checkpoint_of(tensors), features=True).module, images, model, features=True)
    torch.save(tensors, tmp_path / "w.pth")
    result = export(tmp_path / "w.pth", ExportOptions(output=tmp_path / "m.onnx", imgsz=(64, 64)))
    assert result.spec.task == "classify"
    narrow = {**tensors, "linear_head.weight": torch.ones(5, 64)}
    with pytest.raises(CheckpointError, match="takes 64 values"):
        build(checkpoint_of(narrow))
    for lost in _heads_keys(tensors):
        with pytest.raises(CheckpointError, match="head"):
            build(checkpoint_of({key: one for key, one in tensors.items() if key != lost}))


def _heads_keys(tensors: dict[str, torch.Tensor]) -> list[str]:
    return [key for key in tensors if key.startswith("linear_head.")]


@pytest.mark.parametrize("name", NAMES)
def test_every_lost_weight_is_named(name: str) -> None:
    tensors = official(tiny(name))
    unstated = {"mask_token", "storage_tokens", "rope_embed.periods", "patch_embed.proj.weight"}
    unstated |= {key for key in tensors if key.endswith("bias_mask")}  # older files have none
    for lost in tensors.keys() - unstated:
        with pytest.raises(CheckpointError) as error:
            build(checkpoint_of({key: tensor for key, tensor in tensors.items() if key != lost}))
        assert lost in str(error.value) or lost.rpartition(".")[0] in str(error.value), (
            f"{lost}: {error.value}"
        )


CHANGES: list[dict[str, Any]] = [
    *(
        {"patch_size": 14},
        {"in_chans": 1},
        {"num_classes": 3},
        {"embed_dim": 96},
        {"depth": 1},
        {"num_heads": 2},
    ),
    *({"mlp_ratio": 2.5}, {"num_reg_tokens": 0}, {"num_reg_tokens": 1}, {"rope_temperature": 50.0}),
    *({"init_values": None}, {"qkv_bias": False}, {"qkv_bias": True}),
]


@pytest.mark.parametrize("changed", CHANGES, ids=str)
@pytest.mark.parametrize("name", NAMES[1:])
def test_every_argument_of_the_constructor_is_told_by_the_weights(name: str, changed: dict[str, Any]) -> None:
    model = tiny(name, **changed)
    built = build(checkpoint_of(official(model)))
    side = 5 * model.patch_embed.patch_size[0]
    images = torch.randn(1, model.in_chans, side, 2 * side)
    assert_equal(built.module, images, model, features=not model.num_classes)


def test_weights_of_another_rank_are_refused() -> None:
    tensors = official(tiny(NAMES[1]))
    for key, tensor in tensors.items():
        for other in (tensor[None], tensor.flatten(), tensor.new_ones(())):
            if key.endswith("mask_token") or other.shape == tensor.shape:
                continue
            changed = {**tensors, key: other}
            with pytest.raises(CheckpointError):
                build(checkpoint_of(changed))
