"""transformers' own model and image processor as a second reading of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from deploykit_runtimes.errors import ParityError
from torch import nn

from deploykit_exporters.families.base import Witness
from deploykit_exporters.families.shared.setting_values import sides_of
from deploykit_exporters.families.shared.transformers_library.files import processor_settings

if TYPE_CHECKING:
    import numpy as np

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["transformers_witness"]

# What --config calls otherwise than transformers does.
_WORDS = {"num_heads": "num_attention_heads", "eps": "layer_norm_eps", "activation": "hidden_act"}
_ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
_RESIZING = ("CLIP", "Siglip", "MetaClip2", "ViT", "DeiT")
_WITHOUT_CLASS_TOKEN = ("Siglip",)


class _Answers(nn.Module):
    """A transformers model that returns the same as a built model.

    Args:
        model: With a head, or a whole CLIP, or a tower.
        resized: The images have another size than the model's.
        features: Tokens and the pooled or projected vector instead of logits.
    """

    def __init__(self, model: Any, *, resized: bool, features: bool) -> None:
        super().__init__()
        self.model = model
        self.features = features
        resizes = resized and type(model).__name__.startswith(_RESIZING)
        self.options = {"interpolate_pos_encoding": True} if resizes else {}

    @torch.inference_mode(False)  # BEiT keeps tensors for the process, which may train afterwards
    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> Any:
        model = self.model
        if not self.features:
            return model(pixel_values=images, **self.options).logits
        tower = getattr(model, "vision_model", None) or getattr(model, model.base_model_prefix, None) or model
        if type(model).__name__.startswith("DINOv3"):
            tower = model  # whose attribute of that name is its encoder
        found = tower(pixel_values=images, **self.options)
        pooled = found.pooler_output
        if pooled is None and type(model).__name__.startswith(_WITHOUT_CLASS_TOKEN):
            pooled = found.last_hidden_state.mean(1)
        elif pooled is None:  # a tower without a pooler gives its class token, or the mean of both
            tokens = 2 if "WithTeacher" in type(model).__name__ else 1
            pooled = found.last_hidden_state[:, :tokens].mean(1)
        if hasattr(model, "visual_projection"):
            pooled = model.visual_projection(pooled)
        return found.last_hidden_state, pooled


class _Maps(nn.Module):
    """A transformers EfficientNet that returns its map at each resolution.

    Args:
        model: The model, with or without a head.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = getattr(model, model.base_model_prefix, model)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.model(pixel_values=images, output_hidden_states=True).hidden_states
        halving = (block.depthwise_conv.stride == 2 for block in self.model.encoder.blocks)
        return (*(one for one, halved in zip(maps, halving, strict=False) if halved), maps[-1])


def transformers_witness(
    config: Mapping[str, Any],
    checkpoint: Checkpoint,
    hints: Hints,
    size: tuple[int, int],
    *,
    features: bool,
) -> Witness | str:
    """Build the model that config.json names, with its own constructor.

    Args:
        config: config.json, overridden by the user's settings.
        size: (height, width) of the network's input.
        features: The built model returns features.

    Returns:
        The witness, or why there is none.

    Raises:
        ParityError: transformers reports missing or unused weights.
    """
    name = _class_name(config)
    if not name:
        return "none: the file does not say which model of transformers it is (config.json)"
    try:
        import transformers
    except ImportError:
        return "none: transformers is not installed"
    kind = getattr(transformers, name, None)
    if kind is None:
        return f"none: transformers {transformers.__version__} has no {name}"
    told = _as_asked(config, hints)
    own = _own_size(told)
    if own and own != size and own[0] != own[1] and name.startswith(_RESIZING):
        return f"none: transformers resizes positions of square images only, and these are {own[0]}x{own[1]}"
    tensors = checkpoint.tensors.items()
    with _quietly(transformers):
        model, loading = kind.from_pretrained(
            None,
            config=kind.config_class.from_dict(told),
            state_dict={
                key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors
            },
            dtype=torch.float32,
            output_loading_info=True,
        )
    # ViTModel(config, add_pooling_layer=False) is saved without saying so; its pooled vector is not used.
    bare = not any(key.startswith("pooler.") for key in checkpoint.tensors)
    missing = [key for key in loading["missing_keys"] if not (bare and str(key).startswith("pooler."))]
    wrong = [*missing, *loading["mismatched_keys"]]
    if wrong:
        raise ParityError(f"transformers' {name} finds weights missing: {', '.join(map(str, wrong[:5]))}.")
    if len(missing) < len(loading["missing_keys"]):
        model.pooler = None
    maps = features and name.startswith("EfficientNet")
    return Witness(
        library=f"transformers {transformers.__version__}",
        module=(_Maps(model) if maps else _Answers(model, resized=own != size, features=features)).eval(),
        preprocess=None if hints.imgsz else _processor(transformers, checkpoint, size),
    )


def _as_asked(config: Mapping[str, Any], hints: Hints) -> dict[str, Any]:
    """The configuration with the user's settings, given in deploykit's terms."""
    asked = {
        theirs: _ACTIVATIONS.get(str(value), value)
        for ours, theirs in _WORDS.items()
        if (value := (hints.config or {}).get(ours)) is not None
    }
    if "layer_norm_eps" in asked and "batch_norm_eps" in config:
        asked["batch_norm_eps"] = asked.pop("layer_norm_eps")
    tower = config.get("vision_config")
    if isinstance(tower, Mapping):
        return {**config, "vision_config": {**tower, **asked}}
    return {**config, **asked}


def _own_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of the model's images, if the configuration gives it."""
    tower = config.get("vision_config")
    return sides_of((tower if isinstance(tower, Mapping) else config).get("image_size"), channels=False)


@contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Suppress the library's progress bars and warnings."""
    logging = transformers.utils.logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _class_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and len(names) == 1 else ""


def _processor(
    transformers: Any, checkpoint: Checkpoint, size: tuple[int, int]
) -> Callable[[np.ndarray], torch.Tensor] | None:
    """The processor that preprocessor_config.json names, if its output has the network's size."""
    _, settings = processor_settings(checkpoint)
    if not settings:
        return None
    name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    kind = getattr(transformers, name.replace("FeatureExtractor", "ImageProcessor"), None)
    if kind is None or name.startswith("DINOv3"):  # resizes without rounding, see vit_transformers_dinov3
        return None
    process = kind(**{key: value for key, value in settings.items() if not key.endswith("_type")})

    def prepare(image: np.ndarray) -> torch.Tensor:
        pixels: torch.Tensor = process(image.copy(), return_tensors="pt")["pixel_values"][0]
        return pixels

    return prepare
