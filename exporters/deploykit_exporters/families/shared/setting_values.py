"""Values of settings, which can be of any type, read as the type they should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_mapping", "pair_of", "sides_of"]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def pair_of(value: Any) -> tuple[int, ...]:
    """How torch reads a kernel, stride or padding: one number stands for both axes."""
    return (value, value) if isinstance(value, int) else tuple(value)


def sides_of(value: Any, *, channels: bool = True) -> tuple[int, int] | None:
    """(height, width) in pixels from 224, [224, 224], [3, 224, 224] or [224, 224, 3]; otherwise None.

    Args:
        channels: Whether three numbers may be a size: the channels are the number smaller than both sides.
    """
    if type(value) is int:
        return (value, value) if value > 0 else None
    if not isinstance(value, list | tuple) or not all(type(one) is int and one > 0 for one in value):
        return None
    if len(value) == 3 and channels:
        value = value[:2] if value[2] < min(value[:2]) else value[1:]
    if len(value) == 1:
        return value[0], value[0]
    return (value[0], value[1]) if len(value) == 2 else None
