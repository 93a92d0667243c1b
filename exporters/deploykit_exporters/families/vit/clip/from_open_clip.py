"""Image towers of OpenAI's CLIP and of open_clip: their own ViT, and timm's (``visual.trunk``).

Of a whole model, only the image tower ``visual.*`` is read; a separate tower has the same names without
that prefix. The embedding of an image is the pooled vector times ``visual.proj``, or the output of
``visual.head``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.clip import open_clip_config as configured
from deploykit_exporters.families.vit.clip.open_clip_config import OpenClipConfig
from deploykit_exporters.families.vit.clip.open_clip_witness import open_clip_witness
from deploykit_exporters.families.vit.network import TIMM_RESAMPLING, Pool, ViTArchitecture
from deploykit_exporters.families.vit.source import VitSource, rename

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "open_clip"

_RULES = {
    "conv1": "patch_embed.proj",
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "ln_pre": "norm_pre",
    "ln_post": "norm",
    "proj": "embedding.proj.weight",
    "attn_pool.attn.out_proj": "attn_pool.proj",
}
_BLOCK = "transformer.resblocks."
_BLOCKS = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj": "attn.proj",
    "attn.ln_q": "attn.q_norm",
    "attn.ln_k": "attn.k_norm",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ls_1.gamma": "ls1.gamma",
    "ls_2.gamma": "ls2.gamma",
}
_TRUNK = {"trunk.": "", "head.proj.": "embedding.proj.", "head.mlp.": "embedding.mlp."}
_TEXT = (
    *("text.*", "text_decoder.*", "transformer.*", "token_embedding.*", "positional_embedding"),
    *("ln_final.*", "text_projection", "text_projection.*", "attn_mask"),
)
_UNUSED = {
    "text tower": _TEXT,
    "scale of the similarity of image and text": ("logit_scale", "logit_bias"),
    "counts of OpenAI's files": ("input_resolution", "context_length", "vocab_size"),
}
_ACTIVATIONS = {"GELU": "gelu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh"}
_LETTERS = {
    384: "S",
    512: "M",
    768: "B",
    896: "B",
    1024: "L",
    1280: "H",
    1408: "g",
    1664: "bigG",
    1792: "e",
}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for start in ("visual.", ""):
        own = ("conv1.weight", "class_embedding", f"{_BLOCK}0.attn.in_proj_weight")
        trunk = ("trunk.patch_embed.proj.weight", "trunk.pos_embed", "trunk.blocks.0.attn.qkv.weight")
        if any(all(f"{start}{key}" in tensors for key in keys) for keys in (own, trunk)):
            return True
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the image tower, and read what open_clip's configuration says about it."""
    told = configured.read_open_clip_config(checkpoint, hints)
    whole = any(key.startswith("visual.") for key in tensors)
    used, unused = take_unused(tensors, _UNUSED) if whole else (dict(tensors), ())
    tower = {key.removeprefix("visual."): tensor for key, tensor in used.items()}
    if "trunk.patch_embed.proj.weight" in tower:
        source = _trunk(told, tower, tensors)
    else:
        source = _own(told, tower, tensors, checkpoint, hints)
    return replace(
        source,
        settings=(*unused, *told.account()),
        witness=partial(open_clip_witness, told.values, tower, hints),
    )


def _own(
    told: OpenClipConfig,
    tower: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    checkpoint: Checkpoint,
    hints: Hints,
) -> VitSource:
    """The ViT of OpenAI and open_clip."""
    if any(key.startswith("attn_pool_contrastive.") for key in tower):
        raise CheckpointError(
            "open_clip's image tower has two attention poolers (parallel or cascade); deploykit reads those "
            "with one (CoCa) or none."
        )
    renamed = rename(tower, _RULES, block=_BLOCK, blocks=_BLOCKS)
    _reshape(renamed)
    pool, after = _pooling(told, renamed)
    for part in ("weight", "bias"):
        if after and f"norm.{part}" in renamed:
            renamed[f"fc_norm.{part}"] = renamed.pop(f"norm.{part}")
    activation, assumed = configured.activation(told, checkpoint, tensors, hints)
    how, found = configured.preprocess(told, siglip=False)
    width = renamed["patch_embed.proj.weight"].shape[0]
    _agree(told, renamed)
    return VitSource(
        tensors={key: value for key, value in renamed.items() if not key.startswith("embedding.")},
        original=tensors,
        resampling=TIMM_RESAMPLING,
        preprocess=how,
        preprocess_from=found,
        name=partial(_name, activation),
        num_heads=width // int(told.vision.get("head_width", 64)) if told else None,
        image_size=configured.image_size(told),
        input_size=configured.input_size(told),
        pool=pool,
        eps=_eps(told),
        activation=activation,
        pooler=_embedding(renamed),
        pool_heads=int(told.vision.get("attn_pooler_heads", 8)),
        unstated=() if told else ("eps", "global_pool") if pool == "token" else ("eps",),
        assumed=(*assumed, *_assumed_pooling(told, renamed, pool)),
    )


