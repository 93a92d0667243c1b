"""ViT weights from torchvision (``torchvision.models.vit_b_16`` and its relatives)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.containers.pickles.inert import class_path, walk
from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import crop_preprocess
from deploykit_exporters.families.shared.torchvision_files import published, read_file, torchvision_witness
from deploykit_exporters.families.vit.network import ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, rename, size_name

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Witness

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "torchvision"

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
# Width, depth, patch and width of the MLP.
_MODELS = {
    (768, 12, 16, 3072): "vit_b_16",
    (768, 12, 32, 3072): "vit_b_32",
    (1024, 24, 16, 4096): "vit_l_16",
    (1024, 24, 32, 4096): "vit_l_32",
    (1280, 32, 14, 5120): "vit_h_14",
}
_PACKAGE = "torchvision.models.vision_transformer"
_EPS = 1e-6
_LETTERS = {"base": "b", "large": "l", "huge": "h"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    return f"{_BLOCK}0.self_attention.in_proj_weight" in tensors and "conv_proj.weight" in tensors


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights, and read torchvision's arguments and the pickled module in the file."""
    renamed = rename(tensors, _RULES, block=_BLOCK, blocks=_BLOCKS)
    if "head.pre_logits.weight" in renamed:
        for key in ("weight", "bias"):
            renamed[f"head.head.{key}"] = renamed.pop(f"head.{key}")
    file, variant = read_file(checkpoint, hints), _variant(renamed)
    file.confirm_name(variant)
    told, entry = file.evaluation(), published(variant, checkpoint.path.name)
    heads, eps = _heads_and_eps(checkpoint.module)
    width, patch = (renamed["patch_embed.proj.weight"].shape[axis] for axis in (0, -1))

    def preprocess(size: Size) -> Preprocess:
        if told is not None:
            return told[1](size)
        # The weights at 224 were evaluated with a margin, ViT-L/16 with an odd one; those fine-tuned at
        # larger sizes without (torchvision's ViT_*_Weights).
        if max(size) > 224:
            return crop_preprocess(size, interpolation="bicubic")
        margin = 242 if width == 1024 and patch == 16 else 256
        return crop_preprocess(size, resize=round(max(size) * margin / 224), interpolation="bilinear")

    def witness(size: Size, *, features: bool) -> Witness | str:
        transform = file.transform(size)
        if transform is None and entry is not None and size == (entry.transforms().crop_size[0],) * 2:
            transform = entry.transforms()
        return torchvision_witness(
            variant, tensors, transform, size, module=checkpoint.module, hints=hints, features=features
        )

    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False, align_corners=True),
        preprocess=preprocess,
        preprocess_from="the training arguments" if told else f"torchvision's {entry}" if entry else "",
        name=_name,
        square=True,
        num_heads=heads,
        eps=eps,
        unstated=() if checkpoint.module is not None else ("eps",),
        settings=file.account(),
        witness=witness,
    )


def _variant(renamed: Mapping[str, torch.Tensor]) -> str:
    """torchvision's name for a model of these sizes, or empty."""
    models = require("torchvision.models", extra="export", purpose="know its ViTs")
    projection, hidden = renamed.get("patch_embed.proj.weight"), renamed.get("blocks.0.mlp.fc1.weight")
    if projection is None or hidden is None:
        return ""  # What is missing is named where the architecture is read.
    found = (
        projection.shape[0],
        len({key.split(".")[1] for key in renamed if key.startswith("blocks.")}),
        projection.shape[-1],
        hidden.shape[0],
    )
    name = _MODELS.get(found, "")
    return name if name in models.list_models() else ""


def _heads_and_eps(module: Any) -> tuple[int | None, float]:
    """Attention heads and eps of a pickled model; without one, torchvision's eps.

    Raises:
        CheckpointError: the norms have several eps, or the activation is not GELU.
    """
    found = [inner for _, inner in walk(module) if class_path(inner) == f"{_PACKAGE}.VisionTransformer"]
    if len(found) != 1:
        return None, _EPS
    # Its classifier, which training code may have replaced, is built by itself.
    layers = {path: layer for path, layer in walk(found[0]) if not path.startswith("heads")}
    eps = {float(layer.eps) for layer in layers.values() if type(layer).__name__ == "LayerNorm"}
    activations = {type(layer).__name__ for path, layer in layers.items() if path.endswith(".mlp.1")}
    if len(eps) > 1 or not activations <= {"GELU"}:
        raise CheckpointError(
            f"The pickled ViT of torchvision has norms with eps {', '.join(map(str, sorted(eps)))} and the "
            f"activation {', '.join(sorted(activations))}; deploykit builds one eps and GELU."
        )
    for path, layer in layers.items():
        if path.endswith(".self_attention") and getattr(layer, "add_zero_attn", False):
            raise CheckpointError(
                f"The pickled ViT of torchvision has {path} with add_zero_attn; deploykit builds it without."
            )
    heads = {int(layer.num_heads) for path, layer in layers.items() if path.endswith(".self_attention")}
    return next(iter(heads), None), next(iter(eps), _EPS)


def _name(arch: ViTArchitecture, _: Size) -> str:
    letter = _LETTERS.get(size_name(arch) or "")
    return f"vit_{letter}_{arch.patch[0]}" if letter else ""
