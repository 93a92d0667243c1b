"""BEiT of Hugging Face transformers (``BeitModel``) and data2vec's ViT, which has the same layers
(``Data2VecVisionModel``): built as timm's ``Beit``, which computes the same.

Two key styles are in use, see ``vit_transformers``. For other sizes than the trained one, transformers
resizes tables of relative positions bilinearly, and positions bicubically.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
    refuse_unread,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.beit.relative_positions import resize_beit
from deploykit_exporters.families.vit.eva.beit.shapes import (
    beit_arguments,
    build_beit,
    heads_of,
    hidden_width,
    misfit,
    norms_of,
    square_size,
)
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.source import as_size, name_in_file, rename
from deploykit_exporters.families.vit.transformers_layers import BLOCKS, pack_qkv, replace_activation

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.settings import Settings

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "transformers"
_WRAPPERS = ("beit.", "data2vec_vision.")
_RULES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "encoder.relative_position_bias": "rel_pos_bias",
    "shared_position_bias": "rel_pos_bias",
    "layernorm": "norm",
    "pooler.layernorm": "fc_norm",
    "classifier": "head",
}
_BLOCKS = {
    **BLOCKS,
    "lambda_1": "gamma_1",
    "lambda_2": "gamma_2",
    "attention.attention.relative_position_bias": "attn",
    "relative_position_bias": "attn",
}
_BLOCK_STARTS = ("encoder.layer.", "layers.")
_CLASSES = [
    *(["BeitModel"], ["BeitForImageClassification"], ["BeitForMaskedImageModeling"]),
    *(["Data2VecVisionModel"], ["Data2VecVisionForImageClassification"]),
]
_SIZES = {(768, 12): "base", (1024, 24): "large"}
_WIDTH = 64
_BELONGS = "Give the config.json that belongs to these weights."
# transformers' default of a pooling that no file tells.
_MEAN = True


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the keys of a transformers ViT with layer scale, relative positions or a norm after
    the pooling, or without key biases in all blocks.
    """
    for wrapper in ("", *_WRAPPERS):
        if f"{wrapper}embeddings.patch_embeddings.projection.weight" not in tensors:
            continue
        if f"{wrapper}pooler.layernorm.weight" in tensors:
            return True
        inside = {key.removeprefix(wrapper) for key in tensors if key.startswith(wrapper)}
        if any(key.startswith(start) and _is_own(key) for key in inside for start in _BLOCK_STARTS):
            return True
        if any(key.endswith(("q_proj.bias", "attention.query.bias")) for key in inside):
            return not any(key.endswith(("k_proj.bias", "attention.key.bias")) for key in inside)
    return False


