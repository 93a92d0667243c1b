"""DINOv3 from its own repository (facebookresearch/dinov3), built as timm's ``Eva``: backbones, and
classifiers with a linear head on the class token and the mean of the patches.

The periods of the rotations are saved in training precision; they show the number of heads, and rotations
are computed from them unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.shared.classifiers import check_config
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD, timm_preprocess
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.beit.shapes import refuse_heads
from deploykit_exporters.families.vit.eva.from_transformers_dinov3 import build_dinov3, with_biases
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.eva.timm_shapes import no_package, shape_arguments
from deploykit_exporters.families.vit.source import name_in_file, rename

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "dinov3"

_BLOCKS = {
    "ls1.gamma": "gamma_1",
    "ls2.gamma": "gamma_2",
    "mlp.w1": "mlp.fc1_g",
    "mlp.w2": "mlp.fc1_x",
    "mlp.w3": "mlp.fc2",
}
_UNUSED = {
    "used only in pre-training": ("mask_token", "dino_head.*", "ibot_head.*", "local_cls_norm.*"),
}
_CONFIG = ("num_heads", "eps", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_PERIODS = "rope_embed.periods"
_LETTERS = {384: "s", 768: "b", 1024: "l", 1280: "h", 4096: "7b"}
_SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
_WIDTH, _EVALUATED = 64, 224
_HEAD = ("linear_head.weight", "linear_head.bias")


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether there are registers and periods under the names of DINOv3's own code."""
    tensors = _unwrapped(tensors)
    if "patch_embed.proj.weight" not in tensors or "pos_embed" in tensors:
        return False
    return _PERIODS in tensors or ("storage_tokens" in tensors and "blocks.0.attn.qkv.weight" in tensors)


