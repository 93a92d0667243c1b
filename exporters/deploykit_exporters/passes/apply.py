"""The rewrites of an exported graph, in their order. A pass is a file, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import ModelSpec

from deploykit_exporters.passes.convolve_before_upsampling import convolve_before_upsampling
from deploykit_exporters.passes.drop_unused import drop_unused
from deploykit_exporters.passes.edit import Pass
from deploykit_exporters.passes.name_dimensions import name_dimensions
from deploykit_exporters.passes.note_gates import note_gates
from deploykit_exporters.passes.pool_columns_first import pool_columns_first
from deploykit_exporters.passes.split_convolutions import split_convolutions

if TYPE_CHECKING:
    import onnx

__all__ = ["PASSES", "apply_passes", "clean_up"]

PASSES: Mapping[str, Pass] = {
    "convolutions whose channels are split became one convolution a part": split_convolutions,
    "means of whole maps go by columns first": pool_columns_first,
    "1x1 convolutions moved before the upsampling that they read": convolve_before_upsampling,
}
"""What makes a simplified network faster or more exact, each with what the export says of it."""


def apply_passes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Apply ``PASSES`` one after the other; returns what is to be said of those that changed the graph."""
    return tuple(words for words, rewrite in PASSES.items() if rewrite(model))


def clean_up(model: onnx.ModelProto, spec: ModelSpec) -> bool:
    """What every graph goes through before it is written; True when it changed.

    Raises:
        ModelError: the graph has other inputs or outputs than the spec.
    """
    changed = [drop_unused(model), name_dimensions(model, spec), note_gates(model)]
    return any(changed)
