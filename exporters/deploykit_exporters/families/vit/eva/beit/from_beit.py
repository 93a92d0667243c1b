"""BEiT and BEiT v2 from their own repository (microsoft/unilm), whose keys are timm's.

If positions are relative, the shapes give the architecture: their tables have a column for each head. What
shapes do not show is the same in all models of that code: GELU, and an eps of 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.classifiers import check_config
from deploykit_exporters.families.shared.imagenet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    timm_preprocess,
)
from deploykit_exporters.families.vit.eva.beit.shapes import (
    beit_arguments,
    build_beit,
    heads_of,
    misfit,
    norms_of,
    square_size,
)
from deploykit_exporters.families.vit.eva.beit.training import account, evaluation, has_training, stated_size
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.eva.timm_shapes import no_package

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.settings import Setting
    from deploykit_exporters.families.shared.timm_library.config import TimmFile

__all__ = ["is_official", "read_official"]

_CONFIG = ("eps", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_SIZES = {(768, 12): "base", (1024, 24): "large"}


def is_official(file: TimmFile, tensors: Mapping[str, torch.Tensor], name: str, kind: str) -> bool:
    """Whether the weights are read as those of BEiT's own repository.

    Args:
        file: What it says besides the weights.
        tensors: The weights.
        name: timm's name of the model, as given, or empty.
        kind: The timm module that defines it, or empty.
    """
    if heads_of(tensors) is None or "patch_embed.proj.weight" not in tensors:
        return False
    return not name or (kind == "beit" and has_training(file))


def read_official(
    checkpoint: Checkpoint,
    tensors: Mapping[str, torch.Tensor],
    unused: tuple[Setting, ...],
    file: TimmFile,
    hints: Hints,
    *,
    name: str,
) -> EvaSource:
    """Build timm's ``Beit`` with these shapes.

    Args:
        tensors: The weights, without those that are ``unused``.
        file: What the file says besides them.
        name: timm's name of the model, or empty.

    Raises:
        CheckpointError: the image size of the weights is unknown, or the file contradicts the shapes.
    """
    config = hints.config or {}
    if "model" not in config:  # then it has the arguments of the training script
        check_config(hints, _CONFIG)
    trained, guessed = _trained(tensors, stated_size(file.args), hints.imgsz)
    found = beit_arguments(tensors)
    there = norms_of(tensors)
    norm = "fc_norm" if "fc_norm" in there or not there else "norm"
    arguments = {**found, "img_size": trained, "num_heads": heads_of(tensors)}
    v2 = "beitv2" in checkpoint.path.name.lower()
    usual = (IMAGENET_MEAN, IMAGENET_STD) if v2 else (INCEPTION_MEAN, INCEPTION_STD)
    evaluated = evaluation(file.args, trained, *usual)
    switches = {
        "use_mean_pooling": norm == "fc_norm",
        "rel_pos_bias": found["use_rel_pos_bias"],
        "shared_rel_pos_bias": found["use_shared_rel_pos_bias"],
        "abs_pos_emb": found["use_abs_pos_emb"],
        "qkv_bias": found["qkv_bias"],
    }
    scaled = file.args.get("layer_scale_init_value")
    if scaled is not None and (float(scaled) > 0) is not (found["init_values"] is not None):
        raise CheckpointError(
            f"args say layer_scale_init_value = {scaled}, which contradicts the weights.",
            hint="If these arguments are of another model, say so: --ignore args:layer_scale_init_value",
        )
    return EvaSource(
        tensors=tensors,
        network=partial(build_beit, arguments, eps=float(config.get("eps", 1e-6)), norm=norm),
        name=name or _name(arguments, trained, "beitv2" if v2 else "beit"),
        title="BEiT in the form of its own repository",
        trained=trained,
        image_size=trained,
        preprocess=lambda size: timm_preprocess(size, config, evaluated),
        preprocess_from="the training arguments" if has_training(file) else "",
        classes=file.class_names,
        assumed=(
            *([guessed] if guessed else []),
            *_assumed(config, trained, hints.imgsz),
            *([] if has_training(file) or config.get("mean") else [_normalised(v2)]),
        ),
        settings=(*unused, *account(file, found["in_chans"], switches)),
        witness=no_package("BEiT"),
        origin="beit",
    )


def _trained(tensors: Mapping[str, torch.Tensor], told: Size | None, asked: Size | None) -> tuple[Size, str]:
    """The (height, width) that the tables are for, and a sentence if it is an assumption.

    Raises:
        CheckpointError: the tables do not fit the given size, or are not those of a square.
    """
    if told is not None and (wrong := misfit(tensors, told)):
        raise CheckpointError(
            f"args say input_size = {told[0]}x{told[1]}, {wrong}.",
            hint="If these arguments are of another model, say so: --ignore args:input_size",
        )
    square = square_size(tensors)
    for size in (told, asked):
        if size is not None and not misfit(tensors, size):
            return size, ""
    if wrong := misfit(tensors, square):
        raise CheckpointError(
            f"The positions are not those of square images: {wrong}.",
            hint="Give the size of the training's images: --imgsz HEIGHT,WIDTH",
        )
    return square, (
        f"The positions are those of {square[0]}x{square[1]} images, assuming a square: the file does not "
        f"say. --imgsz takes the size of the training's images."
    )


def _assumed(config: Mapping[str, Any], trained: Size, asked: Size | None) -> tuple[str, ...]:
    eps = "" if "eps" in config else " and eps 1e-6"
    said = [
        f"GELU{eps}, as in all models of BEiT's own code, and no positions other than those of the weights."
    ]
    if asked not in (None, trained):
        said.append(f"Positions for other images than {trained[0]}x{trained[1]} are resized in timm's way.")
    return tuple(said)


def _normalised(v2: bool) -> str:
    if v2:
        return "Mean and std are ImageNet's, as for the published models of BEiT v2; --config takes others."
    return (
        "Mean and std are 0.5, the default of BEiT's own code; the published models of BEiT v2 and trainings "
        "with --imagenet_default_mean_and_std have ImageNet's: --config "
        '\'{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}\'.'
    )


def _name(arguments: Mapping[str, Any], trained: Size, kind: str) -> str:
    width, depth, patch = arguments["embed_dim"], arguments["depth"], arguments["patch_size"][0]
    size = _SIZES.get((width, depth), f"d{width}_l{depth}")
    return f"{kind}_{size}_patch{patch}_" + "x".join(map(str, dict.fromkeys(trained)))
