"""Image towers of CLIP and SigLIP in Hugging Face transformers: whole models, towers with and without a
projection, and image classifiers, which average the patches.

SigLIP 2 in its usual form is a SigLIP to transformers; its NaFlex form (``Siglip2Model``), which takes
images of any aspect ratio as a list of patches, is not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Settings
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.network import Pool, ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, as_size, name_in_file, rename, size_name
from deploykit_exporters.families.vit.transformers_layers import activation_name, agree, pack_qkv

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "transformers"
_TOWERS = ("vision_model.", "")
_RULES = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.patch_embedding": "patch_embed.proj",
    "embeddings.position_embedding.weight": "pos_embed",
    "pre_layrnorm": "norm_pre",
    "post_layernorm": "norm",
    "head.probe": "attn_pool.latent",
    "head.attention.out_proj": "attn_pool.proj",
    "head.layernorm": "attn_pool.norm",
    "head.mlp": "attn_pool.mlp",
    "classifier": "classifier",
}
_BLOCKS = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.q_proj": "attn.q",
    "self_attn.k_proj": "attn.k",
    "self_attn.v_proj": "attn.v",
    "self_attn.out_proj": "attn.proj",
}
_UNUSED = {
    "text tower": ("text_model.*", "text_projection.*"),
    "scale of the similarity of image and text": ("logit_scale", "logit_bias"),
    "counts 0, 1, 2, ...": ("*embeddings.position_ids",),
}
_KINDS = ("CLIP", "MetaClip2", "Siglip")
_CLASSES = [
    [f"{kind}{name}"]
    for kind in _KINDS
    for name in ("Model", "VisionModel", "VisionModelWithProjection", "ForImageClassification")
]


@dataclass(frozen=True, kw_only=True)
class _Defaults:
    """The defaults of a CLIP or SigLIP configuration, for files without one."""

    name: str
    processor: str
    activation: str
    eps: float


_CLIP = _Defaults(name="clip-vit", processor="CLIP", activation="quick_gelu", eps=1e-5)
_SIGLIP = _Defaults(name="siglip", processor="Siglip", activation="gelu_pytorch_tanh", eps=1e-6)


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for tower in _TOWERS:
        patches = tensors.get(f"{tower}embeddings.patch_embedding.weight")
        own = ("embeddings.position_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight")
        if patches is not None and patches.ndim == 4 and all(f"{tower}{key}" in tensors for key in own):
            return True
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the image tower and read both JSON files."""
    used, unused = take_unused(tensors, _UNUSED)
    plain = {key.removeprefix("vision_model."): tensor for key, tensor in used.items()}
    apart = rename(plain, _RULES, block="encoder.layers.", blocks=_BLOCKS)
    renamed = pack_qkv(apart, name=lambda key: name_in_file(key, apart, tensors))
    _reshape(renamed)
    clip = "cls_token" in renamed
    own = _CLIP if clip else _SIGLIP
    renamed, pool, aside = _with_head(renamed, clip=clip, features=hints.features)
    told = described(checkpoint, hints)
    whole, vision = _configs(told, hints)
    processor = read_processor(checkpoint, hints, own.processor)
    heads = vision.get("num_attention_heads")
    activation = vision.get("hidden_act")
    _agree(whole, vision, renamed)
    return VitSource(
        tensors={key: value for key, value in renamed.items() if not key.startswith("visual_projection")},
        original=tensors,
        resampling=Resampling(antialias=False),
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        name=partial(_name, own.name),
        num_heads=None if heads is None else int(heads),
        image_size=as_size(vision.get("image_size")),
        input_size=processor.size if processor.found else None,
        pool=pool,
        eps=float(vision.get("layer_norm_eps", own.eps)),
        activation=activation_name(activation or own.activation),
        classes=label_names(whole.get("id2label")),
        pooler=_projection(renamed),
        assumed=_assumed(own, activation, hints, pool, clip=clip, classifies="head.weight" in renamed),
        scores=output_activation(told),
        unstated=() if told else ("eps",),
        settings=(*unused, *aside, *_account(whole, vision), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
    )


def _reshape(renamed: dict[str, torch.Tensor]) -> None:
    """Convert transformers' forms of weights to timm's."""
    renamed["pos_embed"] = renamed["pos_embed"].unsqueeze(0)
    if "cls_token" in renamed:
        renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    for part in ("weight", "bias"):
        packed = renamed.pop(f"head.attention.in_proj_{part}", None)
        if packed is not None:
            third = packed.shape[0] // 3
            renamed[f"attn_pool.q.{part}"] = packed[:third]
            renamed[f"attn_pool.kv.{part}"] = packed[third:]


def _with_head(
    renamed: Mapping[str, torch.Tensor], *, clip: bool, features: bool
) -> tuple[dict[str, torch.Tensor], Pool, tuple[Any, ...]]:
    """The weights needed for logits or features, how their tokens are pooled, and a record of the others.

    A classifier averages the patches: CLIP's without the last norm, SigLIP's without its attention pooling.
    """
    classifies = "classifier.weight" in renamed and not features
    why = "plays no part in the logits" if classifies else "plays no part in the features"
    unused = ("classifier.*",)
    if classifies:
        unused = ("norm.*",) if clip else ("attn_pool.*",)
    kept, aside = take_unused(renamed, {why: unused})
    moved = {"classifier.": "head."} if classifies else ({"norm.": "fc_norm."} if clip else {})
    for old, new in moved.items():
        kept = {
            (new + key.removeprefix(old) if key.startswith(old) else key): value
            for key, value in kept.items()
        }
    if classifies:
        return kept, "avg", aside
    return kept, "token" if clip else "map" if "attn_pool.latent" in kept else "avg", aside


def _configs(told: Mapping[str, Any], hints: Hints) -> tuple[Settings, Settings]:
    """The configurations of the model and of its image tower; the same one for a separate tower."""
    vision = told.get("vision_config")
    if vision is None:
        whole = config_settings("config.json", told, hints)
        return whole, whole
    rest = {key: value for key, value in told.items() if key not in ("vision_config", "vision_config_dict")}
    whole = config_settings("config.json", rest, hints)
    # Where both are there, the older form wins in transformers.
    older = told.get("vision_config_dict")
    both = {**vision, **older} if isinstance(older, Mapping) else vision
    return whole, config_settings("config.json:vision_config", both, hints)


def _agree(whole: Settings, vision: Settings, renamed: Mapping[str, torch.Tensor]) -> None:
    agree(vision, renamed, hidden="intermediate_size")
    whole.expect("architectures", *_CLASSES)
    vision.honoured("architectures", "id2label")
    projection = renamed.get("visual_projection.weight")
    for settings in (vision, whole):
        if projection is None:
            settings.harmless("there is no projection", "projection_dim")
    if projection is not None:
        (vision if whole is vision else whole).expect("projection_dim", projection.shape[0])
        vision.harmless("the whole model's counts", "projection_dim")
    if vision.get("vision_use_head") is not None and "head.weight" not in renamed:
        vision.expect("vision_use_head", "attn_pool.latent" in renamed)
    vision.harmless("of classifiers with one label", "num_labels", "id2label")


def _account(whole: Settings, vision: Settings) -> tuple[Any, ...]:
    settings = whole.account(strict=True)
    return settings if whole is vision else (*settings, *vision.account(strict=True))


def _assumed(
    own: _Defaults, activation: Any, hints: Hints, pool: Pool, *, clip: bool, classifies: bool
) -> tuple[str, ...]:
    sentences = []
    if activation is None and "activation" not in (hints.config or {}):
        sentences.append(
            f"The activation is {own.activation}, the usual one of {own.name}: the weights do not show; "
            'override with --config \'{"activation": "gelu"}\'.'
        )
    if pool == "avg" and not clip and not classifies:
        sentences.append("The tower has no pooling of its own: the mean of the patches is given.")
    return tuple(sentences)


def _projection(renamed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weight = renamed.get("visual_projection.weight")
    return {} if weight is None else {"proj.weight": weight}


def _name(kind: str, arch: ViTArchitecture, size: Size) -> str:
    """The model's name on the Hugging Face hub."""
    name = size_name(arch)
    larger = f"-{size[0]}" if kind == "siglip" or size != (224, 224) else ""
    return f"{kind}-{name}-patch{arch.patch[0]}{larger}" if name else ""