def _reshape(renamed: dict[str, torch.Tensor]) -> None:
    """Convert CLIP's forms of weights to timm's."""
    import torch

    renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    if renamed.get("pos_embed") is not None and renamed["pos_embed"].ndim == 2:
        renamed["pos_embed"] = renamed["pos_embed"].unsqueeze(0)
    if "embedding.proj.weight" in renamed:
        renamed["embedding.proj.weight"] = renamed["embedding.proj.weight"].T
    if "norm_pre.weight" not in renamed:
        # No tower of CLIP has a bias there; timm's network has one unless a norm follows.
        renamed["patch_embed.proj.bias"] = torch.zeros(renamed["patch_embed.proj.weight"].shape[0])
    start = "attn_pool.attn."
    for part in ("weight", "bias"):
        packed = renamed.pop(f"{start}in_proj_{part}", None)
        for index, letter in enumerate("qkv"):
            alone = renamed.pop(f"{start}{letter}_proj_{part}", None)
            if packed is not None:
                renamed[f"attn_pool.{letter}.{part}"] = packed.chunk(3)[index]
            elif alone is not None:
                renamed[f"attn_pool.{letter}.{part}"] = alone


def _pooling(told: OpenClipConfig, renamed: Mapping[str, torch.Tensor]) -> tuple[Pool, bool]:
    """How tokens are pooled, and whether the last norm follows the pooling."""
    # Only CLIPA leaves the first norm out, and it pools like this.
    clipa = "norm_pre.weight" not in renamed and not told
    kind = told.vision.get("pool_type", "avg" if clipa else "tok")
    after = bool(told.vision.get("final_ln_after_pool", clipa))
    if "attn_pool.query" in renamed:
        told.vision.expect("pool_type", "tok")
        return "map", True
    told.vision.expect("pool_type", "tok", "avg")
    return ("avg" if kind == "avg" else "token"), after


def _assumed_pooling(
    told: OpenClipConfig, renamed: Mapping[str, torch.Tensor], pool: Pool
) -> tuple[str, ...]:
    if told:
        return ()
    if "attn_pool.query" in renamed:
        return ("The attention pooler has 8 heads, as CoCa's: the weights do not show it.",)
    if pool == "avg":
        return (
            "Without a norm before the blocks, this is taken for a CLIPA: patches are averaged, and the last "
            "norm comes after that.",
        )
    return ()


def _eps(told: OpenClipConfig) -> float:
    norm = told.vision.get("norm_kwargs", {})
    unknown = sorted(set(norm) - {"eps"})
    if unknown:
        raise CheckpointError(f"{told.where} has norm_kwargs that deploykit does not know: {unknown[0]}.")
    return float(norm.get("eps", 1e-5))


def _embedding(renamed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix("embedding."): value
        for key, value in renamed.items()
        if key.startswith("embedding.")
    }


def _agree(told: OpenClipConfig, renamed: Mapping[str, torch.Tensor]) -> None:
    """Compare the configuration with the shapes.

    Raises:
        CheckpointError: they do not agree.
    """
    vision = told.vision
    projection = renamed["patch_embed.proj.weight"]
    width, blocks = projection.shape[0], {key.split(".")[1] for key in renamed if key.startswith("blocks.")}
    hidden = renamed["blocks.0.mlp.fc1.weight"].shape[0]
    for name, built in (("width", width), ("layers", len(blocks)), ("patch_size", projection.shape[-1])):
        vision.expect(name, built, instead="Give the configuration that belongs to these weights.")
    ratio = vision.get("mlp_ratio", 4.0)
    if told and int(width * ratio) != hidden:
        raise CheckpointError(
            f"{told.where} says mlp_ratio = {ratio:g}; the weights have {hidden} hidden units for {width} "
            "channels."
        )
    if "embedding.proj.weight" in renamed:
        told.model.expect("embed_dim", renamed["embedding.proj.weight"].shape[0])
    for name, here in (
        ("attentional_pool", "attn_pool.query" in renamed),
        ("no_ln_pre", "norm_pre.weight" not in renamed),
        ("qk_norm", "blocks.0.attn.q_norm.weight" in renamed),
    ):
        vision.expect(name, here)
    vision.harmless("read from the weights", "ls_init_value", "attn_pooler_queries")
    vision.harmless("the positions are in the file", "pos_embed_type")
    vision.harmless("the kind of block follows from the weights", "block_type")
    for name in ("scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"):
        vision.expect(name, False)
    vision.expect("act_kwargs")
    vision.harmless("of towers of timm, which this is not", "timm_*")