def _is_own(key: str) -> bool:
    return key.endswith((".lambda_1", ".lambda_2", ".relative_position_bias_table"))


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EvaSource:
    """Rename the weights and read both JSON files.

    Raises:
        CheckpointError: config.json does not belong to the weights, or asks for something that cannot be
            built.
    """
    refuse_unread(hints)
    told = described(checkpoint, hints)
    config = config_settings("config.json", told, hints)
    used, unused = take_unused(_unwrapped(tensors), _UNUSED)
    block = next((one for one in _BLOCK_STARTS if any(key.startswith(one) for key in used)), _BLOCK_STARTS[0])
    apart = _bias_names(rename(used, _RULES, block=block, blocks=_BLOCKS))
    _require(apart, tensors)
    renamed = pack_qkv(apart, name=lambda key: name_in_file(key, apart, tensors))
    processor = read_processor(checkpoint, hints, "Beit", resample=2)
    _agree(config, renamed)
    _account(config)
    trained = as_size(config.get("image_size")) or square_size(renamed)
    heads, assumed = _heads(config, renamed)
    arguments = {**beit_arguments(renamed), "img_size": trained, "num_heads": heads}
    norm = _norm(config, renamed)
    if not told:
        assumed += ("GELU and eps 1e-12: there is no config.json; --config takes one.",)
    if norm is None:
        assumed += (_NO_POOLER,)
    kept = {
        key: one.detach() for key, one in renamed.items() if "relative_position" in key or key == "pos_embed"
    }
    return EvaSource(
        tensors=renamed,
        network=partial(
            _build,
            arguments,
            eps=float(config.get("layer_norm_eps", 1e-12)),
            norm=norm,
            hidden_act=config.get("hidden_act", "gelu"),
        ),
        name=_name(arguments, trained, "data2vec-vision" if _is_data2vec(told, tensors) else "beit"),
        title="BEiT in transformers' form",
        trained=trained,
        image_size=(processor.size if processor.found else None) or trained,
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        classes=label_names(config.get("id2label")),
        scores=output_activation(told),
        assumed=assumed,
        settings=(*unused, *config.account(strict=True), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
        resize=partial(resize_beit, kept, trained),
        name_in_file=lambda key: name_in_file(key, renamed, tensors),
    )


_UNUSED = {
    "used only in pre-training": ("embeddings.mask_token", "pre_training.*"),
    "computed from the size": ("*relative_position_index",),
}
_NO_POOLER = (
    "There is no pooler in the file: the tokens are not normalised, and pooled is the class token among them."
)


def _unwrapped(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the network's name inside a model with a head.

    Raises:
        CheckpointError: a weight occurs twice, inside and outside the network.
    """
    wrapper = next((one for one in _WRAPPERS if any(key.startswith(one) for key in tensors)), "")
    if not wrapper:
        return dict(tensors)
    found = {}
    for key, tensor in tensors.items():
        new = key.removeprefix(wrapper)
        if key.startswith(("layernorm.", "lm_head.")):
            new = f"pre_training.{key}"
        if new in found:
            raise CheckpointError(
                f"The checkpoint has {new} and {wrapper}{new}: the file does not say which is meant."
            )
        found[new] = tensor
    return found


def _bias_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of query and value biases in timm's form, where keys have none."""
    renamed = {}
    for key, tensor in tensors.items():
        new = key
        for letter in "qv":
            if key.endswith(f".attn.{letter}.bias"):
                new = f"{key.removesuffix(f'{letter}.bias')}{letter}_bias"
        renamed[new] = tensor
    return renamed


def _require(apart: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> None:
    wanted = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "blocks.0.attn.q.weight")
    missing = [name_in_file(key, apart, tensors) for key in wanted if key not in apart]
    if missing:
        raise CheckpointError(f"The checkpoint is not a complete BEiT; missing: {', '.join(missing)}.")


def _agree(config: Settings, tensors: Mapping[str, torch.Tensor]) -> None:
    """Compare what the configuration says with the shapes.

    Raises:
        CheckpointError: they do not agree; the message names the setting.
    """
    found = beit_arguments(tensors)
    patch = found["patch_size"]
    scaled = found["init_values"] is not None
    sizes: dict[str, tuple[Any, ...]] = {
        "hidden_size": (found["embed_dim"],),
        "intermediate_size": (hidden_width(tensors),),
        "num_hidden_layers": (found["depth"],),
        "num_channels": (found["in_chans"],),
        "patch_size": (patch[0], list(patch)) if patch[0] == patch[1] else (list(patch),),
        "use_absolute_position_embeddings": (found["use_abs_pos_emb"],),
        "use_relative_position_bias": (found["use_rel_pos_bias"],),
        "use_shared_relative_position_bias": (found["use_shared_rel_pos_bias"],),
    }
    for name, allowed in sizes.items():
        config.expect(name, *allowed, instead=_BELONGS)
    initial = config.get("layer_scale_init_value")
    if initial is not None and (float(initial) > 0) is not scaled:
        raise CheckpointError(
            f"{config.where} says layer_scale_init_value = {initial}; the weights have "
            f"{'a' if scaled else 'no'} layer scale (lambda_1, lambda_2).",
            hint=_BELONGS,
        )
    image = as_size(config.get("image_size"))
    wrong = None if image is None else misfit(tensors, image)
    if image is not None and wrong:
        raise CheckpointError(
            f"{config.where} says image_size = {image[0]}x{image[1]}, {wrong}.", hint=_BELONGS
        )
    heads = heads_of(tensors)
    if heads is not None:
        config.expect("num_attention_heads", heads, instead=_BELONGS)


def _norm(config: Settings, tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Which norm follows the blocks: ``norm`` on all tokens, of which the class token is pooled,
    ``fc_norm`` on the mean of the patches, or none.
    """
    there = norms_of(tensors)
    if len(there) == 1:
        config.expect("use_mean_pooling", there == ["fc_norm"], instead=_BELONGS)
        return there[0]
    mean = bool(config.get("use_mean_pooling", _MEAN))
    if not there and "head.weight" not in tensors and mean:
        return None
    return "fc_norm" if mean else "norm"


def _heads(config: Settings, tensors: Mapping[str, torch.Tensor]) -> tuple[int, tuple[str, ...]]:
    """Attention heads, from the tables of relative positions or the configuration, and what is assumed."""
    width = int(tensors["patch_embed.proj.weight"].shape[0])
    heads = heads_of(tensors) or int(config.get("num_attention_heads", 0))
    if heads:
        return heads, ()
    heads = max(1, width // _WIDTH)
    return heads, (f"{heads} attention heads ({_WIDTH} channels each): the weights do not show it.",)


def _build(arguments: Mapping[str, Any], *, eps: float, norm: str | None, hidden_act: Any) -> Any:
    """timm's network, without weights."""
    net = build_beit(arguments, eps=eps, norm=norm)
    replace_activation(net, hidden_act)
    return net


def _account(config: Settings) -> None:
    """Refuse other classes, and mark what cannot change an answer."""
    config.expect(
        "architectures",
        *_CLASSES,
        instead="deploykit reads BEiTs of transformers as models and as image classifiers.",
    )
    config.harmless("used only in pre-training", "vocab_size", "use_mask_token")
    config.harmless(
        "of the classes for segmentation and backbones only",
        *("pool_scales", "use_auxiliary_head", "auxiliary_*", "semantic_loss_ignore_index", "add_fpn"),
        *("*out_features", "*out_indices", "segmentation_indices", "stage_names", "reshape_hidden_states"),
    )


def _is_data2vec(told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bool:
    return told.get("model_type") == "data2vec-vision" or any(key.startswith(_WRAPPERS[1]) for key in tensors)


def _name(arguments: Mapping[str, Any], trained: Size, kind: str) -> str:
    width, depth, patch = arguments["embed_dim"], arguments["depth"], arguments["patch_size"][0]
    size = _SIZES.get((width, depth), f"d{width}-l{depth}")
    return f"{kind}-{size}-patch{patch}-{trained[0]}" + (f"x{trained[1]}" if trained[0] != trained[1] else "")
