"""EVA-02 from its own repository (baaivision/EVA), classifiers and pre-trained models, built as timm's
``Eva``.

The saved tables of rotations show the heads, the image size, and the grid to which rotations are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.shared.classifiers import check_config
from deploykit_exporters.families.shared.imagenet import CLIP_MEAN, CLIP_STD, timm_preprocess
from deploykit_exporters.families.shared.timm_library.config import read_file
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.beit.shapes import norms_of, refuse_heads
from deploykit_exporters.families.vit.eva.beit.training import account, evaluation, has_training, stated_size
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.eva.timm_shapes import no_package, shape_arguments
from deploykit_exporters.families.vit.source import name_in_file, rename

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "eva02"

_GATED = ("w1", "w2", "w12", "w3")
_BLOCKS = {
    "mlp.ffn_ln": "mlp.norm",
    "mlp.w12": "mlp.fc1",
    "mlp.w1": "mlp.fc1_g",
    "mlp.w2": "mlp.fc1_x",
    "mlp.w3": "mlp.fc2",
}
_ELSEWHERE = {**_BLOCKS, "attn.q_bias": "attn.q_proj.bias", "attn.v_bias": "attn.v_proj.bias"}
_UNUSED = {
    "used only in pre-training": ("mask_token", "lm_head.*"),
    "what they tell is computed in the graph": ("rope.*", "blocks.*.attn.rope.*"),
}
_CONFIG = ("num_heads", "eps", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_SIZES = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large"}
_WIDTH, _GRID, _THETA = 64, 16, 10000.0
_LARGEST = 129
_SAID = "The eps is 1e-6, and norms are before their layers, as in all models of EVA-02's own code."
_CLOSE = 1e-2  # Tables may have been saved in half precision.


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether there is the MLP of EVA-02's own code with tables of rotations or query biases, and no
    EVA-CLIP tower.
    """
    if "patch_embed.proj.weight" not in tensors or "blocks.0.attn.inner_attn_ln.weight" in tensors:
        return False
    gated = any(f"blocks.0.mlp.{layer}.weight" in tensors for layer in _GATED)
    return gated and any(key in tensors for key in ("rope.freqs_cos", "blocks.0.attn.q_bias"))


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EvaSource:
    """Rename the weights, and read from them the arguments of timm's model.

    Raises:
        CheckpointError: weights are missing, or the rotations differ from those of EVA-02's code.
    """
    config = hints.config or {}
    if "model" not in config:  # then it has the arguments of the training script
        check_config(hints, _CONFIG)
    used, unused = take_unused(tensors, _UNUSED)
    apart = any(key.endswith(".attn.q_proj.weight") for key in used)
    renamed = rename(used, {}, block="blocks.", blocks=_ELSEWHERE if apart else _BLOCKS)
    _require(renamed, tensors)
    file = read_file(checkpoint, hints)
    rotations = _rotations(tensors)
    arguments, assumed = _arguments(renamed, rotations, config)
    trained = arguments["img_size"]
    told = stated_size(file.args)
    if told not in (None, trained):
        raise CheckpointError(
            f"args say input_size = {told[0]}x{told[1]}; the weights are for {trained[0]}x{trained[1]}.",
            hint="If these arguments are of another model, say so: --ignore args:input_size",
        )
    norm = "fc_norm" if "fc_norm" in norms_of(renamed) or not norms_of(renamed) else "norm"
    eps = float(config.get("eps", 1e-6))
    evaluated = evaluation(file.args, trained, CLIP_MEAN, CLIP_STD)
    said = [] if "eps" in config else [_SAID]
    return EvaSource(
        tensors=renamed,
        network=partial(_build, arguments, eps=eps, pool="avg" if norm == "fc_norm" else "token"),
        name=hints.variant or _name(arguments),
        title="EVA-02 in the form of its own repository",
        trained=trained,
        image_size=trained,
        preprocess=lambda size: timm_preprocess(size, config, evaluated),
        preprocess_from="the training arguments" if has_training(file) else "",
        classes=file.class_names,
        assumed=(*assumed, *said),
        settings=(
            *unused,
            *account(file, arguments["in_chans"], {"use_mean_pooling": norm == "fc_norm"}),
        ),
        witness=no_package("EVA-02"),
        name_in_file=lambda key: name_in_file(key, renamed, tensors),
    )


