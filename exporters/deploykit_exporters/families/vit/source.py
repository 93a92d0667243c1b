"""What a ViT dialect says about a checkpoint, and the architecture according to the shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args

from deploykit_runtimes.contract.spec import Activation, Preprocess
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.families.vit.network import Norms, Pool, ViTArchitecture
from deploykit_exporters.families.vit.pooling import QueryPool
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.unstated import Unstated

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.families.base import Witness

__all__ = ["VitSource", "as_size", "name_in_file", "read_architecture", "rename", "size_name"]


# Heads that are not 64 wide, by (embed_dim, depth): ViT-H/14, so400m, g/14, G/14, e/14, mmpretrain's small.
_WIDE_HEADS = {
    (1280, 32): 16,
    (1152, 27): 16,
    (1408, 40): 16,
    (1664, 48): 16,
    (1792, 56): 16,
    (768, 8): 8,
}

# SigLIP 2's giant has the width and depth of DINOv2's, whose heads are 64 wide.
_SIGLIP_HEADS = {(1536, 40): 16}

_HEADS = ("head", "head.head")

_SIZES = {
    (192, 12, 3): "tiny",
    (384, 12, 6): "small",
    (512, 12, 8): "medium",
    (768, 12, 12): "base",
    (1024, 24, 16): "large",
    (1280, 32, 16): "huge",
    (1152, 27, 16): "so400m",
    (1408, 40, 16): "giant",
    (1536, 40, 24): "giant",
    (1664, 48, 16): "gigantic",
}


@dataclass(frozen=True, kw_only=True)
class VitSource:
    """A ViT checkpoint in one origin's form, under timm's key names.

    Attributes:
        tensors: Weights, named as in timm's VisionTransformer.
        original: The weights as the file names them, for errors.
        resampling: How the origin resizes position embeddings.
        preprocess: The evaluation pre-processing for a network input of (height, width).
        preprocess_from: Where in the checkpoint it was found; empty for the origin's default.
        num_heads, image_size, pool, eps, activation, norms: What the file says; None if it does not.
        input_size: (height, width) of the images, if it differs from the size that the positions were
            trained for.
        head_layers: See ``ViTArchitecture``.
        pool_heads: Attention heads of CoCa's pooler.
        variant: The origin's name of the architecture, if the file says so.
        name: Names an architecture at an image size in the origin's terms; returns an empty text if the
            origin has no name for it.
        classes: Class names, or empty.
        pooler: Weights of the layers after the pooled vector, see ``build_projection``, or empty.
        notes: What the user should know, in sentences.
        assumed: What the file does not say and the dialect had to assume, in sentences.
        unstated: Which of the values above are the origin's usual ones, because the file does not give them.
        scores: How logits become scores, if the file says so.
        witness: Builds the origin's own model for a network input of (height, width) and ``features=``; see
            ``BuiltModel.witness``.
        settings: The treatment of the file's settings and unused tensors.
        square: The origin's images are always square.
        confirm: Compares the network that is built with what the file says it is; raises if they differ.
    """

    tensors: Mapping[str, torch.Tensor]
    resampling: Resampling
    preprocess: Callable[[Size], Preprocess]
    name: Callable[[ViTArchitecture, Size], str]
    original: Mapping[str, torch.Tensor]
    preprocess_from: str = ""
    num_heads: int | None = None
    image_size: Size | None = None
    pool: Pool | None = None
    eps: float = 1e-6
    activation: str = "gelu"
    norms: Norms = "layer"
    variant: str = ""
    classes: tuple[str, ...] = ()
    pooler: Mapping[str, torch.Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    input_size: Size | None = None
    head_layers: int = 0
    pool_heads: int = 8
    assumed: tuple[str, ...] = ()
    unstated: tuple[Unstated, ...] = ()
    scores: Activation | None = None
    settings: tuple[Setting, ...] = ()
    witness: Callable[..., Witness | str] | None = None
    square: bool = False
    confirm: Callable[[nn.Module], None] | None = None

    def name_in_file(self, key: str) -> str:
        """The file's name for a weight, or the one it would have by analogy with its neighbours."""
        return name_in_file(key, self.tensors, self.original)


