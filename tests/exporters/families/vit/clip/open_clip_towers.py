"""Checkpoints of OpenAI's CLIP and of open_clip, and what is built from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from torch import nn
from transformers import CLIPConfig, CLIPModel

TEXT = {"context_length": 7, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
MODEL: dict[str, Any] = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
HEADS = {"num_heads": 2}


def disturbed(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def checkpoint_of(tensors: dict[str, torch.Tensor], file: str = "weights.pt", **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path(file), sha256="", container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "open_clip")
    return family.build(checkpoint, match, asked)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_embeds(built: BuiltModel, images: torch.Tensor, expected: torch.Tensor) -> None:
    """Every form of the built model gives the embedding."""
    assert built.spec.task == "features"
    assert built.exportable is not None
    assert built.fixed is not None
    with torch.inference_mode():
        for module in (built.module, built.exportable, built.fixed(images.shape[2], images.shape[3])):
            assert_equal(module(images)[1], expected)


# OpenAI's model, by way of transformers' conversion of it.


def openai(**settings: Any) -> tuple[CLIPModel, dict[str, torch.Tensor]]:
    """A CLIP of transformers, and its weights under OpenAI's names."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        **settings,
    }
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24))
    disturbed(model)
    tensors = {}
    state = model.state_dict()
    for key, tensor in state.items():
        for old, new in (
            ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
            ("vision_model.embeddings.patch_embedding", "visual.conv1"),
            ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
            ("vision_model.pre_layrnorm", "visual.ln_pre"),
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
            ("text_model.encoder.layers.", "transformer.resblocks."),
            ("text_model.embeddings.token_embedding", "token_embedding"),
            ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("text_model.final_layer_norm", "ln_final"),
            ("layer_norm", "ln_"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ):
            key = key.replace(old, new)  # noqa: PLW2901
        if "q_proj" in key:
            whole = [tensor, *(state[name] for name in _beside(state, tensor))]
            tensors[key.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(whole)
        elif "k_proj" not in key and "v_proj" not in key:
            tensors[key] = tensor
    tensors["visual.proj"] = tensors.pop("visual_projection.weight").T
    tensors["text_projection"] = tensors.pop("text_projection.weight").T
    return model, tensors


def _beside(state: dict[str, torch.Tensor], query: torch.Tensor) -> list[str]:
    name = next(key for key, tensor in state.items() if tensor is query)
    return [name.replace("q_proj", f"{letter}_proj") for letter in "kv"]


def half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The precision of OpenAI's files: layers in half, norms and embeddings not."""
    full = ("ln_", "embedding", "logit_scale")
    return {
        key: tensor if any(part in key for part in full) else tensor.half() for key, tensor in tensors.items()
    }
