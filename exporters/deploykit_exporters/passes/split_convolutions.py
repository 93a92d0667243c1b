"""Convolutions whose channels are split become one convolution per part.

Engines for CPUs keep the channels of convolutions in blocks. A Split leaves that layout, so tensors are
written in rows before it and in blocks again after it: 4 to 9 % of the time of a YOLO11n, whose C3k2 blocks
begin with one. Two convolutions with half of the filters each compute the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from deploykit_exporters.passes.edit import add_weight, constant, edits, is_weight, sole_maker

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["split_convolutions"]


class _Chain(NamedTuple):
    """A convolution, what is applied to it number by number, and the Split of the result."""

    nodes: tuple[ir.Node, ...]
    split: ir.Node
    sizes: tuple[int, ...]


@edits
def split_convolutions(model: ir.Model) -> bool:
    """Convolve into the parts of each Split.

    Takes a Split of the channels of a ``Conv`` without groups, alone, or followed by ``Relu`` or by ``x *
    Sigmoid(x)`` (SiLU), that nothing else reads.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    splits = [node for node in model.graph if node.op_type == "Split" and not node.domain]
    chains = [chain for chain in map(_match, splits) if chain is not None]
    for chain in chains:
        _convolve_parts(model.graph, chain)
    return bool(chains)


def _match(split: ir.Node) -> _Chain | None:
    if split.attributes.get_int("axis", 0) != 1:
        return None
    nodes = _activated(split.inputs[0])
    if nodes is None or nodes[0].attributes.get_int("group", 1) != 1:
        return None
    if not all(is_weight(value) for value in nodes[0].inputs[1:]):
        return None
    weight = constant(nodes[0].inputs[1])
    assert weight is not None
    sizes = _sizes(split, len(weight))
    return None if sum(sizes) != len(weight) else _Chain(nodes, split, sizes)


def _activated(value: ir.Value | None) -> tuple[ir.Node, ...] | None:
    """The convolution behind a value, and its activation."""
    last = sole_maker(value)
    if last is None or last.domain:
        return None
    if last.op_type == "Conv":
        return (last,)
    if last.op_type == "Relu":
        conv = sole_maker(last.inputs[0])
        return (conv, last) if conv is not None and conv.op_type == "Conv" else None
    return _silu(last) if last.op_type == "Mul" else None


def _silu(product: ir.Node) -> tuple[ir.Node, ...] | None:
    """A convolution, its sigmoid, and the product of the two."""
    for gated, gate in (product.inputs, product.inputs[::-1]):
        sigmoid, conv = sole_maker(gate), None if gated is None else gated.producer()
        if gated is None or sigmoid is None or conv is None or gated.is_graph_output():
            continue
        if (sigmoid.op_type, conv.op_type) != ("Sigmoid", "Conv"):
            continue
        if sigmoid.inputs[0] is gated and len(gated.uses()) == 2:
            return conv, sigmoid, product
    return None


def _sizes(split: ir.Node, channels: int) -> tuple[int, ...]:
    """How many channels each part has; empty where that is not known."""
    if len(split.inputs) == 2:
        given = constant(split.inputs[1])
        return () if given is None else tuple(given.tolist())
    size = -(-channels // len(split.outputs))
    return tuple(min(size, channels - size * part) for part in range(len(split.outputs)))


def _convolve_parts(graph: ir.Graph, chain: _Chain) -> None:
    """The chain once for each output of the Split, in its place."""
    from onnx_ir.convenience import replace_nodes_and_values

    conv = chain.nodes[0]
    made: list[ir.Node] = []
    ends: list[ir.Value] = []
    start = 0
    for part, size in enumerate(chain.sizes):
        values: dict[ir.Value, ir.Value] = {}
        for value in conv.inputs[1:]:
            weight = constant(value)
            assert value is not None and weight is not None
            name = f"{conv.outputs[0].name}.{part}.{value.name}"
            values[value] = add_weight(graph, weight[start : start + size].copy(), name)
        for node in chain.nodes:
            made.append(_copy(node, values, f".{part}"))
            values[node.outputs[0]] = made[-1].outputs[0]
        ends.append(made[-1].outputs[0])
        start += size
    replace_nodes_and_values(graph, chain.split, [*chain.nodes, chain.split], made, chain.split.outputs, ends)


def _copy(node: ir.Node, values: Mapping[ir.Value, ir.Value], suffix: str) -> ir.Node:
    """A node that reads other values in the place of some."""
    import onnx_ir as ir

    return ir.Node(
        node.domain,
        node.op_type,
        [value and values.get(value, value) for value in node.inputs],
        node.attributes.values(),
        outputs=[ir.Value(name=f"{value.name}{suffix}") for value in node.outputs],
        name=node.name and f"{node.name}{suffix}",
    )