def _require(renamed: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> None:
    missing = [key for key in ("blocks.0.mlp.fc2.weight", "cls_token") if key not in renamed]
    if missing:
        lost = ", ".join(name_in_file(key, renamed, tensors) for key in missing)
        raise CheckpointError(f"The checkpoint is not a complete EVA-02; missing: {lost}.")


def _rotations(tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Cosine and sine of each patch and channel of a head, [T, D], which all blocks share."""
    keys = sorted((key for key in tensors if key.endswith("rope.freqs_cos")), key=len)
    if not keys:
        return None
    sin = tensors.get(keys[0].replace("freqs_cos", "freqs_sin"))
    if sin is None or sin.ndim != 2 or sin.shape != tensors[keys[0]].shape:
        raise CheckpointError(f"The checkpoint has {keys[0]}, but no sine of the same shape.")
    return tensors[keys[0]].float(), sin.float()


def _arguments(
    tensors: Mapping[str, torch.Tensor],
    rotations: tuple[torch.Tensor, torch.Tensor] | None,
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments of timm's ``Eva``, and what is assumed.

    Raises:
        CheckpointError: the image size is unknown, or the channels are not divisible by the heads.
    """
    width, _, *patch = (int(side) for side in tensors["patch_embed.proj.weight"].shape)
    hidden = int(tensors["blocks.0.mlp.fc2.weight"].shape[1])
    positions = tensors.get("pos_embed")
    assumed: tuple[str, ...] = ()
    if rotations is not None:
        count, size = (int(side) for side in rotations[0].shape)
        heads = width // size if size else 0
        refuse_heads(config, heads)
        reference = _reference(*rotations)
    elif positions is not None:
        count, heads, reference = (
            int(positions.shape[1]) - 1,
            int(config.get("num_heads", width // _WIDTH)),
            _GRID,
        )
        assumed = (
            f"{heads} attention heads, and rotations that are scaled to {_GRID}x{_GRID} patches: the file "
            f"has no table of them; others as in --config '{{\"num_heads\": {heads}}}'.",
        )
    else:
        raise CheckpointError("The checkpoint has neither rope.freqs_cos nor pos_embed, as an EVA-02 has.")
    side = math.isqrt(max(count, 0))
    if side < 1 or side * side != count or heads < 1 or width % heads or (width // heads) % 4:
        raise CheckpointError(
            f"Rotations of {count} patches and {heads} heads of {width} channels are not those of an EVA-02."
        )
    separate = "blocks.0.mlp.fc1_g.weight" in tensors
    return {
        "img_size": (side * patch[0], side * patch[1]),
        **shape_arguments(tensors, hidden),
        "num_heads": heads,
        "qkv_fused": not any(key.endswith(".attn.q_proj.weight") for key in tensors),
        "qkv_bias": any(key.endswith((".q_bias", ".q_proj.bias", ".v_bias")) for key in tensors),
        "swiglu_mlp": True,
        "swiglu_align_to": int(separate),
        "scale_mlp": any(".mlp.norm." in key for key in tensors),
        "init_values": 1.0 if any(key.endswith(".gamma_1") for key in tensors) else None,
        "use_abs_pos_emb": positions is not None,
        "ref_feat_shape": (reference, reference),
    }, assumed


def _reference(cos: torch.Tensor, sin: torch.Tensor) -> int:
    """The side of the grid to which the positions of patches are scaled.

    Raises:
        CheckpointError: no grid gives the tables of EVA-02's code.
    """
    count, size = cos.shape
    side = math.isqrt(count)
    if side * side != count or side < 2 or size % 4:
        raise CheckpointError(f"rope.freqs_cos has {count} rows of {size}, which is not a square of patches.")
    references: dict[int, None] = dict.fromkeys((_GRID, side, *range(1, _LARGEST)))
    for reference in references:
        angles = _angles(side, size, reference)
        if all(
            float((own - found).abs().max()) <= _CLOSE
            for own, found in ((angles.cos(), cos), (angles.sin(), sin))
        ):
            return reference
    raise CheckpointError(
        "rope.freqs_cos and rope.freqs_sin are not the rotations of EVA-02's own code (theta 10000).",
        hint="If this is another model, timm may know it: --variant NAME",
    )


def _angles(side: int, size: int, reference: int) -> torch.Tensor:
    """The rotations of a grid, [side * side, size], with neighbouring channels in pairs and rows before
    columns.
    """
    import torch

    half = size // 2
    places = torch.arange(side) * (reference / side)
    angles = (places[:, None] * _THETA ** (-torch.arange(0, half, 2) / half)).repeat_interleave(2, dim=1)
    rows, columns = angles[:, None].expand(-1, side, -1), angles[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, size)


def _build(arguments: Mapping[str, Any], *, eps: float, pool: str) -> Any:
    """timm's network, without weights."""
    from torch import nn

    eva = require("timm.models.eva", extra="export", purpose="build an EVA-02")
    return eva.Eva(
        **arguments,
        global_pool=pool,
        use_rot_pos_emb=True,
        norm_layer=partial(nn.LayerNorm, eps=eps),
        dynamic_img_size=True,
    )


def _name(arguments: Mapping[str, Any]) -> str:
    width, depth = arguments["embed_dim"], arguments["depth"]
    size = _SIZES.get((width, depth), f"d{width}_l{depth}")
    return f"eva02_{size}_patch{arguments['patch_size'][0]}_{arguments['img_size'][0]}"
