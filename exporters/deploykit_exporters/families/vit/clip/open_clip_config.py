"""What is known about an OpenAI or open_clip CLIP: open_clip_config.json, a name, and the file's form.

The configuration is open_clip's own (``open_clip/model_configs/*.json``, and ``open_clip_config.json`` on the
Hugging Face hub, which has it under ``model_cfg`` together with the ``preprocess_cfg``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.imagenet import (
    CLIP_MEAN,
    CLIP_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    crop_preprocess,
    stretch_preprocess,
)
from deploykit_exporters.families.shared.setting_values import as_mapping
from deploykit_exporters.families.vit.source import as_size

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["OpenClipConfig", "activation", "image_size", "input_size", "preprocess", "read_open_clip_config"]

_WHERE = "open_clip_config.json"
_QUICK = "quickgelu"
# OpenAI published ViT-B/32, B/16, L/14 and L/14@336, all with QuickGELU: channels, blocks, patch, positions.
_OPENAI = {(768, 12, 32, 50), (768, 12, 16, 197), (1024, 24, 14, 257), (1024, 24, 14, 577)}
_SCALARS = {"input_resolution", "context_length", "vocab_size"}
_TRAINING = (
    *("patch_dropout", "timm_model_pretrained", "timm_drop", "timm_drop_path", "output_tokens"),
    *("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "output_dict", "custom_text"),
)


@dataclass(frozen=True, kw_only=True)
class OpenClipConfig:
    """open_clip's configuration, from a file next to the weights or from --config; empty if there is none.

    Attributes:
        where: Where it is.
        model, vision, images: The settings of the model, of its image tower, and of the pre-processing.
    """

    where: str
    model: Settings
    vision: Settings
    images: Settings
    values: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.values)

    def account(self) -> tuple[Setting, ...]:
        """The treatment of every setting.

        Raises:
            CheckpointError: one is left over.
        """
        self.model.harmless("the text tower is not exported", "text_cfg", "multimodal_cfg")
        for settings in (self.model, self.vision):
            settings.harmless("used only in training", *_TRAINING)
        parts = (self.model, self.vision, self.images)
        return tuple(setting for part in parts for setting in part.account(strict=True))


def read_open_clip_config(checkpoint: Checkpoint, hints: Hints) -> OpenClipConfig:
    """The contents of open_clip_config.json or --config."""
    given = hints.config or {}
    where, source = _WHERE, as_mapping(checkpoint.meta.get("open_clip"))
    if "model_cfg" in given or "vision_cfg" in given:
        where, source = "--config", given
    model = as_mapping(source.get("model_cfg")) or (source if "vision_cfg" in source else {})
    vision = as_mapping(model.get("vision_cfg"))
    images = as_mapping(source.get("preprocess_cfg"))
    told = {name: value for name, value in model.items() if name not in ("vision_cfg", "preprocess_cfg")}
    return OpenClipConfig(
        where=where,
        model=Settings(where, told, hints.ignore),
        vision=Settings(f"{where}:vision_cfg", vision, hints.ignore),
        images=Settings(f"{where}:preprocess_cfg", images, hints.ignore),
        values={**model, "preprocess_cfg": images} if model else {},
    )


def activation(
    told: OpenClipConfig, checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints
) -> tuple[str, tuple[str, ...]]:
    """``gelu`` or ``quick_gelu``, and what was assumed.

    The weights do not show it, but a configuration or a name of open_clip does. OpenAI's own files all have
    QuickGELU, and are recognised by their scalars or by the mixed precision in which they were published.

    Args:
        tensors: The weights as the file names them.
    """
    if told:
        return _named(bool(told.model.get("quick_gelu", False))), ()
    names = hints.variant or f"{checkpoint.meta.get('name', '')} {checkpoint.path.name}"
    if hints.variant or _QUICK in names.lower() or "activation" in (hints.config or {}):
        return _named(_QUICK in names.lower()), ()
    trained = "name" in checkpoint.meta or any(key.startswith("text.") for key in tensors)
    if tensors.keys() >= _SCALARS or _mixed(tensors):
        why = "the file has the form of OpenAI's"
    elif not trained and _sizes(tensors) in _OPENAI:
        why = "OpenAI published weights of this size"
    else:
        return "gelu", (_assumed("GELU", "the name does not say quickgelu"),)
    return "quick_gelu", (_assumed("QuickGELU", why),)


def _named(quick: bool) -> str:
    return "quick_gelu" if quick else "gelu"


def _assumed(name: str, why: str) -> str:
    told = json.dumps({"activation": "quick_gelu" if name == "GELU" else "gelu"})
    return (
        f"The activation is {name}, because {why}: the weights do not show; override with --config '{told}' "
        f"or open_clip's name of the model as --variant."
    )


def _mixed(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether layers are in half precision but norms are not, as after OpenAI's ``convert_weights``."""
    kinds = {
        end: {str(tensor.dtype) for key, tensor in tensors.items() if key.endswith(end)}
        for end in ("conv1.weight", "ln_pre.weight")
    }
    return kinds == {"conv1.weight": {"torch.float16"}, "ln_pre.weight": {"torch.float32"}}


