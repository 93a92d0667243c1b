"""Vision transformers: the architecture read from the weights, and timm's network for it.

All origins are built from timm's ``VisionTransformer``; a dialect brings the weights under timm's names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require
from torch import nn

from deploykit_exporters.families.shared.unfilled import unfilled
from deploykit_exporters.families.vit.pooling import AttentionalPool, QueryPool, class_tokens_and_mean
from deploykit_exporters.families.vit.positions import Resampling, resample_grid

__all__ = ["TIMM_RESAMPLING", "ViT", "ViTArchitecture", "build_network", "position_grid", "prefix_tokens"]

Pool = Literal["token", "avg", "max", "avgmax", "map"]
Norms = Literal["layer", "rms"]

TIMM_RESAMPLING = Resampling(antialias=True)


class RmsNorm(nn.Module):
    """timm's RmsNorm in operators that every exporter supports: values divided by their root mean square.

    Args:
        channels: Size of the last axis.
        eps: Added to the mean square.
        device, dtype: Device and dtype of the weight.
    """

    def __init__(self, channels: int, eps: float = 1e-6, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = (channels,)
        self.eps = eps
        self.elementwise_affine = True
        self.weight = nn.Parameter(torch.ones(channels, device=device, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., channels] to the same."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps) * self.weight


@dataclass(frozen=True, kw_only=True)
class ViTArchitecture:
    """Everything that the forward pass of a ViT depends on.

    Attributes:
        grid: Patches (rows, columns) that the position embeddings were trained for.
        pool: ``token``: the class token; ``avg``, ``max``, ``avgmax``: over the patches, the last half of the
            sum of both; ``map``: attention pooling.
        prefix_positions: Whether class and register tokens have position embeddings.
        num_classes: Outputs of the head, 0 for none.
        head_hidden: Width of a tanh layer before the head's last one, 0 for none.
        norm, pool_norm: The norm over all tokens, and after pooling.
        eps: The eps of every norm.
        norms: The kind of norm.
        activation: timm's name of the MLP's activation.
        gated: The MLP is a packed SwiGLU.
        embed_norm, attention_norm, mlp_norm: Norms of the embedded patches, before the projection of the
            attention, and before the last layer of the MLP.
        head_layers: How many of the last blocks pass their class token to the head, which then also sees the
            mean of the patches (DINOv2); 0 for a head on the pooled vector.
        query_pool: Sizes of CoCa's pooler, which replaces attention pooling; None if there is none.
    """

    channels: int
    embed_dim: int
    depth: int
    num_heads: int
    patch: tuple[int, int]
    grid: tuple[int, int]
    hidden: int
    num_classes: int
    pool: Pool
    class_token: bool
    registers: int
    distilled: bool
    prefix_positions: bool
    head_hidden: int
    patch_bias: bool
    pre_norm: bool
    norm: bool
    pool_norm: bool
    layer_scale: bool
    qk_norm: bool
    qkv_bias: bool
    proj_bias: bool
    gated: bool
    eps: float
    activation: str
    head_layers: int = 0
    query_pool: QueryPool | None = None
    norms: Norms = "layer"
    embed_norm: bool = False
    attention_norm: bool = False
    mlp_norm: bool = False

    @property
    def image_size(self) -> tuple[int, int]:
        return self.grid[0] * self.patch[0], self.grid[1] * self.patch[1]

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether a (height, width) is a whole number of patches."""
        return all(side > 0 and side % patch == 0 for side, patch in zip(size, self.patch, strict=True))

    @property
    def prefix_tokens(self) -> int:
        return int(self.class_token) + int(self.distilled) + self.registers


def build_network(arch: ViTArchitecture) -> nn.Module:
    """timm's network without weights (on the meta device), taking any size that is a multiple of the patch.

    Raises:
        DependencyError: timm is not installed.
        CheckpointError: timm does not know the activation.
    """
    vit = require("timm.models.vision_transformer", extra="export", purpose="build a ViT")
    kind = vit.VisionTransformer
    if arch.distilled:
        deit = require("timm.models.deit", extra="export", purpose="build a DeiT")
        kind = deit.VisionTransformerDistilled
    with unfilled():
        net = kind(
            img_size=arch.image_size,
            patch_size=arch.patch,
            in_chans=arch.channels,
            num_classes=arch.num_classes,
            global_pool=arch.pool,
            embed_dim=arch.embed_dim,
            depth=arch.depth,
            num_heads=arch.num_heads,
            # timm truncates the product: half a unit more keeps rounding away.
            mlp_ratio=(arch.hidden + 0.5) / arch.embed_dim,
            qkv_bias=arch.qkv_bias,
            qk_norm=arch.qk_norm,
            proj_bias=arch.proj_bias,
            init_values=1.0 if arch.layer_scale else None,
            class_token=arch.class_token,
            no_embed_class=not arch.prefix_positions,
            reg_tokens=arch.registers,
            pre_norm=arch.pre_norm,
            fc_norm=arch.pool_norm,
            dynamic_img_size=True,
            norm_layer=_norm(arch),
            act_layer=_activation(arch.activation),
            **_parts(arch),
        )
        _adapt(net, arch)
        module: nn.Module = net
    return module


