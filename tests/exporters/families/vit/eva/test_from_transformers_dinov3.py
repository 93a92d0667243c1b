"""DINOv3 folders of Hugging Face transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn
from transformers import DINOv3ViTBackbone, DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gated": {"use_gated_mlp": True, "hidden_act": "silu", "num_register_tokens": 4},
    "biases": {"key_bias": True, "proj_bias": False, "mlp_bias": False, "num_register_tokens": 2},
    "numbers": {"rope_theta": 50.0, "layer_norm_eps": 1e-2, "patch_size": 8, "image_size": 32},
}
SIZES = [(64, 64), (96, 48), (32, 80)]


def tiny(kind: Any = DINOv3ViTModel, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = kind(DINOv3ViTConfig(**{**SMALL, **settings})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "transformers")
    return family.build(checkpoint, match, asked)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("state_dict", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_transformers_at_every_size(
    tmp_path: Path, kind: str, state_dict: bool
) -> None:
    model = tiny(**KINDS[kind])
    model.save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    if state_dict:  # which names the layers otherwise than the file
        checkpoint = Checkpoint(
            path=Path("x.pt"),
            sha256="",
            container="torch",
            tensors=model.state_dict(),
            meta=checkpoint.meta,
        )
    built = build(checkpoint)
    assert built.exportable is not None
    assert built.fixed is not None
    assert built.witness is not None
    witness = built.witness()
    assert not isinstance(witness, str)
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        with torch.inference_mode():
            expected = model(pixel_values=images)
            for module in (built.module, built.exportable, built.fixed(*size), witness.module):
                tokens, pooled = module(images)
                assert_equal(tokens, expected.last_hidden_state)
                assert_equal(pooled, expected.pooler_output)


def test_one_file_takes_every_size(tmp_path: Path) -> None:
    model = tiny(num_register_tokens=4)
    model.save_pretrained(tmp_path / "model")
    DINOv3ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "model")
    result = export(tmp_path / "model", ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",)))
    assert result.spec.parity is not None
    assert "transformers" in result.spec.parity.witness
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    for size in SIZES:
        images = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = model(pixel_values=images)
        tokens, pooled = (torch.from_numpy(one) for one in session.run(None, {"images": images.numpy()}))
        assert_equal(tokens, expected.last_hidden_state)
        assert_equal(pooled, expected.pooler_output)


def test_the_processor_is_followed_to_a_grey_level_and_that_is_said(
    tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    tiny().save_pretrained(tmp_path)
    process = DINOv3ViTImageProcessor(size={"height": 64, "width": 64})
    process.save_pretrained(tmp_path)
    spec = build(read_checkpoint(tmp_path)).spec
    assert any("half a level" in line for line in spec.assumed)
    found, _ = preprocess(photos["cat"], spec)
    expected = process(photos["cat"].copy(), return_tensors="np")["pixel_values"][0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1.01 / 255 / min(spec.preprocess.std)


def test_a_classifier_of_ones_own_beside_the_network() -> None:
    model, head = tiny(num_register_tokens=2), nn.Linear(48, 4)
    tensors = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"head.{key}": value.detach() for key, value in head.state_dict().items()}
    meta = {"config": model.config.to_dict() | {"architectures": ["DINOv3ViTModel"]}}
    built = build(Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=meta))
    assert built.spec.num_classes == 4
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(built.module(images), head(model(pixel_values=images).pooler_output))


@pytest.mark.parametrize("kind", ["plain", "gated"])
@pytest.mark.parametrize("config", [False, True])
def test_every_lost_weight_is_named(kind: str, config: bool) -> None:
    model = tiny(**{"num_register_tokens": 2, **KINDS[kind]})
    meta = {"config": model.config.to_dict() | {"architectures": ["DINOv3ViTModel"]}} if config else {}
    # Nothing tells the first ones, and without the last two it is another form or unknown.
    unstated = {"embeddings.mask_token", "embeddings.patch_embeddings.weight"}
    unstated |= {"model.layer.0.layer_scale1.lambda1"} | (set() if config else {"embeddings.register_tokens"})
    for lost in model.state_dict().keys() - unstated:
        tensors = {key: tensor for key, tensor in model.state_dict().items() if key != lost}
        checkpoint = Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=meta)
        with pytest.raises(CheckpointError) as error:
            build(checkpoint)
        # A layer that is gone may be named by what is left of it.
        told = str(error.value)
        assert lost.removeprefix("embeddings.") in told or lost.rpartition(".")[0] in told or config, (
            f"{lost}: {told}"
        )


def test_without_config_what_is_assumed_is_said() -> None:
    model = tiny(hidden_size=128, num_attention_heads=2)
    alone = Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=model.state_dict(), meta={})
    built = build(alone)
    assert "2 attention heads (64 channels each)" in built.spec.assumed[0]
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(built.module(images)[1], model(pixel_values=images).pooler_output)


def test_a_backbone_is_refused_by_its_class(tmp_path: Path) -> None:
    tiny(DINOv3ViTBackbone).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="architectures"):
        build(read_checkpoint(tmp_path))