def _sizes(tensors: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """Channels, blocks, patch and positions of a tower that OpenAI may have published; otherwise empty."""
    start = "visual." if "visual.conv1.weight" in tensors else ""
    own = [
        tensors.get(f"{start}{name}") for name in ("conv1.weight", "positional_embedding", "ln_pre.weight")
    ]
    if any(tensor is None for tensor in own) or f"{start}attn_pool.query" in tensors:
        return ()
    patches, positions, _ = cast("list[torch.Tensor]", own)
    block = f"{start}transformer.resblocks."
    blocks = {key.removeprefix(block).split(".")[0] for key in tensors if key.startswith(block)}
    return patches.shape[0], len(blocks), patches.shape[-1], positions.shape[0]


def preprocess(told: OpenClipConfig, *, siglip: bool) -> tuple[Callable[[Size], Preprocess], str]:
    """The pre-processing for a network input of (height, width), and where it was found.

    Args:
        siglip: If there is no configuration, stretch images as SigLIP does, instead of CLIP's pre-processing.

    Raises:
        CheckpointError: a setting has a value that open_clip does not know.
    """
    images = told.images
    mean, std = _three(images.get("mean", CLIP_MEAN)), _three(images.get("std", CLIP_STD))
    mode, filter_name = images.get("resize_mode", "shortest"), images.get("interpolation", "bicubic")
    fill = int(images.get("fill_color", 0))
    images.expect("mode", "RGB")
    if not told.values.get("preprocess_cfg") and siglip:
        mean, std, mode = INCEPTION_MEAN, INCEPTION_STD, "squash"
    if mode not in ("shortest", "longest", "squash") or filter_name not in ("bicubic", "bilinear", "random"):
        raise CheckpointError(
            f"{told.where} says resize_mode {mode!r} with interpolation {filter_name!r}; open_clip knows "
            "shortest, longest and squash, bicubic and bilinear."
        )
    how = partial(
        _preprocess,
        mode=mode,
        fill=fill,
        interpolation="bilinear" if filter_name == "bilinear" else "bicubic",
        mean=mean,
        std=std,
    )
    return how, f"{told.where}: preprocess_cfg" if told.values.get("preprocess_cfg") else ""


def _preprocess(
    size: Size, *, mode: str, fill: int, interpolation: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocess:
    if mode == "squash":
        return stretch_preprocess(size, interpolation=interpolation, mean=mean, std=std)
    if mode == "longest":
        return Preprocess(
            resize="long",
            resize_to=(max(size),),
            rounding="round",
            crop=size,
            pad_value=fill,
            interpolation=interpolation,
            mean=mean,
            std=std,
        )
    if size[0] != size[1]:
        interpolation = "bicubic"  # Whatever preprocess_cfg says.
    return crop_preprocess(size, crop_pct=1.0, interpolation=interpolation, mean=mean, std=std)


def _three(values: Any) -> tuple[float, ...]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(value) for value in values)


def image_size(told: OpenClipConfig) -> Size | None:
    """(height, width) of the images to which open_clip resizes the positions when loading."""
    return as_size(told.vision.get("image_size"))


def input_size(told: OpenClipConfig) -> Size | None:
    """The same, or the size given by the pre-processing."""
    return as_size(told.images.get("size")) or image_size(told)
