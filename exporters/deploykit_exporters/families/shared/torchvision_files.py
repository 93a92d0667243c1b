"""What torchvision's training script (``references/classification/train.py``) writes next to the weights,
and torchvision's own model as a second reading of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Interpolation, Preprocess
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.containers.pickles.inert import class_path, walk
from deploykit_exporters.families.base import Size, Witness
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD, crop_preprocess
from deploykit_exporters.families.shared.timm_library.config import attributes

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["TorchvisionFile", "published", "read_file", "torchvision_witness"]


# What --config says of a network.
_NETWORK = ("num_heads", "eps", "activation", "global_pool")
_IMAGES = ("val_resize_size", "val_crop_size", "interpolation")
_HARMLESS = {
    "of the training": (
        *("data_path", "device", "batch_size", "epochs", "workers", "opt", "lr*", "momentum"),
        *("weight_decay", "norm_weight_decay", "bias_weight_decay", "transformer_embedding_decay"),
        *(
            "print_freq",
            "start_epoch",
            "sync_bn",
            "world_size",
            "dist_*",
            "distributed",
            "rank",
            "gpu",
            "amp",
        ),
        *("clip_grad_norm", "use_deterministic_algorithms", "cache_dataset", "train_crop_size"),
    ),
    "augmentation": (
        "auto_augment",
        "ra_*",
        "augmix_severity",
        "random_erase",
        "mixup_alpha",
        "cutmix_alpha",
    ),
    "losses are not part of the network": ("label_smoothing",),
    "--weights decides which weights are taken": ("model_ema*",),
    "files of the training": ("output_dir", "resume", "test_only", "weights", "weights_path"),
    "the same pixels within rounding": ("backend", "use_v2"),
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionFile:
    """The arguments of the training script, of which few affect an answer."""

    args: Settings

    def evaluation(self) -> tuple[int, Callable[[Size], Preprocess]] | None:
        """The side of the images and the pre-processing that the arguments give, or None.

        Raises:
            CheckpointError: an interpolation that torchvision's script does not have.
        """
        told = {name: self.args.get(name) for name in _IMAGES}
        if told["val_crop_size"] is None or told["val_resize_size"] is None:
            return None
        crop, resize = int(told["val_crop_size"]), int(told["val_resize_size"])
        interpolation: Interpolation = told["interpolation"] or "bilinear"
        if interpolation not in {"nearest", "bilinear", "bicubic"}:
            raise CheckpointError(
                f"args says interpolation = {interpolation!r}; torchvision's script knows nearest, bilinear "
                "and bicubic."
            )

        def build(size: Size) -> Preprocess:
            return crop_preprocess(
                size,
                resize=round(max(size) * resize / crop),
                interpolation=interpolation,
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
            )

        return crop, build

    def transform(self, size: Size) -> Any:
        """torchvision's own transform with these arguments; None if they do not determine it for this
        size.
        """
        crop, resize = self.args.get("val_crop_size"), self.args.get("val_resize_size")
        if resize is None or size != (crop, crop):
            return None
        modes = require("torchvision.transforms", extra="export").InterpolationMode
        return require("torchvision.transforms._presets", extra="export").ImageClassification(
            crop_size=crop,
            resize_size=resize,
            interpolation=modes(self.args.get("interpolation") or "bilinear"),
        )

    def confirm_name(self, variant: str) -> None:
        """Refuse a model name in the file that contradicts the weights.

        Args:
            variant: torchvision's name for the weights, or empty for a model of other sizes.

        Raises:
            CheckpointError: the file names another model.
        """
        told = self.args.get("model")
        if told is not None and variant and told != variant:
            raise CheckpointError(
                f"args says model = {told!r}; the weights are those of {variant}.",
                hint="If that does not matter, say so: --ignore args:model",
            )

    def account(self) -> tuple[Setting, ...]:
        """The treatment of every argument."""
        for why, names in _HARMLESS.items():
            self.args.harmless(why, *names)
        return self.args.account(strict=False)


def published(name: str, file_name: str) -> Any:
    """torchvision's entry for weights that it publishes under a file name (``vit_b_16-c867db91.pth``), or
    None.

    Args:
        name: torchvision's name of the model.
        file_name: File name of the checkpoint.
    """
    models = require("torchvision.models", extra="export", purpose="know published weights")
    if name not in models.list_models():
        return None
    return next(
        (entry for entry in models.get_model_weights(name) if entry.url.endswith(f"/{file_name}")), None
    )


def read_file(checkpoint: Checkpoint, hints: Hints) -> TorchvisionFile:
    return TorchvisionFile(args=Settings("args", attributes(checkpoint.meta.get("args")), hints.ignore))


def torchvision_witness(
    name: str,
    tensors: Mapping[str, torch.Tensor],
    transform: Any,
    size: Size,
    *,
    module: Any,
    hints: Hints,
    features: bool,
) -> Witness | str:
    """Build torchvision's model of a name with its own constructor, with the weights loaded strictly.

    Args:
        name: torchvision's name of the weights; empty for a model of other sizes.
        tensors: Weights under torchvision's names.
        transform: torchvision's own transform for images of that size, if the file determines it; otherwise
            None.
        size: (height, width) of the network's input.
        module: The pickled module, or None; its layers may differ from the named model's.
        hints: The user's settings, which may differ too.
        features: The built model returns features.

    Returns:
        The witness, or why there is none.
    """
    import torchvision

    if features:
        return "none: torchvision's models do not return features"
    if name not in torchvision.models.list_models():
        return "none: torchvision has no named model with these weights"
    rows = next(tensors[key].shape[0] for key in _CLASSIFIERS if key in tensors)
    options: dict[str, Any] = {"num_classes": int(rows)}
    state = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    if name.startswith("vit_"):
        if size[0] != size[1]:
            return "none: torchvision's ViTs take square images"
        options["image_size"] = size[0]
        patch = int(tensors["conv_proj.weight"].shape[-1])
        state = dict(
            torchvision.models.vision_transformer.interpolate_embeddings(size[0], patch, dict(state))
        )
    model = torchvision.models.get_model(name, weights=None, **options)
    given = [key for key in _NETWORK if (hints.config or {}).get(key) is not None]
    other = f"{given[0]} of --config" if given else _other_layer(model, module)
    if other:
        return f"none: torchvision's {name} is built in one way, and {other} may say another"
    stem = "conv_proj" if name.startswith("vit_") else "features.0.0"
    channels = int(tensors[f"{stem}.weight"].shape[1])
    if channels != 3:
        model.set_submodule(stem, _of_channels(model.get_submodule(stem), channels))
        transform = None  # torchvision's normalise three channels
    counters = {
        key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")
    }
    model.load_state_dict({**counters, **state}, strict=True)
    return Witness(
        library=f"torchvision {torchvision.__version__}",
        module=model.eval(),
        preprocess=None if transform is None else partial(_prepare, transform),
    )


def _other_layer(model: nn.Module, module: Any) -> str:
    """The first layer of a pickled module that is not torchvision's own; empty if all are."""
    nets = [part for _, part in walk(module) if class_path(part) == class_path(model)]
    layers = dict(walk(nets[0])) if len(nets) == 1 else {}
    for path, own in model.named_modules():
        told = layers.get(path)
        for key in ("eps", "num_heads"):
            if told is not None and getattr(told, key, None) != getattr(own, key, None):
                return f"{key} of {path} in the file"
        if told is not None and not path.startswith(("classifier", "heads")):
            kind = class_path(told).rpartition(".")[2]
            if not list(own.children()) and kind != type(own).__name__:
                return f"{path}, a {kind} in the file,"
    return ""


def _of_channels(conv: nn.Module, channels: int) -> nn.Module:
    """The first layer, replaced as users do for images with other channels; otherwise unchanged."""
    from torch import nn

    assert isinstance(conv, nn.Conv2d)
    return nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )


_CLASSIFIERS = ("heads.head.weight", "classifier.1.weight")


def _prepare(transform: Any, image: np.ndarray) -> torch.Tensor:
    from PIL import Image

    pixels: torch.Tensor = transform(Image.fromarray(image))
    return pixels
