"""Graphs with QuantizeLinear and DequantizeLinear nodes, as far as rewrites of INT8 files need them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from deploykit_runtimes.onnx.edit import (
    GRAPH,
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    INITIALIZER,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OUTPUT,
    VALUE_INFO,
    Node,
    name_of,
    read_attributes,
    read_node,
)
from deploykit_runtimes.onnx.protobuf import encode, fields, pieces
from deploykit_runtimes.onnx.stored import INT8, UINT8, Stored, encode_stored, read_stored

__all__ = [
    "QuantisedGraph",
    "dequantises",
    "is_in_blocks",
    "makes_signed",
    "quantised_graphs",
    "quantises",
    "read_quantised",
    "shift",
]

_OUTPUT_TYPE, _BLOCKS = "output_dtype", "block_size"
_SHIFT = 0x80
_SHIFTED = bytes(value ^ _SHIFT for value in range(256))
"""The byte of q + 128 for the byte of a signed q."""
_ZERO = "deploykit.unsigned/zero"


class QuantisedGraph(NamedTuple):
    """What of a graph the rewrite reads.

    Attributes:
        parts: Its fields, as they are in the file.
        nodes: In their order.
        stored: Its initializers by name.
        infos: Where the type of a tensor is stated.
        inputs, outputs: Names.
        zeros: Of scales and zero points that were looked at: the shape of those that are int8 0.
    """

    parts: list[bytes | memoryview]
    nodes: list[Node]
    stored: dict[str, Stored]
    infos: dict[str, int]
    inputs: set[str]
    outputs: set[str]
    zeros: dict[tuple[str, str], tuple[int, ...] | None]

    def zero(self, node: Node) -> tuple[int, ...] | None:
        """The shape of the zero point of a QuantizeLinear or DequantizeLinear; None: it is not int8 0."""
        _, scale, point, *_ = (*node.inputs, "", "", "")
        if (scale, point) not in self.zeros:
            self.zeros[scale, point] = self._zero(scale, point)
        return self.zeros[scale, point]

    def _zero(self, scale: str, point: str) -> tuple[int, ...] | None:
        # Where it is 0 it may be left out, and has the shape of the scale then.
        found = self.stored.get(point or scale)
        if found is None or found.name in self.inputs or found.size > len(found.encoded):
            return None
        if point and (found.dtype != INT8 or not found.bytes() or any(found.bytes())):
            return None
        return found.shape if len(found.shape) < 2 and found.size > 0 else None


def quantised_graphs(model: memoryview) -> Iterator[QuantisedGraph]:
    """What each graph of an ONNX file consists of.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    for number, value in fields(model):
        if number == GRAPH and isinstance(value, memoryview):
            yield read_quantised(value)


def read_quantised(graph: memoryview) -> QuantisedGraph:
    """What a graph consists of.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    read = QuantisedGraph([], [], {}, {}, set(), set(), {})
    for number, value, piece in pieces(graph):
        place = len(read.parts)
        read.parts.append(piece)
        if not isinstance(value, memoryview):
            continue
        if number == NODE:
            read.nodes.append(read_node(place, value))
        elif number == INITIALIZER:
            tensor = read_stored(place, value)
            read.stored[tensor.name] = tensor
        elif number == VALUE_INFO:
            read.infos[name_of(value)] = place
        elif number in (GRAPH_INPUT, GRAPH_OUTPUT):
            (read.inputs if number == GRAPH_INPUT else read.outputs).add(name_of(value))
    return read


def quantises(node: Node) -> bool:
    return node.operator == "QuantizeLinear" and not node.domain


def dequantises(node: Node) -> bool:
    return node.operator == "DequantizeLinear" and not node.domain


def makes_signed(node: Node, graph: QuantisedGraph) -> bool:
    """Whether a QuantizeLinear gives int8 values."""
    point = graph.stored.get(node.inputs[2] if len(node.inputs) > 2 else "")
    told = read_attributes(node).get(_OUTPUT_TYPE, 0)
    return told == INT8 or (point is not None and point.dtype == INT8)


def is_in_blocks(node: Node) -> bool:
    """Whether there is a scale for every block of values along an axis."""
    return bool(read_attributes(node).get(_BLOCKS, 0))


def shift(graph: QuantisedGraph, tensors: set[str]) -> bytes | None:
    """The graph in which int8 tensors around 0 are uint8 around 128.

    Args:
        graph: It is used up.
        tensors: What QuantizeLinear nodes make and DequantizeLinear nodes read, and constants.

    Returns:
        None: no node makes or reads one of them.
    """
    zeros: dict[tuple[int, ...], bytes] = {}
    for node in graph.nodes:
        makes = quantises(node) and node.outputs[0] in tensors
        shape = graph.zero(node) if makes or (dequantises(node) and node.inputs[0] in tensors) else None
        if shape is not None:
            name = f"{_ZERO}{'x'.join(map(str, shape))}"
            points = bytes([_SHIFT]) * math.prod(shape)
            zeros[shape] = encode(INITIALIZER, encode_stored(name, shape, UINT8, points))
            graph.parts[node.place] = _around(node, name)
    if not zeros:
        return None
    for name in tensors:
        if name in graph.infos:
            graph.parts[graph.infos[name]] = b""  # it tells the type that was
        if name in graph.stored:
            tensor = graph.stored[name]
            shifted = bytes(tensor.bytes()).translate(_SHIFTED)
            graph.parts[tensor.place] = encode(INITIALIZER, encode_stored(name, tensor.shape, UINT8, shifted))
    # Another rewrite has written the zero points of these shapes already.
    added = [
        zero for shape, zero in zeros.items() if f"{_ZERO}{'x'.join(map(str, shape))}" not in graph.stored
    ]
    return b"".join((*graph.parts, *added))


def _around(node: Node, zero: str) -> bytes:
    """The node with another zero point, as a field of the graph."""
    content = [encode(NODE_INPUT, name) for name in (*node.inputs[:2], zero)]
    content += [encode(NODE_OUTPUT, name) for name in node.outputs]
    for number, value, piece in pieces(node.encoded):
        if number in (NODE_INPUT, NODE_OUTPUT):
            continue
        if number == NODE_ATTRIBUTE and isinstance(value, memoryview) and name_of(value) == _OUTPUT_TYPE:
            continue  # the zero point tells it
        content.append(bytes(piece))
    return encode(NODE, b"".join(content))
