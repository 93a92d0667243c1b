"""What dialects share if their repository's networks are built from timm's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["no_package", "shape_arguments"]


def shape_arguments(tensors: Mapping[str, torch.Tensor], hidden: int) -> dict[str, Any]:
    """The arguments common to timm's ``Eva`` and ``Beit`` that follow from the shapes.

    Args:
        tensors: Weights under timm's names.
        hidden: Channels inside the MLP.
    """
    width, channels, *patch = (int(side) for side in tensors["patch_embed.proj.weight"].shape)
    return {
        "patch_size": tuple(patch),
        "in_chans": channels,
        "num_classes": int(tensors["head.weight"].shape[0]) if "head.weight" in tensors else 0,
        "embed_dim": width,
        "depth": len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
        # timm truncates the product: half a unit more keeps rounding away.
        "mlp_ratio": (hidden + 0.5) / width,
    }


def no_package(name: str) -> Callable[..., str]:
    """The witness of a dialect whose repository cannot be installed: the reason why there is none."""
    return partial(_no_witness, name)


def _no_witness(name: str, *_: object, features: bool) -> str:
    return f"none: {name}'s own code is not a package that can be installed"
