"""Who makes, reads and holds each value of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["Values", "attribute", "bodies"]

_FLOAT = 1


class Values:
    """The values of a graph as they are when this is made."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.proto = graph
        self.nodes = list(graph.node)
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.readers = Counter(_all_reads(graph))

    def sole_maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value, if exactly one node reads it."""
        return self.makers.get(name) if self.readers[name] == 1 else None

    def behind(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a value; none where the body of a loop or an output reads it too."""
        found = [node for node in self.nodes if name in node.input]
        return found if len(found) == self.readers[name] else []

    def constant(self, name: str) -> np.ndarray | None:
        """The numbers of a weight or a ``Constant``; None for other values."""
        from onnx import numpy_helper

        if name in self.weights:
            return numpy_helper.to_array(self.weights[name])
        node = self.makers.get(name)
        if node is None or node.op_type != "Constant" or node.attribute[0].name != "value":
            return None
        return numpy_helper.to_array(node.attribute[0].t)

    def is_weight(self, name: str) -> bool:
        """Whether a value is a float32 tensor of the file."""
        return name in self.weights and self.weights[name].data_type == _FLOAT

    def replace(self, parts: Mapping[int, Sequence[onnx.NodeProto]]) -> None:
        """Replace some nodes with others, or with none.

        Args:
            parts: What stands for a node of ``nodes``, by its ``id``; the others stay.
        """
        nodes = [
            type(node).FromString(node.SerializeToString())
            for old in self.nodes
            for node in parts.get(id(old), [old])
        ]
        del self.proto.node[:]
        self.proto.node.extend(nodes)

    def add_weight(self, values: np.ndarray, name: str) -> str:
        """Store a tensor, and return its name."""
        from onnx import numpy_helper

        self.proto.initializer.append(numpy_helper.from_array(values, name))
        return name


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or the default that the operator has."""
    from onnx import helper

    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def _all_reads(graph: onnx.GraphProto) -> Iterator[str]:
    for output in graph.output:
        yield output.name
    for node in graph.node:
        yield from node.input
        for body in bodies(node):
            yield from _all_reads(body)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The sub-graphs of a loop or a branch; none for other nodes."""
    return [
        body
        for attribute in node.attribute
        for body in ([attribute.g] if attribute.HasField("g") else list(attribute.graphs))
    ]
