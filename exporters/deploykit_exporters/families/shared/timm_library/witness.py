"""timm's own model and transform as a second reading of a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn

from deploykit_exporters.families.base import Witness
from deploykit_exporters.families.shared.imagenet import TIMM_SETTINGS

if TYPE_CHECKING:
    import numpy as np

    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.shared.timm_library.config import TimmFile

__all__ = ["UNNAMED", "not_asked", "resize_model", "timm_witness"]

UNNAMED = "none: the file does not say which model of timm it is"


class _Tokens(nn.Module):
    """A timm ViT that returns its tokens and the pooled vector."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.model.forward_features(images)
        return tokens, self.model.forward_head(tokens, pre_logits=True)


class _Maps(nn.Module):
    """A convolutional timm network that returns its map at each resolution."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model(images))


def not_asked(name: str, told_by: str, other: Sequence[str]) -> str:
    """Why timm's model of a name is not a witness, for a report; empty if it is one.

    Args:
        name: Name of the model.
        told_by: What names it.
        other: How the weights differ from it.
    """
    if told_by == "the pickled module":
        return "none: the file holds the whole module, whose layers were compared instead"
    return f"none: the weights are not those of timm's {name}" if other else ""


def timm_witness(
    name: str,
    arguments: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    size: tuple[int, int],
    *,
    file: TimmFile,
    hints: Hints,
    features: bool,
    trained: tuple[int, int] | None = None,
) -> Witness:
    """Build timm's model of a name with its own constructor, with the weights loaded strictly.

    Args:
        name: Name of an architecture that timm has.
        arguments: Arguments of its constructor.
        tensors: The weights under timm's names; timm resizes positions made for another size.
        size: (height, width) of the network's input.
        file: What the file says about pre-processing.
        features: The built model returns features.
        trained: (height, width) that a ViT's weights are for, if timm has to resize the loaded model rather
            than its weights.
    """
    state = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    positions = "pos_embed" in state and trained is None
    extra: dict[str, Any] = {"features_only": True} if features else {}
    if positions or trained is not None:
        extra = {"img_size": trained or size}
    model: Any = timm.create_model(name, pretrained=False, **{**arguments, **extra})
    if positions:
        state = timm.models.vision_transformer.checkpoint_filter_fn(state, model)
    wanted = model.state_dict()
    # Counters of the training may be left out; maps are those of a network without its head.
    kept = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}
    every = "img_size" in extra or not features
    kept.update({key: value for key, value in state.items() if key in wanted or every})
    model.load_state_dict(kept, strict=True)
    if trained not in (None, size):
        resize_model(model, size)
    model.eval()
    module = model if not features else _Tokens(model) if "img_size" in extra else _Maps(model)
    return Witness(
        library=f"timm {timm.__version__}",
        module=module.eval(),
        preprocess=_transform(model, file, hints, size) if model.in_chans in (1, 3) else None,
    )


def resize_model(model: Any, size: tuple[int, int]) -> None:
    """Let timm resize everything in a model that depends on the (height, width) of images."""
    with warnings.catch_warnings():
        # timm's interpolation of relative positions has indices that torch frowns on.
        warnings.simplefilter("ignore", UserWarning)
        model.set_input_size(img_size=size)


def _transform(
    model: Any, file: TimmFile, hints: Hints, size: tuple[int, int]
) -> Callable[[np.ndarray], torch.Tensor]:
    """timm's evaluation transform, with the user's and the file's settings overriding the model's own."""
    from PIL import Image

    said: dict[str, Any] = {"input_size": (model.in_chans, *size)}
    for name in TIMM_SETTINGS:
        said[name] = (hints.config or {}).get(name) or file.args.get(name) or None
    own = (
        {name: file.pretrained.get(name) for name in TIMM_SETTINGS}
        if file.published
        else model.pretrained_cfg
    )
    process = timm.data.create_transform(**timm.data.resolve_data_config(said, pretrained_cfg=own))

    def prepare(image: np.ndarray) -> torch.Tensor:
        pixels: torch.Tensor = process(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))
        return pixels

    return prepare
