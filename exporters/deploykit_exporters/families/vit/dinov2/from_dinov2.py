"""ViT weights from the official DINOv2 repository: its backbones, and its classifiers with a linear head.

The names are timm's, except for the registers, the SwiGLU, and blocks numbered in chunks. Unlike timm, the
official code resizes positions by adding 0.1 to the new number of patches, or, in the models with
registers, resizes antialiased (``dinov2/hub/backbones.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import crop_preprocess
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.timm_shapes import no_package
from deploykit_exporters.families.vit.network import ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, rename, size_name

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = [
    "ORIGIN",
    "add_class_position",
    "dinov2_input_size",
    "dinov2_preprocess",
    "head_layers",
    "matches",
    "read",
]

ORIGIN = "dinov2"

_RULES = {"register_tokens": "reg_token", "linear_head": "head"}
_BLOCKS = {"mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"}
_CHUNKED = re.compile(r"blocks\.\d+\.(?=\d+\.)")
_WHY = "used only in pre-training"
_PRE_TRAINING = ("mask_token", "dino_head.*", "ibot_head.*")
_HEADS = ("*dino_head.*", "*ibot_head.*")
_HEAD = "linear_head.weight"
_LETTERS = {"small": "s", "base": "b", "large": "l", "giant": "g"}
_EVALUATED = 224


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    backbone = "backbone." if _HEAD in tensors else ""
    if not {f"{backbone}patch_embed.proj.weight", f"{backbone}pos_embed"} <= tensors.keys():
        return False
    chunked = f"{backbone}blocks.0.0.attn.qkv.weight" in tensors
    if not chunked and f"{backbone}blocks.0.attn.qkv.weight" not in tensors:
        return False
    own = ("register_tokens", "blocks.0.mlp.w12.weight")
    mask = tensors.get(f"{backbone}mask_token")
    return (
        bool(chunked or backbone)
        or any(f"{backbone}{name}" in tensors for name in own)
        or (mask is not None and mask.ndim == 2)
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights; missing information is as in the repository's published models.

    ``--config`` takes the repository's training configuration: from its ``student`` it reads the resizing
    of positions.
    """
    plain = {_CHUNKED.sub("blocks.", key.removeprefix("backbone.")): value for key, value in tensors.items()}
    plain, settings = take_unused(plain, {_WHY: _PRE_TRAINING})
    here = {id(tensor) for tensor in tensors.values()}
    beside = {key: tensor for key, tensor in checkpoint.tensors.items() if id(tensor) not in here}
    _, heads = take_unused(beside, {_WHY: _HEADS})
    renamed = rename(plain, _RULES, block="blocks.", blocks=_BLOCKS)
    width = renamed["patch_embed.proj.weight"].shape[0]
    registers = "reg_token" in renamed
    if registers:
        add_class_position(renamed)
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=_resampling(hints.config or {}, registers=registers),
        preprocess=dinov2_preprocess,
        name=_name,
        num_heads=width // 64 if width in (384, 768, 1024, 1536) else None,
        pool="token",
        head_layers=head_layers(renamed, width) if _HEAD in plain else _plain_head(renamed, width),
        input_size=dinov2_input_size(renamed),
        settings=(*settings, *heads),
        witness=no_package("DINOv2"),
    )


def add_class_position(renamed: dict[str, torch.Tensor]) -> None:
    """Add the class token's position, as timm does: of class token and registers, only the class token has
    one.
    """
    if "cls_token" in renamed:
        renamed["cls_token"] = renamed["cls_token"] + renamed["pos_embed"][:, :1]
        renamed["pos_embed"] = renamed["pos_embed"][:, 1:]


def _plain_head(tensors: Mapping[str, torch.Tensor], width: int) -> int:
    """Like ``head_layers``, for the ``head`` of the network itself, which receives only the class token."""
    weight = tensors.get("head.weight")
    return 0 if weight is not None and weight.shape[1:] == (width,) else head_layers(tensors, width)


def head_layers(tensors: Mapping[str, torch.Tensor], width: int) -> int:
    """How many blocks pass their class token to the head, which also sees the mean of the patches.

    Raises:
        CheckpointError: the head's width does not fit.
    """
    if "head.weight" not in tensors:
        return 0
    layers, rest = divmod(tensors["head.weight"].shape[1], width)
    if rest or layers < 2:
        raise CheckpointError(
            f"The linear head takes {tensors['head.weight'].shape[1]} values; DINOv2's classifiers take "
            f"{2 * width} (class token and mean of the patches) or {5 * width} (those of four blocks).",
            hint="Export the features with --features, and apply the head to them.",
        )
    return layers - 1


def dinov2_input_size(tensors: Mapping[str, torch.Tensor]) -> Size | None:
    """The 224x224 of DINOv2's evaluation if the positions were trained for more; None for the trained
    size.
    """
    patch = tensors["patch_embed.proj.weight"].shape[-1]
    trained = tensors["pos_embed"].shape[1] * patch**2
    return (_EVALUATED, _EVALUATED) if trained > _EVALUATED**2 and _EVALUATED % patch == 0 else None


def dinov2_preprocess(size: Size) -> Preprocess:
    """DINOv2's evaluation: short edge to 256 for a size of 224, bicubic."""
    return crop_preprocess(size, resize=round(max(size) * 256 / _EVALUATED), interpolation="bicubic")


def _resampling(config: Mapping[str, Any], *, registers: bool) -> Resampling:
    student = config.get("student")
    told: Mapping[str, Any] = {**config, **(student if isinstance(student, Mapping) else {})}
    return Resampling(
        antialias=bool(told.get("interpolate_antialias", registers)),
        offset=float(told.get("interpolate_offset", 0.0 if registers else 0.1)),
    )


def _name(arch: ViTArchitecture, _: Size) -> str:
    letter = _LETTERS.get(size_name(arch) or "")
    if not letter:
        return ""
    registers = "_reg" if arch.registers else ""
    classifier = "_lc" if arch.num_classes else ""
    return f"dinov2_vit{letter}{arch.patch[0]}{registers}{classifier}"
