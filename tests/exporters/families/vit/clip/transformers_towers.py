"""Small image towers of transformers, with and without classifiers."""

from __future__ import annotations

from typing import Any

import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

LABELS = {0: "bee", 1: "ant", 2: "fly"}
VISION = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
    "patch_size": 16,
}
DINO = {key: value for key, value in VISION.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
SIZES = [(64, 64), (96, 32), (32, 80)]


def whole(config: Any, vision: dict[str, Any], settings: dict[str, Any]) -> Any:
    return config(vision_config={**VISION, **vision}, text_config=TEXT, **settings)


def tiny(kind: Any, config: Any, vision: dict[str, Any] | None = None, **settings: Any) -> Any:
    """A model with weights that all differ, after its class and the class of its configuration."""
    torch.manual_seed(0)
    own = vision or {}
    if config in (CLIPConfig, SiglipConfig):
        described = whole(config, own, settings)
    else:
        described = config(**{**(DINO if "Dino" in config.__name__ else VISION), **own, **settings})
    model = kind(described).eval()
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


def answers(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What transformers gives: logits, or tokens and the embedding of the image."""
    name = type(model).__name__
    options: dict[str, Any] = {} if name.startswith("Dinov2") else {"interpolate_pos_encoding": True}
    if name in ("CLIPModel", "SiglipModel"):
        tokens = model.vision_model(pixel_values=images, **options).last_hidden_state
        return tokens, model.get_image_features(pixel_values=images, **options).pooler_output
    found = model(pixel_values=images, **options)
    if "logits" in found:
        return (found.logits,)
    return found.last_hidden_state, found.get("image_embeds", found.get("pooler_output"))


def assert_answers(built: BuiltModel, model: Any) -> None:
    """Every form of the built model gives what transformers gives, at every size."""
    assert built.exportable is not None
    assert built.fixed is not None
    for height, width in SIZES:
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            expected = answers(model, images)
            for module in (built.module, built.exportable, built.fixed(height, width)):
                found = module(images)
                found = (found,) if isinstance(found, torch.Tensor) else found
                for one, other in zip(found, expected, strict=True):
                    assert_equal(one, other)


FEATURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dinov2": (Dinov2Model, Dinov2Config, {}),
    "dinov2 swiglu": (Dinov2Model, Dinov2Config, {"use_swiglu_ffn": True}),
    "dinov2 without qkv bias": (Dinov2Model, Dinov2Config, {"qkv_bias": False, "use_mask_token": False}),
    "dinov2 registers": (Dinov2WithRegistersModel, Dinov2WithRegistersConfig, {"num_register_tokens": 3}),
    "dinov2 registers swiglu": (
        Dinov2WithRegistersModel,
        Dinov2WithRegistersConfig,
        {"use_swiglu_ffn": True, "layer_norm_eps": 1e-2},
    ),
    "clip": (CLIPModel, CLIPConfig, {"projection_dim": 24}),
    "clip vision": (CLIPVisionModel, CLIPVisionConfig, {"hidden_act": "gelu"}),
    "clip projection": (CLIPVisionModelWithProjection, CLIPVisionConfig, {"projection_dim": 24}),
    "siglip": (SiglipModel, SiglipConfig, {}),
    "siglip vision": (SiglipVisionModel, SiglipVisionConfig, {"layer_norm_eps": 1e-2, "hidden_act": "gelu"}),
}
CLASSIFIERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dinov2": (Dinov2ForImageClassification, Dinov2Config, {}),
    "dinov2 registers": (
        Dinov2WithRegistersForImageClassification,
        Dinov2WithRegistersConfig,
        {"use_swiglu_ffn": True},
    ),
    "clip": (CLIPForImageClassification, CLIPConfig, {}),
    "siglip": (SiglipForImageClassification, SiglipConfig, {}),
}
