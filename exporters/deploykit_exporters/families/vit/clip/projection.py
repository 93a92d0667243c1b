"""The projection of a CLIP in timm's form: as the classifier of its network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deploykit_exporters.families.vit.source import VitSource

if TYPE_CHECKING:
    from deploykit_exporters.families.base import Hints

__all__ = ["projected"]


def projected(source: VitSource, hints: Hints) -> VitSource:
    """The same source, with its head as a projection if it is one.

    timm puts the projection of a CLIP (``vit_base_patch16_clip_224.openai``) into the head, whose bias is
    then all zeros. No training leaves such a bias behind, and every CLIP has a norm before its blocks. If
    the user names the classes or the head, it is a classifier.
    """
    import torch

    tensors = source.tensors
    weight, bias = tensors.get("head.weight"), tensors.get("head.bias")
    named = hints.labels is not None or hints.head is not None or bool(source.classes)
    if named or weight is None or bias is None or bias.is_meta or "norm_pre.weight" not in tensors:
        return source
    if weight.ndim != 2 or bool(torch.count_nonzero(bias)):
        return source
    return replace(
        source,
        tensors={key: tensor for key, tensor in tensors.items() if not key.startswith("head.")},
        pooler={"proj.weight": weight},
        assumed=(
            *source.assumed,
            "The head has a bias of zeros, as timm keeps the projection of a CLIP: its "
            f"{weight.shape[0]} values are the embedding of an image and not classes. If they are classes, "
            "name them with --labels.",
        ),
    )
