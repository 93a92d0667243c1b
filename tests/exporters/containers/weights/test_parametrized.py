"""Weights that training code keeps in parts, against what torch computes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.containers.weights.parametrized import computed
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

Change = Callable[[nn.Module], Any]


def old_weight_norm(layer: nn.Module, dim: int | None = 0) -> None:
    """As torch.nn.utils.weight_norm leaves it, which warns that it is old."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    length = torch.norm_except_dim(weight, 2, -1 if dim is None else dim) * 1.5
    del layer._parameters["weight"]
    layer.register_parameter("weight_g", nn.Parameter(length.detach()))
    layer.register_parameter("weight_v", nn.Parameter(weight.detach()))
    layer.__dict__["weight"] = torch._weight_norm(
        weight.detach(), length, -1 if dim is None else dim
    ).detach()


WAYS: dict[str, tuple[Change, str]] = {
    "pruning": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "pruning"),
    "pruning in structures": (lambda layer: prune.ln_structured(layer, "weight", 0.3, 2, 0), "pruning"),
    "weight_norm": (old_weight_norm, "weight_norm"),
    "weight_norm of all": (lambda layer: old_weight_norm(layer, None), "weight_norm"),
    "parametrizations.weight_norm": (parametrizations.weight_norm, "weight_norm"),
    "parametrizations.weight_norm, dim 1": (
        lambda layer: parametrizations.weight_norm(layer, dim=1),
        "weight_norm",
    ),
    "spectral_norm": (spectral_norm, "spectral_norm"),
    "parametrizations.spectral_norm": (parametrizations.spectral_norm, "spectral_norm"),
}
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (2, 6)),
    "convolution": (lambda: nn.Conv2d(3, 5, 3), (1, 3, 8, 8)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_gives_what_torch_gives(way: str, kind: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    layer, plain = make(), make()
    change, named = WAYS[way]
    change(layer)
    images = torch.randn(shape)
    layer(images)
    layer.eval()
    tensors, note = computed({f"a.{name}": tensor for name, tensor in layer.state_dict().items()})
    assert named in note
    plain.load_state_dict({name.removeprefix("a."): tensor for name, tensor in tensors.items()}, strict=True)
    torch.testing.assert_close(plain(images), layer(images), rtol=1e-5, atol=1e-6)


def vit() -> nn.Module:
    torch.manual_seed(0)
    return VisionTransformer(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=5)


@pytest.mark.parametrize("way", WAYS)
def test_a_network_whose_weights_lie_in_parts_gives_the_answers_of_torch(tmp_path: Path, way: str) -> None:
    model = vit()
    change, named = WAYS[way]
    for layer in [layer for layer in model.modules() if isinstance(layer, nn.Linear)]:
        change(layer)
    images = torch.rand(2, 3, 32, 32)
    model(images)
    model.eval()
    torch.save(
        {"state_dict": {f"model.{key}": one for key, one in model.state_dict().items()}}, tmp_path / "w.pth"
    )
    loaded = load_checkpoint(tmp_path / "w.pth", Hints())
    assert any(named in note for note in loaded.checkpoint.notes)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.built.module(images), model(images), rtol=1e-4, atol=1e-4)


def test_half_precision_stays_half() -> None:
    tensors, _ = computed({"weight_orig": torch.ones(2, 2).half(), "weight_mask": torch.eye(2).half()})
    assert tensors["weight"].dtype == torch.float16
    assert torch.equal(tensors["weight"].float(), torch.eye(2))


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight_v": torch.ones(4, 3), "weight_g": torch.ones(5, 1)},
        {"weight_v": torch.ones(4, 3), "weight_g": torch.ones(4, 3)},
        {"weight_orig": torch.ones(4, 3), "weight_mask": torch.ones(3)},
        {"weight_orig": torch.ones(4, 3), "weight_u": torch.ones(3), "weight_v": torch.ones(4)},
        {"weight_v": torch.ones(4, 3), "weight_g": torch.ones(4, 1), "weight": torch.ones(4, 3)},
        {"weight_v": torch.ones(4, 3)},
    ],
    ids=lambda tensors: " ".join(f"{key}{list(one.shape)}" for key, one in tensors.items()),
)
def test_parts_that_are_of_something_else_stay(tensors: dict[str, torch.Tensor]) -> None:
    found, note = computed(tensors)
    assert found.keys() == tensors.keys()
    assert note == ""


def test_other_parametrizations_are_refused_by_their_name(tmp_path: Path) -> None:
    model = vit()
    parametrizations.orthogonal(model.get_submodule("head"))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"head\.parametrizations\.weight\.original") as error:
        load_checkpoint(tmp_path / "w.pth", Hints())
    assert "remove_parametrizations" in str(error.value.hint)


def test_quantisers_of_the_training_are_refused_by_their_name(tmp_path: Path) -> None:
    saved = vit().state_dict()
    saved["head.weight_fake_quant.scale"] = torch.ones(1)
    saved["blocks.0.norm1.activation_post_process.zero_point"] = torch.zeros(1, dtype=torch.int32)
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="quantisation-aware training") as error:
        load_checkpoint(tmp_path / "w.pth", Hints())
    assert "prepare_qat" in str(error.value.hint)


def test_floats_of_8_bits_are_refused(tmp_path: Path) -> None:
    saved = vit().state_dict()
    saved["head.weight"] = saved["head.weight"].to(torch.float8_e4m3fn)
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="found float8_e4m3fn"):
        load_checkpoint(tmp_path / "w.pth", Hints())