def _trunk(
    told: OpenClipConfig, tower: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> VitSource:
    """A timm ViT."""
    renamed = dict(tower)
    for old, new in _TRUNK.items():
        renamed = {
            (new + key.removeprefix(old) if key.startswith(old) else key): value
            for key, value in renamed.items()
        }
    for part in ("weight", "bias"):
        # Without a projection of open_clip's the classifier of timm's network is one.
        if f"head.{part}" in renamed:
            renamed[f"embedding.proj.{part}"] = renamed.pop(f"head.{part}")
    name = str(told.vision.get("timm_model_name", ""))
    model = _named_model(name)
    pool = told.vision.get("timm_pool", "") or getattr(model, "global_pool", None)
    told.vision.expect("timm_pool", "map", "avg", "token", "")
    told.vision.harmless(
        "read from the weights", "timm_proj", "timm_proj_bias", "width", "layers", "patch_size"
    )
    told.model.harmless("read from the weights", "embed_dim")
    told.model.harmless("timm's towers have GELU in any case", "quick_gelu")
    siglip = "attn_pool.latent" in renamed
    how, found = configured.preprocess(told, siglip=siglip)
    pre_norm = "norm_pre.weight" in renamed
    if pre_norm and siglip and not name:
        raise CheckpointError(
            "The image tower of timm has a norm before the blocks and attention pooling, as the Perception "
            "Encoder (rotary positions), which deploykit does not read here.",
            hint="If it is a plain ViT, give open_clip's configuration with --config, which names it "
            "(timm_model_name).",
        )
    return VitSource(
        tensors={key: value for key, value in renamed.items() if not key.startswith("embedding.")},
        original=tensors,
        resampling=TIMM_RESAMPLING,
        preprocess=how,
        preprocess_from=found,
        name=lambda _, __: name,
        num_heads=None if model is None else int(model.blocks[0].attn.num_heads),
        image_size=configured.image_size(told),
        input_size=configured.input_size(told),
        pool=cast("Pool", pool),
        eps=(1e-5 if pre_norm else 1e-6) if model is None else float(model.blocks[0].norm1.eps),
        activation="gelu" if model is None else _activation(model),
        pooler=_embedding(renamed),
        unstated=("activation", "eps", "global_pool") if model is None else (),
    )


def _activation(model: Any) -> str:
    layer = type(model.blocks[0].mlp.act).__name__
    if layer not in _ACTIVATIONS:
        raise CheckpointError(f"The image tower of timm has the activation {layer}, which is not known.")
    return _ACTIVATIONS[layer]


def _named_model(name: str) -> Any:
    """timm's model of a name, without weights, or None without a name.

    Raises:
        CheckpointError: the model is not a plain ViT.
    """
    from deploykit_exporters.families.shared.unfilled import unfilled

    if not name:
        return None
    timm = require("timm", extra="export", purpose="build a ViT")
    kind = require("timm.models.vision_transformer", extra="export").VisionTransformer
    try:
        with unfilled():
            model = timm.create_model(name, pretrained=False)
    except RuntimeError as error:
        raise CheckpointError(f"timm {timm.__version__} has no model {name!r}.") from error
    if not isinstance(model, kind):
        raise CheckpointError(
            f"The image tower is timm's {name}, of the class {type(model).__name__}; deploykit reads "
            "plain ViTs there."
        )
    return model


def _name(activation: str, arch: ViTArchitecture, size: Size) -> str:
    """open_clip's name for the model."""
    letter = _LETTERS.get(arch.embed_dim)
    if letter is None or arch.patch[0] != arch.patch[1]:
        return ""
    parts = [
        f"{'coca_' if arch.query_pool else ''}ViT-{letter}-{arch.patch[0]}",
        *(["plus"] if arch.embed_dim == 896 else []),
        *(["CLIPA"] if arch.pool == "avg" and not arch.pre_norm else []),
        *([str(size[0])] if size != (224, 224) else []),
        *(["quickgelu"] if activation == "quick_gelu" else []),
    ]
    return "-".join(parts)
