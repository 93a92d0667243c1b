"""open_clip's own image tower and transform as a second reading of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deploykit_exporters.families.base import Witness

if TYPE_CHECKING:
    import numpy as np

    from deploykit_exporters.families.base import Hints

__all__ = ["open_clip_witness"]


class _Answers(nn.Module):
    """An image tower that returns the same as a built model: all tokens, and the embedding of the image."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tower = self.tower
        found = tower(images)
        embedding: torch.Tensor = found[0] if isinstance(found, tuple) else found
        if hasattr(tower, "trunk"):
            return tower.trunk.forward_features(images), embedding
        tokens: torch.Tensor = tower.transformer(tower._embeds(images))
        last = tower.attn_pool is not None or tower.final_ln_after_pool
        return tokens if last else tower.ln_post(tokens), embedding


def open_clip_witness(
    config: Mapping[str, Any],
    tower: Mapping[str, torch.Tensor],
    hints: Hints,
    size: tuple[int, int],
    *,
    features: bool,
) -> Witness | str:
    """Build the image tower with open_clip's own constructor, with its weights loaded strictly.

    Args:
        config: open_clip's configuration of the model with its ``preprocess_cfg``; empty if unknown.
        tower: The tower's weights under open_clip's names.
        size: (height, width) of the network's input.

    Returns:
        The witness, or why there is none.
    """
    try:
        import open_clip
    except ImportError:
        return "none: open_clip is not installed"
    model = config or (open_clip.get_model_config(hints.variant) if hints.variant else None)
    if not model:
        return "none: the file does not say which model of open_clip it is (open_clip_config.json)"
    vision = {**model["vision_cfg"], "image_size": size, "timm_model_pretrained": False}
    if "timm_model_name" in vision and size != _own_size(model):
        return "none: open_clip builds a tower of timm at its own size only"
    built: Any = open_clip.model._build_vision_tower(
        model["embed_dim"], vision, quick_gelu=bool(model.get("quick_gelu", False))
    )
    state = {f"visual.{key}": tensor.float() for key, tensor in tower.items()}
    open_clip.model.resize_pos_embed(state, SimpleNamespace(visual=built))
    built.load_state_dict({key.removeprefix("visual."): tensor for key, tensor in state.items()}, strict=True)
    told = None if hints.imgsz else model.get("preprocess_cfg")
    return Witness(
        library=f"open_clip {open_clip.__version__}",
        module=_Answers(built.eval()).eval(),
        preprocess=_transform(told, size) if told else None,
    )


def _own_size(model: Mapping[str, Any]) -> tuple[int, int]:
    size = model["vision_cfg"].get("image_size", 224)
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _transform(told: Mapping[str, Any], size: tuple[int, int]) -> Callable[[np.ndarray], torch.Tensor]:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    process = image_transform_v2(PreprocessCfg(**{"size": size, **told}), is_train=False)

    def prepare(image: np.ndarray) -> torch.Tensor:
        pixels: torch.Tensor = process(Image.fromarray(image))
        return pixels

    return prepare
