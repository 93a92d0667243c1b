"""Assumptions about a ViT where the file says nothing, as a sentence for the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from deploykit_exporters.families.vit.network import ViTArchitecture

__all__ = ["Unstated", "unstated_sentence"]

Unstated = Literal["activation", "eps", "global_pool"]
_POOLS = {"token": "the class token pooled", "avg": "the patches averaged", "map": ""}


def unstated_sentence(
    unstated: tuple[Unstated, ...], arch: ViTArchitecture, config: Mapping[str, Any]
) -> tuple[str, ...]:
    """What was assumed about an architecture.

    Args:
        unstated: The values that the file does not give.
        arch: The architecture as built.
        config: The user's settings; values given there are not assumptions.
    """
    words = {
        "activation": f"activation {arch.activation}",
        "eps": f"norms with eps {arch.eps:g}",
        "global_pool": _POOLS.get(arch.pool, arch.pool),
    }
    assumed = {name: words[name] for name in unstated if config.get(name) is None and words[name]}
    if not assumed:
        return ()
    example = {"activation": '"gelu_tanh"', "eps": "1e-5", "global_pool": '"avg"'}[next(iter(assumed))]
    return (
        f"Not in the file, and assumed: {', '.join(assumed.values())}; override as in --config "
        f"'{{\"{next(iter(assumed))}\": {example}}}'.",
    )
