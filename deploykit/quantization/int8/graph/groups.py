"""Groups of layers: those at the same place in all repeated blocks are decided together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from deploykit.quantization.int8.graph.network import Network

if TYPE_CHECKING:
    import onnx

__all__ = ["Group", "groups_of", "split"]

_MOVES = {
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Split",
    "Identity",
    "Cast",
    "Gather",
}
_FAR = 6
"""How many nodes that only move values are looked past."""
_PARTS = 8
"""Into how many parts a large group is split."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers that are quantised together.

    Attributes:
        name: What they are: ``Conv 3x3 before Sigmoid``.
        nodes: Their names, in the order of the graph.
    """

    name: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({len(self.nodes)})" if len(self.nodes) > 1 else self.name


def groups_of(network: Network) -> tuple[Group, ...]:
    """The products of a network grouped by kind: operator, kernel, dense or depthwise, and neighbours.

    Repeated blocks have the same layers, so a kind is a place in the block. The first and last layers have
    other neighbours, and so are kinds of their own.
    """
    producers = {name: node for node in network.model.graph.node for name in node.output}
    consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in network.model.graph.node:
        for name in node.input:
            consumers[name].append(node)
    kinds: dict[str, list[str]] = defaultdict(list)
    for node in network.nodes():
        before = _before(node.input[0], producers, _FAR)
        after = sorted(_after(node.output[0], consumers, network.constants, _FAR)) or ["the output"]
        kinds[f"{_layer(node, network)} from {before} to {' and '.join(after)}"].append(node.name)
    return tuple(Group(name=kind, nodes=tuple(nodes)) for kind, nodes in kinds.items())


def split(group: Group) -> tuple[Group, ...]:
    """Split a group by depth; a group of one layer stays as it is."""
    count = len(group.nodes)
    if count == 1:
        return (group,)
    parts = min(_PARTS, count)
    edges = [count * number // parts for number in range(parts + 1)]
    return tuple(
        Group(name=f"{group.name}, part {number + 1} of {parts}", nodes=group.nodes[start:stop])
        for number, (start, stop) in enumerate(pairwise(edges))
    )


def _layer(node: onnx.NodeProto, network: Network) -> str:
    weight = network.weights.get(node.input[1])
    if weight is None:
        return f"{node.op_type} of two tensors"
    if node.op_type != "Conv":
        return node.op_type
    attributes: Mapping[str, Sequence[int] | int] = {
        each.name: (each.i if each.type == 2 else list(each.ints)) for each in node.attribute
    }
    kernel = "x".join(map(str, weight.dims[2:]))
    count = attributes.get("group", 1)
    if count == 1:
        return f"Conv {kernel}"
    return f"{'depthwise' if weight.dims[1] == 1 else 'grouped'} Conv {kernel}"


def _before(name: str, producers: Mapping[str, onnx.NodeProto], far: int) -> str:
    node = producers.get(name)
    if node is None:
        return "the input"
    if node.op_type in _MOVES and far and node.input:
        return _before(node.input[0], producers, far - 1)
    return node.op_type


def _after(
    name: str, consumers: Mapping[str, Iterable[onnx.NodeProto]], constants: frozenset[str], far: int
) -> set[str]:
    """The readers of a tensor, past its bias and nodes that only move values."""
    found: set[str] = set()
    for node in consumers.get(name, ()):
        is_bias = node.op_type == "Add" and not constants.isdisjoint(node.input)
        if (node.op_type in _MOVES or is_bias) and far:
            for output in node.output:
                found |= _after(output, consumers, constants, far - 1)
        else:
            found.add(node.op_type)
    return found
