"""Tensors of a checkpoint that the exported model does not use: named and reported, never dropped
silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import torch

__all__ = ["count_of", "take_unused"]


def take_unused(
    tensors: Mapping[str, torch.Tensor], unused: Mapping[str, Sequence[str]]
) -> tuple[dict[str, torch.Tensor], tuple[Setting, ...]]:
    """The tensors that are used, and a record of the unused ones.

    Args:
        tensors: Weights by name.
        unused: Why tensors are not used -> patterns of their names (``text_model.*``).
    """
    reasons = [(pattern, why) for why, patterns in unused.items() for pattern in patterns]
    used: dict[str, torch.Tensor] = {}
    found: dict[str, int] = {}
    for name, tensor in tensors.items():
        pattern = next((pattern for pattern, _ in reasons if fnmatchcase(name, pattern)), None)
        if pattern is None:
            used[name] = tensor
        else:
            found[pattern] = found.get(pattern, 0) + 1
    return used, tuple(
        Setting(where="weights", name=pattern, value=count_of(found[pattern]), treatment="harmless", why=why)
        for pattern, why in reasons
        if pattern in found
    )


def count_of(tensors: int) -> str:
    """A number of tensors, in words."""
    return "1 tensor" if tensors == 1 else f"{tensors} tensors"
