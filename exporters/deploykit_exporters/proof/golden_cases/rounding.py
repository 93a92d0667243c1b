"""A network as an engine of a lower precision computes it, emulated by rounding around every operator.

Engines that fuse operators round less often than this, and accumulate in float32 as it does: what comes out
is an upper estimate of what a precision costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["Reduced", "rounded_to"]

Reduced = Literal["tf32", "fp16"]

_ROUNDED = "_deploykit_rounded"
"""Attribute of tensors that are rounded already."""

_PRODUCTS = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "convolution",
    "linear",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_efficient_attention",
    "scaled_dot_product_attention",
)
"""Operators whose factors TF32 rounds."""

_TF32_DROPPED = 13
"""Bits of a float32's mantissa that TF32 drops."""


@contextmanager
def rounded_to(precision: Reduced) -> Iterator[None]:
    """Within it, float32 operators compute as at a lower precision: ``tf32`` rounds the factors of matrix
    products and convolutions, ``fp16`` all that goes in and out of an operator."""
    with torch.no_grad(), _Rounding(precision):
        yield


class _Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, precision: Reduced) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._precision = precision

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._precision == "tf32":
            if func.overloadpacket.__name__ not in _PRODUCTS:
                return func(*args, **kwargs)
            return func(*tree_map(_tf32, args), **tree_map(_tf32, kwargs))
        if func.is_view:
            return func(*args, **kwargs)
        return tree_map(_made, func(*tree_map(_given, args), **tree_map(_given, kwargs)))


def _given(value: Any) -> Any:
    """What an operator of float16 is given: what no operator made is rounded here."""
    return _fp16(value) if _is_float(value) and not hasattr(value, _ROUNDED) else value


def _made(value: Any) -> Any:
    if not _is_float(value):
        return value
    rounded = _fp16(value)
    setattr(rounded, _ROUNDED, True)
    return rounded


def _fp16(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.float16).to(torch.float32)


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _tf32(value: Any) -> Any:
    """Rounded to 10 bits of mantissa, half to even."""
    if not _is_float(value):
        return value
    bits = value.contiguous().view(torch.int32)
    half = (1 << (_TF32_DROPPED - 1)) - 1
    rounded = bits + half + ((bits >> _TF32_DROPPED) & 1)
    return (rounded & -(1 << _TF32_DROPPED)).view(torch.float32)
