"""ViT weights of torchvision (``torchvision.models.vit_b_16`` and its relatives)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploykit_runtimes.spec import Preprocess

from deploykit_exporters.dialects.imagenet import crop_preprocess
from deploykit_exporters.dialects.vit import Size, VitSource, rename, size_name
from deploykit_exporters.nets.vit import ViTArchitecture
from deploykit_exporters.nets.vit_positions import Resampling

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["matches", "read"]

_RULES = {
    "class_token": "cls_token",
    "conv_proj": "patch_embed.proj",
    "encoder.pos_embedding": "pos_embed",
    "encoder.ln": "norm",
    "heads.head": "head",
    "heads.pre_logits": "head.pre_logits",
}
_BLOCK = "encoder.layers.encoder_layer_"
_BLOCKS = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.in_proj_weight": "attn.qkv.weight",
    "self_attention.in_proj_bias": "attn.qkv.bias",
    "self_attention.out_proj": "attn.proj",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
}
_LETTERS = {"base": "b", "large": "l", "huge": "h"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    return f"{_BLOCK}0.self_attention.in_proj_weight" in tensors and "conv_proj.weight" in tensors


def read(_: Checkpoint, tensors: Mapping[str, torch.Tensor], __: Hints) -> VitSource:
    """Rename the weights; a state dict of torchvision tells nothing else."""
    renamed = rename(tensors, _RULES, block=_BLOCK, blocks=_BLOCKS)
    if "head.pre_logits.weight" in renamed:
        for key in ("weight", "bias"):
            renamed[f"head.head.{key}"] = renamed.pop(f"head.{key}")
    patch = renamed["patch_embed.proj.weight"].shape[-1]
    wide = renamed["patch_embed.proj.weight"].shape[0] == 1024

    def preprocess(size: Size) -> Preprocess:
        # The weights at 224 were evaluated with a margin, ViT-L/16 with an odd one; those fine-tuned at
        # larger sizes without (torchvision's ViT_*_Weights).
        if max(size) > 224:
            return crop_preprocess(size, interpolation="bicubic")
        margin = 242 if wide and patch == 16 else 256
        return crop_preprocess(size, resize=round(max(size) * margin / 224), interpolation="bilinear")

    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False, align_corners=True),
        preprocess=preprocess,
        name=_name,
        square=True,
    )


def _name(arch: ViTArchitecture, _: Size) -> str:
    letter = _LETTERS.get(size_name(arch) or "")
    return f"vit_{letter}_{arch.patch[0]}" if letter else ""
