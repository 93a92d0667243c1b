"""The shapes of a graph's values, as far as they follow from those of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["inferred_values", "known_shapes"]

_LARGEST = 1 << 30
"""Bytes of weights up to which shapes are inferred: the checker takes less than 2 GB."""


def known_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """The shapes that follow from those of the inputs, by value; an axis of unknown size by its name.

    Nothing is known of models whose weights exceed a gigabyte.
    """
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param
            for dim in value.type.tensor_type.shape.dim
        )
        for value in inferred_values(model)
    }


def inferred_values(model: onnx.ModelProto) -> Sequence[onnx.ValueInfoProto]:
    """What shape inference says about the inner values; nothing for models above a gigabyte."""
    import onnx

    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _LARGEST:
        return ()
    return list(onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info)