def _unwrapped(tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The weights of a whole classifier, as if its head belonged to the network."""
    if not any(key in tensors for key in _HEAD):
        return tensors
    return {
        key.removeprefix("backbone.").replace("linear_head.", "head."): tensor
        for key, tensor in tensors.items()
    }


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EvaSource:
    """Rename the weights; missing information is as in the repository's published models.

    Raises:
        CheckpointError: weights are missing, or a layer cannot be built.
    """
    check_config(hints, _CONFIG)
    config = hints.config or {}
    used, unused = take_unused(_unwrapped(tensors), _UNUSED)
    if any(key.startswith("cls_norm.") for key in used):
        raise CheckpointError(
            "The checkpoint has a separate norm for class token and registers (cls_norm), which deploykit "
            "does not read."
        )
    periods = used.pop(_PERIODS, None)
    renamed = rename(_masked(used), {"storage_tokens": "reg_token"}, block="blocks.", blocks=_BLOCKS)
    missing = [key for key in ("blocks.0.mlp.fc2.weight", "blocks.0.attn.qkv.weight") if key not in renamed]
    if missing:
        lost = ", ".join(name_in_file(key, renamed, tensors) for key in missing)
        raise CheckpointError(f"The checkpoint is not a complete DINOv3; missing: {lost}.")
    renamed = with_biases(renamed)
    arguments = _arguments(renamed, periods, config)
    inputs = int(renamed["head.weight"].shape[-1]) if "head.weight" in renamed else 0
    with_mean = any(key in tensors for key in _HEAD)
    if with_mean and inputs not in (0, 2 * arguments["embed_dim"]):
        raise CheckpointError(
            f"The linear head takes {inputs} values; DINOv3's classifiers take {2 * arguments['embed_dim']}, "
            "the class token and the mean of the patches.",
            hint="Export the features with --features, and apply the head to them.",
        )
    satellite = "sat493m" in checkpoint.path.name.lower()
    mean, std = _SATELLITE if satellite else (IMAGENET_MEAN, IMAGENET_STD)
    usual = {"crop_pct": 0.875, "interpolation": "bicubic", "mean": mean, "std": std}
    return EvaSource(
        tensors=renamed,
        network=partial(_build, arguments, periods, with_mean=with_mean),
        name=hints.variant or _name(arguments),
        title="DINOv3 in the form of its own repository",
        trained=arguments["img_size"],
        image_size=arguments["img_size"],
        preprocess=lambda size: timm_preprocess(size, config, usual),
        preprocess_from="",
        assumed=_assumed(arguments, config, told=periods is not None, satellite=satellite),
        settings=unused,
        witness=no_package("DINOv3"),
        name_in_file=lambda key: name_in_file(key, renamed, tensors),
        with_mean=with_mean,
    )


def _masked(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The biases of query, key and value times their mask, which removes those of the keys."""
    found = {}
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        mask = tensors.get(f"{layer}.bias_mask")
        if kind == "bias_mask":
            if f"{layer}.bias" not in tensors:
                raise CheckpointError(f"The checkpoint has {key} without its bias, {layer}.bias.")
        elif kind == "bias" and mask is not None:
            if mask.shape != tensor.shape:
                raise CheckpointError(f"{layer}.bias_mask has another shape than {key}.")
            found[key] = tensor.float() * mask.float()
        else:
            found[key] = tensor
    return found


def _arguments(
    tensors: Mapping[str, torch.Tensor], periods: torch.Tensor | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of timm's ``Eva``.

    Raises:
        CheckpointError: the channels are not divisible by the heads.
    """
    width, _, *patch = (int(side) for side in tensors["patch_embed.proj.weight"].shape)
    hidden = int(tensors["blocks.0.mlp.fc2.weight"].shape[1])
    gated = "blocks.0.mlp.fc1_g.weight" in tensors
    heads = int(config.get("num_heads", max(1, width // _WIDTH)))
    if periods is not None:
        size = 4 * periods.numel()
        if periods.ndim != 1 or not size or width % size:
            raise CheckpointError(
                f"{_PERIODS} is {list(periods.shape)}, and {width} channels cannot be divided into "
                f"heads of {size}."
            )
        heads = width // size
        refuse_heads(config, heads)
    if heads < 1 or width % heads or (width // heads) % 4:
        raise CheckpointError(f"{width} channels cannot be divided among {heads} attention heads.")
    return {
        "img_size": tuple(max(2, _EVALUATED // side) * side for side in patch),
        **shape_arguments(tensors, hidden),
        "num_heads": heads,
        "swiglu_mlp": gated,
        "swiglu_align_to": int(gated),
        "num_reg_tokens": int(tensors["reg_token"].shape[1]) if "reg_token" in tensors else 0,
        "init_values": 1.0 if any(key.endswith((".gamma_1", ".gamma_2")) for key in tensors) else None,
        "rope_temperature": 100.0,
        "eps": float(config.get("eps", 1e-5)),
    }


def _build(arguments: Mapping[str, Any], periods: torch.Tensor | None, *, with_mean: bool) -> Any:
    from torch import nn

    net = build_dinov3(arguments, "silu" if arguments["swiglu_mlp"] else "gelu")
    if periods is not None:
        net.rope.periods.copy_(periods.float())
    if with_mean and arguments["num_classes"]:
        net.head = nn.Linear(2 * arguments["embed_dim"], arguments["num_classes"])
    return net


def _assumed(
    arguments: Mapping[str, Any], config: Mapping[str, Any], *, told: bool, satellite: bool
) -> tuple[str, ...]:
    heads = [] if told or "num_heads" in config else [f"{arguments['num_heads']} attention heads"]
    periods = [] if told else ["rotations with periods up to 100"]
    eps = [] if "eps" in config else ["eps 1e-5"]
    mean = "the satellite models'" if satellite else "ImageNet's; those of a file called *sat493m* differ"
    built = [*heads, *periods, *eps, "places scaled to each side of the image"]
    return (
        f"As in the published models: {', '.join(built)}.",
        *([] if "mean" in config else [f"Mean and std are {mean}."]),
    )


def _name(arguments: Mapping[str, Any]) -> str:
    width, patch = arguments["embed_dim"], arguments["patch_size"][0]
    plus = "plus" if arguments["swiglu_mlp"] and width < 4096 else ""
    return f"dinov3_vit{_LETTERS.get(width, f'_d{width}_')}{patch}{plus}"