def name_in_file(key: str, renamed: Mapping[str, torch.Tensor], original: Mapping[str, torch.Tensor]) -> str:
    """The name in ``original`` of a weight that ``renamed`` calls ``key``; both hold the same tensors.

    A missing weight is named after the one in another block, or after others in its layer.
    """
    by_tensor = {id(tensor): old for old, tensor in original.items()}
    old_names = {new: by_tensor[id(tensor)] for new, tensor in renamed.items() if id(tensor) in by_tensor}
    if key in old_names:
        return old_names[key]
    number = re.search(r"\d+", key)
    for new, old in old_names.items():
        other = re.search(r"\d+", new)
        if number and other and new == key[: number.start()] + other[0] + key[number.end() :]:
            return re.sub(rf"(?<!\d){other[0]}(?!\d)", number[0], old, count=1)
    layer, _, part = key.rpartition(".")
    for new, old in old_names.items():
        if layer and new.rpartition(".")[0] == layer:
            return f"{old.rpartition('.')[0]}.{part}"
    return key


def rename(
    tensors: Mapping[str, torch.Tensor], rules: Mapping[str, str], *, block: str, blocks: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """Rename the keys of the weights, longest rule first; keys that no rule covers are unchanged.

    Args:
        tensors: Weights by key.
        rules: Old to new start of a key.
        block: What comes before the number of a block.
        blocks: Old to new start of a key within a block.
    """
    ordered = sorted(rules, key=len, reverse=True)
    ordered_blocks = sorted(blocks, key=len, reverse=True)
    renamed = {}
    for key, tensor in tensors.items():
        if key.startswith(block):
            number, _, rest = key.removeprefix(block).partition(".")
            new = f"blocks.{number}.{_replace(rest, ordered_blocks, blocks)}"
        else:
            new = _replace(key, ordered, rules)
        renamed[new] = tensor
    return renamed


def _replace(key: str, ordered: list[str], rules: Mapping[str, str]) -> str:
    for old in ordered:
        if key == old or key.startswith(f"{old}."):
            return rules[old] + key.removeprefix(old)
    return key


def as_size(value: Any) -> Size | None:
    """(height, width) from a number, a pair, or a triple with channels first; None stays None."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return int(value), int(value)
    sides = [int(side) for side in value]
    return (sides[-2], sides[-1]) if len(sides) > 1 else (sides[0], sides[0])


def size_name(arch: ViTArchitecture) -> str | None:
    """The usual name of a size (``base``), or None."""
    return _SIZES.get((arch.embed_dim, arch.depth, arch.num_heads))


def read_architecture(
    source: VitSource, config: Mapping[str, Any], imgsz: Size | None = None
) -> tuple[ViTArchitecture, tuple[str, ...]]:
    """The architecture, and sentences on what had to be assumed.

    Args:
        source: What the dialect found.
        config: The user's settings, which take precedence: ``num_heads``, ``img_size``, ``global_pool``,
            ``eps``, ``activation``.
        imgsz: (height, width) that the user wants, which is the trained size if the positions fit it
            exactly and the file gives no other.

    Raises:
        CheckpointError: a weight that every ViT has is missing, or a size is unknown.
    """
    tensors = source.tensors
    _require(source)
    projection = tensors["patch_embed.proj.weight"]
    embed_dim, channels = projection.shape[:2]
    patch = (projection.shape[2], projection.shape[3])
    depth = _depth(tensors)
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    distilled = "dist_token" in tensors
    class_token = "cls_token" in tensors
    prefix = int(class_token) + int(distilled) + registers
    image = as_size(config.get("img_size")) or source.image_size
    grid, with_prefix = _grid(tensors["pos_embed"].shape[1], prefix, (image, imgsz), patch)
    num_heads, assumed = _num_heads(source, config, embed_dim, depth)
    if prefix and not with_prefix and not registers and image is None:
        assumed.append(
            f"The class token has no position embedding: without it {grid[0]}x{grid[1]} positions are a "
            "square image."
        )
    hidden, gated = _mlp(tensors)
    arch = ViTArchitecture(
        channels=channels,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        patch=patch,
        grid=grid,
        hidden=hidden,
        num_classes=max(_rows(tensors, f"{head}.{part}") for head in _HEADS for part in ("weight", "bias")),
        pool=_pool(source, config, class_token),
        class_token=class_token,
        registers=registers,
        distilled=distilled,
        prefix_positions=with_prefix,
        head_hidden=_rows(tensors, "head.pre_logits.weight"),
        # Only after a norm are patches embedded without a bias; elsewhere it was lost.
        patch_bias="patch_embed.proj.bias" in tensors or not _has(tensors, "norm_pre"),
        pre_norm=_has(tensors, "norm_pre"),
        norm=_has(tensors, "norm"),
        pool_norm=_has(tensors, "fc_norm"),
        layer_scale=_in_blocks(tensors, "ls1.gamma", "ls2.gamma"),
        qk_norm=_in_blocks(tensors, "attn.q_norm.weight", "attn.k_norm.weight"),
        qkv_bias=_in_blocks(tensors, "attn.qkv.bias"),
        proj_bias=_in_blocks(tensors, "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias"),
        norms=source.norms,
        embed_norm=_has(tensors, "patch_embed.norm"),
        attention_norm=_in_blocks(tensors, "attn.norm.weight"),
        mlp_norm=_in_blocks(tensors, "mlp.norm.weight"),
        gated=gated,
        eps=float(config.get("eps", source.eps)),
        activation=str(config.get("activation", "silu" if gated else source.activation)),
        head_layers=source.head_layers,
        query_pool=_query_pool(source),
    )
    square = [] if source.square else _assumed_grid(grid, patch, image, imgsz)
    return arch, (*assumed, *source.assumed, *square)


def _has(tensors: Mapping[str, torch.Tensor], layer: str) -> bool:
    return f"{layer}.weight" in tensors or f"{layer}.bias" in tensors


def _in_blocks(tensors: Mapping[str, torch.Tensor], *keys: str) -> bool:
    """Whether any block has any of the keys: then all of them should have them, and missing ones are
    named.
    """
    return any(re.fullmatch(r"blocks\.\d+\.(.+)", key) and key.split(".", 2)[2] in keys for key in tensors)


def _require(source: VitSource) -> None:
    tensors = source.tensors
    wanted = ("patch_embed.proj.weight", "pos_embed", *(f"blocks.0.{key}.weight" for key in _BLOCK))
    missing = [source.name_in_file(key) for key in wanted if key not in tensors]
    if missing:
        raise CheckpointError(
            "The checkpoint is not a complete ViT with learned position embeddings; "
            f"missing: {', '.join(missing)}.",
            hint="If its positions are relative or rotary (BEiT, EVA, DINOv3), name it: --variant NAME",
        )
    for key, rank in (("patch_embed.proj.weight", 4), ("pos_embed", 3)):
        if tensors[key].ndim != rank:
            raise CheckpointError(
                f"{source.name_in_file(key)} of a ViT has {rank} axes, found {list(tensors[key].shape)}."
            )


def _depth(tensors: Mapping[str, torch.Tensor]) -> int:
    """Number of blocks, which must be numbered without gaps."""
    numbers = {key.split(".")[1] for key in tensors if key.startswith("blocks.")}
    missing = [str(number) for number in range(len(numbers)) if str(number) not in numbers]
    if missing:
        raise CheckpointError(
            f"The checkpoint has {len(numbers)} blocks, but number {', '.join(missing[:5])} is missing."
        )
    return len(numbers)


_BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")


def _grid(positions: int, prefix: int, images: tuple[Size | None, ...], patch: Size) -> tuple[Size, bool]:
    """(rows, columns) of the trained grid, and whether the prefix tokens have positions too: for the first
    image size that the positions fit exactly, otherwise for a square.
    """
    for image in images:
        # With registers the usual form gives them no position; a lone class token usually has one.
        for with_prefix in (True, False) if prefix < 2 else (False, True):
            count = positions - (prefix if with_prefix else 0)
            if image is not None and (image[0] // patch[0]) * (image[1] // patch[1]) == count:
                return (image[0] // patch[0], image[1] // patch[1]), with_prefix
    for with_prefix in (True, False) if prefix < 2 else (False, True):
        count = positions - (prefix if with_prefix else 0)
        side = math.isqrt(max(count, 0) * patch[0] * patch[1])
        rows, columns = side // patch[0], side // patch[1]
        if count > 0 and rows * columns == count and rows * patch[0] == columns * patch[1]:
            return (rows, columns), with_prefix
    raise CheckpointError(
        f"The position embedding has {positions} entries, which fit no square image of "
        f"{patch[0]}x{patch[1]} patches with {prefix} class or register tokens"
        + (": is the class token missing?" if not prefix else "."),
        hint="Give the size of its training with --config, for instance '{\"img_size\": [192, 256]}'.",
    )


def _assumed_grid(grid: Size, patch: Size, told: Size | None, imgsz: Size | None) -> list[str]:
    """The assumptions about the size of the training's images."""
    if told is not None and (told[0] // patch[0], told[1] // patch[1]) == grid:
        return []
    height, width = grid[0] * patch[0], grid[1] * patch[1]
    if imgsz is not None and (imgsz[0] // patch[0], imgsz[1] // patch[1]) == grid:
        return []
    return [
        f"The positions are those of {height}x{width} images, assuming a square: the file does not say. "
        f"For others of as many patches say so, as in --config '{{\"img_size\": [{height}, {width}]}}'."
    ]


def _num_heads(
    source: VitSource, config: Mapping[str, Any], embed_dim: int, depth: int
) -> tuple[int, list[str]]:
    assumed: list[str] = []
    if config.get("num_heads") is not None:
        heads = int(config["num_heads"])
    elif source.num_heads is not None:
        heads = source.num_heads
    elif (norm := source.tensors.get("blocks.0.attn.q_norm.weight")) is not None:
        heads = embed_dim // norm.shape[0]
    else:
        siglip = "attn_pool.latent" in source.tensors
        wide = _SIGLIP_HEADS if siglip and (embed_dim, depth) in _SIGLIP_HEADS else _WIDE_HEADS
        heads = wide.get((embed_dim, depth)) or max(1, embed_dim // 64)
        other = heads // 2 or next((count for count in (3, 2) if embed_dim % count == 0), 1)
        assumed.append(
            f"{heads} attention heads ({embed_dim / heads:g} channels each): the weights do not show it; "
            f"override as in --config '{{\"num_heads\": {other}}}'."
        )
    if heads < 1 or embed_dim % heads:
        raise CheckpointError(
            f"{embed_dim} channels cannot be divided among {heads} attention heads.",
            hint="Give the number of heads with --config, for instance '{\"num_heads\": 3}'.",
        )
    return heads, assumed


def _mlp(tensors: Mapping[str, torch.Tensor]) -> tuple[int, bool]:
    """Rows of the first layer, and whether half of them form a gate."""
    hidden, inner = tensors["blocks.0.mlp.fc1.weight"].shape[0], tensors["blocks.0.mlp.fc2.weight"].shape[1]
    return hidden, hidden == 2 * inner


def _pool(source: VitSource, config: Mapping[str, Any], class_token: bool) -> Pool:
    asked = config.get("global_pool")
    if asked and asked not in get_args(Pool):
        raise OptionError(
            f"--config says global_pool = {asked!r}; wanted one of {', '.join(get_args(Pool))}."
        )
    if asked:
        return cast("Pool", asked)
    if not source.tensors.keys().isdisjoint(("attn_pool.latent", "attn_pool.query")):
        return "map"
    if source.pool is not None and not (source.pool == "token" and not class_token):
        return source.pool
    return "token" if class_token and "fc_norm.weight" not in source.tensors else "avg"


def _query_pool(source: VitSource) -> QueryPool | None:
    query = source.tensors.get("attn_pool.query")
    if query is None:
        return None
    return QueryPool(queries=query.shape[0], width=query.shape[1], heads=source.pool_heads)


def _rows(tensors: Mapping[str, torch.Tensor], key: str) -> int:
    return int(tensors[key].shape[0]) if key in tensors else 0
