"""Checkpoints of the official DINOv2: backbones of every form, and classifiers with a linear head.

Its code is not on PyPI. transformers' Dinov2 computes the same and is renamed into the official form; where
the two differ, in how positions are resized, the official rule stands below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.inspect import inspect_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.ort.runner import open_ort
from torch import nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "mlp_ratio": 2,
    "image_size": 56,
    "patch_size": 14,
}
HEADS = {"num_heads": 3}
SIZES = [(56, 56), (28, 70), (84, 56), (70, 70)]


def tiny(*, registers: bool = False, **settings: Any) -> Any:
    torch.manual_seed(0)
    kind, config = (
        (Dinov2WithRegistersModel, Dinov2WithRegistersConfig) if registers else (Dinov2Model, Dinov2Config)
    )
    model = kind(config(**{**TINY, **settings})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if not registers:
        model.embeddings.interpolate_pos_encoding = lambda tokens, height, width: officially_resized(
            model.embeddings.position_embeddings, height // 14, width // 14
        )
    return model


def officially_resized(positions: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """DINOv2 takes the scale from 0.1 patches more than there are, and leaves the trained grid alone."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def official(model: Any, *, chunks: int = 0) -> dict[str, torch.Tensor]:
    """The weights under the names of the official repository."""
    state = model.state_dict()
    renamed = {}
    for key, tensor in state.items():
        for old, new in (
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.", ""),
            ("encoder.layer.", "blocks."),
            ("attention.o_proj", "attn.proj"),
            ("layer_scale1.lambda1", "ls1.gamma"),
            ("layer_scale2.lambda1", "ls2.gamma"),
            ("mlp.down_proj", "mlp.w3"),
            ("layernorm", "norm"),
        ):
            key = key.replace(old, new)  # noqa: PLW2901
        renamed[key] = tensor
    packed = {}
    for key, tensor in renamed.items():
        if ".attention.q_proj." in key:
            three = [renamed[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            packed[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(three)
        elif ".mlp.gate_proj." in key:
            two = [tensor, renamed[key.replace("gate_proj", "up_proj")]]
            packed[key.replace("gate_proj", "w12")] = torch.cat(two)
        elif "attention." not in key and ".mlp.up_proj." not in key:
            packed[key] = tensor
    if not chunks:
        return packed
    blocks = model.config.num_hidden_layers
    chunk = {str(number): number // -(-blocks // chunks) for number in range(blocks)}
    return {
        (f"blocks.{chunk[key.split('.')[1]]}.{key[7:]}" if key.startswith("blocks.") else key): tensor
        for key, tensor in packed.items()
    }


def build(tensors: dict[str, torch.Tensor], **hints: Any) -> BuiltModel:
    checkpoint = Checkpoint(path=Path("weights.pth"), sha256="", container="torch", tensors=tensors)
    asked = Hints(**{"config": HEADS, **hints})
    family, match = recognise(checkpoint, asked)
    assert match.origin == "dinov2"
    return family.build(checkpoint, match, asked)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


def forms(built: BuiltModel, height: int, width: int) -> tuple[nn.Module, ...]:
    assert built.exportable is not None
    assert built.fixed is not None
    return built.module, built.exportable, built.fixed(height, width)


BACKBONES: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"use_swiglu_ffn": True}, 0),
    ({"registers": True}, 0),
    ({"registers": True, "use_swiglu_ffn": True, "num_register_tokens": 2}, 0),
    ({"qkv_bias": False}, 0),
    ({}, 2),
    ({"registers": True}, 5),
]


@pytest.mark.parametrize(("settings", "chunks"), BACKBONES)
def test_a_backbone_gives_its_tokens_and_class_token_at_every_size(
    settings: dict[str, Any], chunks: int
) -> None:
    model = tiny(**settings)
    built = build(official(model, chunks=chunks))
    assert (built.spec.task, built.spec.output.names) == ("features", ("features", "pooled"))
    for height, width in SIZES:
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            expected = model(images)
            for module in forms(built, height, width):
                tokens, pooled = module(images)
                assert_equal(tokens, expected.last_hidden_state)
                assert_equal(pooled, expected.pooler_output)


def expected_logits(model: Any, head: nn.Linear, images: torch.Tensor, layers: int) -> torch.Tensor:
    states = model(images, output_hidden_states=True).hidden_states[-layers:]
    normed = [model.layernorm(state) for state in states]
    prefix = 1 + getattr(model.config, "num_register_tokens", 0)
    seen = [*(state[:, 0] for state in normed), normed[-1][:, prefix:].mean(1)]
    logits: torch.Tensor = head(torch.cat(seen, dim=1))
    return logits


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("layers", [1, 4])
def test_a_linear_classifier_sees_class_tokens_of_its_layers_and_the_mean_of_the_patches(
    layers: int, registers: bool
) -> None:
    model = tiny(registers=registers)
    head = nn.Linear((layers + 1) * 48, 6)
    tensors = {f"backbone.{key}": tensor for key, tensor in official(model).items()}
    tensors |= {f"linear_head.{key}": tensor for key, tensor in head.state_dict().items()}
    built = build(tensors)
    assert (built.spec.task, built.spec.num_classes) == ("classify", 6)
    for height, width in SIZES:
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            expected = expected_logits(model, head, images, layers)
            for module in forms(built, height, width):
                assert_equal(module(images), expected)


def test_features_of_a_classifier_are_those_of_its_backbone() -> None:
    model = tiny()
    tensors = {f"backbone.{key}": tensor for key, tensor in official(model).items()}
    tensors |= {"linear_head.weight": torch.randn(6, 96), "linear_head.bias": torch.randn(6)}
    images = torch.randn(1, 3, 56, 70)
    with torch.inference_mode():
        expected = model(images)
        for module in forms(build(tensors, features=True), 56, 70):
            tokens, pooled = module(images)
            assert_equal(tokens, expected.last_hidden_state)
            assert_equal(pooled, expected.pooler_output)


def test_a_head_of_another_width_is_refused() -> None:
    tensors = {f"backbone.{key}": tensor for key, tensor in official(tiny()).items()}
    tensors |= {"linear_head.weight": torch.randn(6, 100), "linear_head.bias": torch.randn(6)}
    with pytest.raises(CheckpointError, match="takes 100 values; DINOv2's classifiers take 96"):
        build(tensors)


def test_the_training_configuration_tells_how_positions_are_resized() -> None:
    config = {**HEADS, "student": {"interpolate_offset": 0.0, "interpolate_antialias": True}}
    model = tiny()
    built = build(official(model), config=config)
    images = torch.randn(1, 3, 28, 28)
    grid = model.embeddings.position_embeddings[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(2, 2), mode="bicubic", antialias=True)
    model.embeddings.interpolate_pos_encoding = lambda *_: torch.cat(
        [model.embeddings.position_embeddings[:, :1], grid.flatten(2).transpose(1, 2)], dim=1
    )
    with torch.inference_mode():
        assert_equal(built.module(images)[0], model(images).last_hidden_state)


def test_what_serves_pre_training_only_is_said() -> None:
    settings = build(official(tiny())).settings
    assert [(setting.path, setting.treatment) for setting in settings] == [("weights:mask_token", "harmless")]


def test_images_have_the_size_of_the_evaluation_and_not_that_of_the_positions() -> None:
    tensors = official(tiny(image_size=518, num_hidden_layers=1))
    spec = build(tensors).spec
    assert (spec.input.height, spec.input.width) == (224, 224)
    assert (spec.preprocess.resize_to, spec.preprocess.crop) == ((256,), (224, 224))
    assert (spec.preprocess.interpolation, spec.preprocess.mean) == ("bicubic", (0.485, 0.456, 0.406))
    assert build(tensors, imgsz=(518, 518)).spec.input.height == 518


@pytest.mark.parametrize(
    ("shape", "depth", "expected"),
    [
        ((384, 0), 12, "dinov2_vits14"),
        ((768, 4), 12, "dinov2_vitb14_reg"),
        ((1024, 0), 24, "dinov2_vitl14"),
    ],
)
def test_published_sizes_have_the_names_of_torch_hub(
    shape: tuple[int, int], depth: int, expected: str
) -> None:
    width, registers = shape
    heads = {"num_attention_heads": width // 64}
    with torch.device("meta"):
        model = (
            Dinov2WithRegistersModel(
                Dinov2WithRegistersConfig(
                    **{**TINY, **heads}
                    | {"hidden_size": width, "num_hidden_layers": depth, "num_register_tokens": registers}
                )
            )
            if registers
            else Dinov2Model(
                Dinov2Config(**{**TINY, **heads} | {"hidden_size": width, "num_hidden_layers": depth})
            )
        )
    from deploykit_exporters.families.vit.dinov2 import from_dinov2 as vit_dinov2
    from deploykit_exporters.families.vit.source import read_architecture

    tensors = official(model)
    checkpoint = Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=tensors)
    source = vit_dinov2.read(checkpoint, tensors, Hints())
    arch, assumed = read_architecture(source, {})
    assert source.name(arch, arch.image_size) == expected
    assert (arch.num_heads, ["assuming a square" in line for line in assumed]) == (width // 64, [True])


def test_a_teacher_of_the_training_becomes_a_dynamic_file_with_its_answers(tmp_path: Path) -> None:
    model = tiny(num_hidden_layers=2)
    teacher = {f"backbone.{key}": tensor for key, tensor in official(model, chunks=2).items()}
    teacher["dino_head.mlp.0.weight"] = torch.randn(4, 48)
    torch.save({"teacher": teacher}, tmp_path / "teacher_checkpoint.pth")
    assert len(read_checkpoint(tmp_path / "teacher_checkpoint.pth").tensors) == len(teacher)
    settings = inspect_checkpoint(tmp_path / "teacher_checkpoint.pth", hints=Hints(config=HEADS)).settings
    assert [setting.name for setting in settings] == ["mask_token", "*dino_head.*"]
    options = ExportOptions(dynamic=("all",), config=HEADS, features=True)
    result = export(tmp_path / "teacher_checkpoint.pth", options)
    assert result.spec.origin == "dinov2"
    assert result.spec.parity is not None
    assert result.spec.parity.witness.startswith("none: DINOv2's own code")
    with open_ort(result.path) as runner, torch.inference_mode():
        for height, width in ((56, 56), (28, 70)):
            images = torch.randn(2, 3, height, width)
            found = runner.infer({"images": images.numpy()})
            expected = model(images).last_hidden_state.numpy()
            assert np.abs(found["features"] - expected).max() <= 2e-5 * np.abs(expected).max()
