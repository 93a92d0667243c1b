"""What the training code of BEiT (microsoft/unilm), and of its successor EVA-02, saves next to weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.vit.source import as_size

if TYPE_CHECKING:
    from deploykit_exporters.families.settings import Setting, Settings
    from deploykit_exporters.families.shared.timm_library.config import TimmFile

__all__ = ["account", "evaluation", "has_training", "stated_size"]

_MARK = "imagenet_default_mean_and_std"
_LARGE, _CROP = 384, 224 / 256
_HARMLESS = {
    "of the training": (
        *(
            "update_freq",
            "use_checkpoint",
            "freeze_backbone",
            "partial_freeze",
            "linear_probe",
            "probe_then_ft",
        ),
        *(
            "deepspeed*",
            "enable_deepspeed",
            "zero_stage",
            "bf16",
            "dist_*",
            "auto_resume",
            "disable_weight_*",
        ),
        *("num_mask_patches", "*_mask_patches_per_block", "second_*", "discrete_vae_*", "min_crop_scale"),
        *("init_scale", "model_ema_eval", "use_ema_ckpt_eval"),
    ),
    "files and records of the training": (
        *("save_ckpt*", "model_key", "model_prefix", "model_filter_name", "image_folder_class_index_file"),
        *("eval_data_path", "robust_test", "real_labels", "disable_eval_during_finetuning"),
    ),
    "read from the weights": ("window_size", "patch_size"),
}


def has_training(file: TimmFile) -> bool:
    """Whether these are the training arguments of that code."""
    return _MARK in file.args


def stated_size(args: Settings) -> Size | None:
    """(height, width) of the training's images."""
    return as_size(args.get("input_size"))


def evaluation(
    args: Settings, trained: Size, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, Any]:
    """The evaluation's pre-processing, in timm's terms.

    Args:
        args: Arguments of the training.
        trained: (height, width) of its images.
        mean, std: The code's defaults without ``--imagenet_default_mean_and_std``.
    """
    imagenet = bool(args.get(_MARK))
    return {
        "crop_pct": args.get("crop_pct") or (_CROP if max(trained) < _LARGE else 1.0),
        "interpolation": "bicubic",
        "mean": IMAGENET_MEAN if imagenet else mean,
        "std": IMAGENET_STD if imagenet else std,
    }


def account(file: TimmFile, channels: int, built: Mapping[str, bool]) -> tuple[Setting, ...]:
    """The treatment of every setting in the file.

    Args:
        channels: Channels of the network's input.
        built: Switches of the model's constructor, as built.

    Raises:
        CheckpointError: a switch has the opposite value.
    """
    for name, value in built.items():
        file.args.expect(name, value)
    for why, patterns in _HARMLESS.items():
        file.args.harmless(why, *patterns)
    file.args.honoured(_MARK)
    return file.account(channels, named=True)