def _adapt(net: Any, arch: ViTArchitecture) -> None:
    """Add what other origins have and timm's constructor does not offer."""
    norm = partial(_norm(arch), arch.embed_dim)
    net.norm = norm() if arch.norm else nn.Identity()
    net.fc_norm = norm() if arch.pool_norm else nn.Identity()
    if (net.patch_embed.proj.bias is not None) != arch.patch_bias:
        net.patch_embed.proj = nn.Conv2d(
            arch.channels, arch.embed_dim, arch.patch, arch.patch, bias=arch.patch_bias
        )
    if arch.query_pool is not None:
        net.attn_pool = AttentionalPool(arch.query_pool, arch.embed_dim, arch.eps)
        net.pool_include_prefix = True
        net.fc_norm = nn.LayerNorm(arch.query_pool.width, eps=arch.eps)
    if arch.head_layers and arch.num_classes:
        net.head = nn.Linear((arch.head_layers + 1) * arch.embed_dim, arch.num_classes)
    if arch.head_hidden:
        net.head = nn.Sequential(
            OrderedDict(
                pre_logits=nn.Linear(arch.embed_dim, arch.head_hidden),
                act=nn.Tanh(),
                head=nn.Linear(arch.head_hidden, arch.num_classes),
            )
        )


def _norm(arch: ViTArchitecture) -> Callable[..., nn.Module]:
    return partial(RmsNorm if arch.norms == "rms" else nn.LayerNorm, eps=arch.eps)


def _parts(arch: ViTArchitecture) -> dict[str, Any]:
    """Arguments of timm's constructor that older releases do not have."""
    return {
        **({"mlp_layer": _timm_layers().SwiGLUPacked} if arch.gated else {}),
        **({"embed_norm_layer": _norm(arch)} if arch.embed_norm else {}),
        **({"scale_attn_norm": True} if arch.attention_norm else {}),
        **({"scale_mlp_norm": True} if arch.mlp_norm else {}),
    }


def _timm_layers() -> Any:
    return require("timm.layers", extra="export", purpose="build a ViT")


def _activation(name: str) -> Any:
    try:
        layer = _timm_layers().get_act_layer(name)
    except (KeyError, AssertionError):
        layer = None
    if layer is None:
        raise CheckpointError(
            f"The MLP's activation {name!r} is not known.",
            hint='Name it in timm\'s words with --config, for instance \'{"activation": "quick_gelu"}\'.',
        )
    return layer


def position_grid(net: Any) -> torch.Tensor:
    """The trained position embeddings of the patches, [rows, columns, C]."""
    rows, columns = net.patch_embed.grid_size
    grid: torch.Tensor = net.pos_embed.detach()[0, -rows * columns :].reshape(rows, columns, -1)
    return grid


class ViT(nn.Module):
    """The reference: the origin's own computation at every size.

    Args:
        net: From ``build_network``, with weights loaded.
        resampling: How the origin resizes the position embeddings.
        features: Return the tokens instead of the head's output.
        pooler: Applied to the pooled vector of the features: the pooler of transformers' ``ViTModel``, the
            projection of CLIP; or None.
        head_layers: See ``ViTArchitecture``.
    """

    def __init__(
        self,
        net: nn.Module,
        resampling: Resampling,
        *,
        features: bool = False,
        pooler: nn.Module | None = None,
        head_layers: int = 0,
    ) -> None:
        super().__init__()
        self.net: Any = net
        self.resampling = resampling
        self.features = features
        self.pooler = pooler
        self.head_layers = head_layers

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, H, W] to logits [N, classes], or to normalised tokens [N, T, D] and pooled [N, D]."""
        net = self.net
        if self.head_layers and not self.features:
            states = self.states(images, self.head_layers)
            return net.head(class_tokens_and_mean(net, states))  # type: ignore[no-any-return]
        tokens = net.norm(self.states(images, 1)[0])
        if not self.features:
            return net.forward_head(tokens)  # type: ignore[no-any-return]
        pooled = net.forward_head(tokens, pre_logits=True)
        return tokens, pooled if self.pooler is None else self.pooler(pooled)

    def states(self, images: torch.Tensor, count: int) -> list[torch.Tensor]:
        """All tokens after each of the last ``count`` blocks, [N, T, D]."""
        states = [self.net.norm_pre(self._embed(images))]
        for block in self.net.blocks:
            states = [*states, block(states[-1])][-count:]
        return states

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, [N, T, D]."""
        net = self.net
        high, wide = net.patch_embed.patch_size
        rows, columns = images.shape[2] // high, images.shape[3] // wide
        # What is less than a patch at the right and below is not seen.
        patches = net.patch_embed(images[:, :, : rows * high, : columns * wide])  # [N, rows, columns, D]
        if self.resampling == TIMM_RESAMPLING:
            return net._pos_embed(patches)  # type: ignore[no-any-return]
        positions = resample_grid(position_grid(net), (rows, columns), self.resampling)
        prefix = prefix_tokens(net).expand(patches.shape[0], -1, -1)
        return torch.cat([prefix, patches.flatten(1, 2) + positions], dim=1)


def prefix_tokens(net: Any) -> torch.Tensor:
    """Class, distillation and register tokens with their positions, [1, P, D]."""
    names = ("cls_token", "dist_token", "reg_token")
    tokens = [token for name in names if (token := getattr(net, name, None)) is not None]
    if not tokens:
        return net.pos_embed.detach()[:, :0]  # type: ignore[no-any-return]
    prefix = torch.cat(tokens, dim=1).detach()
    return prefix if net.no_embed_class else prefix + net.pos_embed.detach()[:, : prefix.shape[1]]
