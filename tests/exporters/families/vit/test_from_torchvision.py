"""ViT state dicts of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.vit import from_torchvision as vit_torchvision
from deploykit_exporters.families.vit.family import FAMILY
from deploykit_exporters.families.vit.source import read_architecture
from deploykit_runtimes.errors import CheckpointError
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

TINY = {"patch_size": 16, "num_layers": 2, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 96, "num_classes": 7}


def tiny(image_size: int = 64, **settings: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(image_size=image_size, **{**TINY, **settings}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def build(model: torch.nn.Module, folder: Path, **hints: Any) -> BuiltModel:
    torch.save(model.state_dict(), folder / "weights.pth")
    checkpoint = read_checkpoint(folder / "weights.pth")
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert match.origin == "torchvision"
    return FAMILY.build(checkpoint, match, Hints(**{"config": {"num_heads": 3}, **hints}))


def assert_computes(built: BuiltModel, model: torch.nn.Module, *shapes: tuple[int, int]) -> None:
    assert built.exportable is not None
    assert built.fixed is not None
    for batch, side in shapes:
        images = torch.randn(batch, 3, side, side)
        with torch.inference_mode():
            expected = model(images)
            for module in (built.module, built.exportable, built.fixed(side, side)):
                assert (module(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("settings", [{}, {"representation_size": 40}], ids=["head", "pre-logits"])
def test_it_computes_what_torchvision_computes(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = tiny(**settings)
    assert_computes(build(model, tmp_path), model, (1, 64), (3, 64))


@pytest.mark.parametrize("side", [32, 96])
def test_another_size_is_the_one_torchvision_would_interpolate(tmp_path: Path, side: int) -> None:
    model = tiny()
    other = tiny(side)
    other.load_state_dict(interpolate_embeddings(side, 16, dict(model.state_dict())))
    assert_computes(build(model, tmp_path), other, (2, side))


def test_old_names_of_the_mlp(tmp_path: Path) -> None:
    model = tiny()
    renamed = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for key, tensor in model.state_dict().items()
    }
    checkpoint = Checkpoint(path=Path("old.pth"), sha256="", container="torch", tensors=renamed)
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert_computes(FAMILY.build(checkpoint, match, Hints(config={"num_heads": 3})), model, (2, 64))


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16", "vit_h_14"])
def test_real_sizes_and_their_preprocessing(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    tensors = model.state_dict()
    checkpoint = Checkpoint(path=Path("a.pth"), sha256="", container="torch", tensors=tensors)
    source = vit_torchvision.read(checkpoint, tensors, Hints())
    arch, _ = read_architecture(source, {})
    assert source.name(arch, arch.image_size) == name
    assert arch.num_heads == model.encoder.layers[0].num_heads
    transform = weights.transforms()
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    how = source.preprocess((crop, crop))
    assert (how.crop, how.resize_to, how.resize) == ((crop, crop), (resize,), "short")
    assert how.interpolation == transform.interpolation.value
    assert (list(how.mean), list(how.std)) == (transform.mean, transform.std)


def test_attention_to_zeros_of_a_pickled_module_is_refused(tmp_path: Path) -> None:
    model: Any = tiny()
    model.encoder.layers[1].self_attention.add_zero_attn = True
    torch.save(model, tmp_path / "whole.pth")
    checkpoint = read_checkpoint(tmp_path / "whole.pth")
    match = FAMILY.match(checkpoint)
    assert match is not None
    with pytest.raises(CheckpointError, match=r"encoder_layer_1\.self_attention with add_zero_attn"):
        FAMILY.build(checkpoint, match, Hints())
