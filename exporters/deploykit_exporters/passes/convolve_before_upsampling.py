"""Feature pyramids: the convolution of what was upsampled becomes the upsampling of what was convolved.

The top-down half of a YOLO's neck enlarges a coarse map, joins it with a finer one and gives both to
convolutions of 1x1. Such a convolution of a join is the sum of two, and it makes the same of every copy of a
pixel: before the upsampling it reads a quarter of them, and nothing needs to be joined. A YOLO11n on a CPU
takes 2 to 4 % less time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploykit_exporters.passes.edit import add_weight, constant, edits, infer_shapes, is_weight, sole_readers

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["convolve_before_upsampling"]


class _Join(NamedTuple):
    """Two maps that a Concat joins.

    Attributes:
        maps: The two.
        resizes: What enlarges each, None for one that is not enlarged; one of them is not.
        channels: Of the first.
        convolutions: The 1x1 ones that alone read the join.
    """

    maps: tuple[ir.Value, ir.Value]
    resizes: tuple[ir.Node | None, ir.Node | None]
    channels: int
    convolutions: tuple[ir.Node, ...]


@edits
def convolve_before_upsampling(model: ir.Model) -> bool:
    """Move nearest-neighbour upsampling after the 1x1 convolutions that read it through a Concat.

    Returns:
        Whether the graph changed. Nodes and constants that it no longer reads are left to ``drop_unused``.
    """
    concats = [
        node
        for node in model.graph
        if node.op_type == "Concat" and len(node.inputs) == 2 and any(map(_enlarging, node.inputs))
    ]
    if concats:
        infer_shapes(model)
    joins = [join for node in concats if (join := _match(node)) is not None]
    for join in joins:
        for conv in join.convolutions:
            _convolve_separately(model.graph, join, conv)
    return bool(joins)


def _enlarging(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value by repeating each pixel a whole number of times in both directions."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Resize" or len(node.inputs) != 3:
        return None
    given = constant(node.inputs[2])
    if node.attributes.get_string("mode", "nearest") != "nearest" or given is None:
        return None
    if given.shape != (4,) or not all(given[:2] == 1) or given[2:].max() <= 1:
        return None
    return node if all(scale >= 1 and scale == int(scale) for scale in given[2:].tolist()) else None


def _match(concat: ir.Node) -> _Join | None:
    first, second = concat.inputs
    readers = sole_readers(concat.outputs[0])
    if concat.attributes.get_int("axis", 0) != 1 or first is None or second is None or not readers:
        return None
    channels = first.shape[1] if first.shape is not None and len(first.shape) == 4 else None
    resizes = _enlarging(first), _enlarging(second)
    if not isinstance(channels, int) or (resizes[0] is None) == (resizes[1] is None):
        return None
    return (
        _Join((first, second), resizes, channels, tuple(readers))
        if all(map(_is_pointwise, readers))
        else None
    )


def _is_pointwise(conv: ir.Node) -> bool:
    """Whether a node convolves each pixel alone, with weights of the file."""
    if conv.op_type != "Conv" or not all(is_weight(value) for value in conv.inputs[1:]):
        return False
    weight = constant(conv.inputs[1])
    assert weight is not None
    return (
        weight.shape[2:] == (1, 1)
        and conv.attributes.get_int("group", 1) == 1
        and not any(conv.attributes.get_ints("pads", []))
        and all(stride == 1 for stride in conv.attributes.get_ints("strides", []))
    )


def _convolve_separately(graph: ir.Graph, join: _Join, conv: ir.Node) -> None:
    """The convolution of either map, the one of the coarse map before it is enlarged, and their sum."""
    import onnx_ir as ir
    from onnx_ir.convenience import replace_nodes_and_values

    weight = constant(conv.inputs[1])
    assert weight is not None
    halves = weight[:, : join.channels], weight[:, join.channels :]
    nodes: list[ir.Node] = []
    terms: list[ir.Value] = []
    for part, (features, resize, half) in enumerate(zip(join.maps, join.resizes, halves, strict=True)):
        name = f"{conv.outputs[0].name}.{part}"
        kernel = add_weight(graph, half.copy(), f"{name}.weight")
        read, bias = (features, conv.inputs[2:]) if resize is None else (resize.inputs[0], ())
        convolved = ir.Value(name=name)
        nodes.append(
            ir.node("Conv", [read, kernel, *bias], {"kernel_shape": [1, 1]}, outputs=[convolved], name=name)
        )
        if resize is not None:
            enlarged = ir.Value(name=f"{name}.enlarged")
            inputs = [convolved, *resize.inputs[1:]]
            attributes = resize.attributes.values()
            nodes.append(ir.Node("", "Resize", inputs, attributes, outputs=[enlarged], name=enlarged.name))
        terms.append(nodes[-1].outputs[0])
    nodes.append(ir.node("Add", terms, outputs=[ir.Value()], name=conv.name))
    replace_nodes_and_values(graph, conv, [conv], nodes, conv.outputs, nodes[-1].outputs)
