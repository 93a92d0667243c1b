"""Changing the graph of an ONNX file in memory, without the onnx package. Field numbers are those of
onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from deploykit_runtimes.onnx.protobuf import Value, encode, fields, pieces, text

__all__ = [
    "GRAPH",
    "GRAPH_INPUT",
    "GRAPH_OUTPUT",
    "INITIALIZER",
    "NODE",
    "NODE_ATTRIBUTE",
    "NODE_INPUT",
    "NODE_NAME",
    "NODE_OPERATOR",
    "NODE_OUTPUT",
    "VALUE_INFO",
    "Node",
    "edit_graph",
    "name_of",
    "read_attributes",
    "read_node",
]

NODE, INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13  # of a graph
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OPERATOR, NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
GRAPH = 7  # of a model
_NUMBER, _TEXT, _BODY, _BODIES = 3, 4, 6, 11  # of an attribute
_NAME = 1  # of an output, a value info or an attribute
_OWN_DOMAIN = "ai.onnx"


class Node(NamedTuple):
    """What of a node matters to rewrites.

    Attributes:
        place: Which field of the graph it is.
        encoded: The message.
        operator, inputs, outputs: Of the node.
        inside: What the bodies of a loop or a branch read.
        domain: Of the operator; empty: ONNX's own.
    """

    place: int
    encoded: memoryview
    operator: str
    inputs: list[str]
    outputs: list[str]
    inside: list[str]
    domain: str = ""

    def rewired(self, names: Mapping[str, str]) -> bytes:
        """The node, as a field of the graph, with other names for what it reads and writes."""
        wires = [(NODE_INPUT, name) for name in self.inputs] + [(NODE_OUTPUT, name) for name in self.outputs]
        others = (piece for n, _, piece in pieces(self.encoded) if n not in (NODE_INPUT, NODE_OUTPUT))
        content = b"".join((*(encode(n, names.get(name, name)) for n, name in wires), *others))
        return encode(NODE, content)


def edit_graph(model: bytes | memoryview, edit: Callable[[memoryview], bytes | None]) -> bytes | None:
    """The model with its graph as ``edit`` returns it.

    Returns:
        None: ``edit`` returned None, or this is not an ONNX file, which the engine will refuse itself.
    """
    try:
        return _edited(memoryview(model), edit)
    except (ValueError, IndexError):
        return None


def _edited(model: memoryview, edit: Callable[[memoryview], bytes | None]) -> bytes | None:
    parts: list[bytes | memoryview] = []
    changed = False
    for number, value, piece in pieces(model):
        graph = edit(value) if number == GRAPH and isinstance(value, memoryview) else None
        changed |= graph is not None
        parts.append(piece if graph is None else encode(GRAPH, graph))
    return b"".join(parts) if changed else None


def name_of(value: memoryview) -> str:
    """Of an output of the graph, a value info or an attribute."""
    return text(dict(fields(value)).get(_NAME, 0))


def read_node(place: int, encoded: memoryview) -> Node:
    """A node that is the field ``place`` of its graph.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    node = Node(place, encoded, "", [], [], [])
    operator = domain = ""
    for number, value in fields(encoded):
        if number == NODE_INPUT:
            node.inputs.append(text(value))
        elif number == NODE_OUTPUT:
            node.outputs.append(text(value))
        elif number == NODE_OPERATOR:
            operator = text(value)
        elif number == _NODE_DOMAIN:
            domain = text(value)
        elif number == NODE_ATTRIBUTE:
            for part, body in fields(value):
                if part in (_BODY, _BODIES):
                    node.inside.extend(_reads(body))
    return node._replace(operator=operator, domain="" if domain == _OWN_DOMAIN else domain)


def read_attributes(node: Node) -> dict[str, int | bytes]:
    """The attributes of a node that are a number or a text, by name.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    found: dict[str, int | bytes] = {}
    for number, attribute in fields(node.encoded):
        if number == NODE_ATTRIBUTE and isinstance(attribute, memoryview):
            for part, value in fields(attribute):
                if part == _NUMBER and isinstance(value, int):
                    found[name_of(attribute)] = value
                elif part == _TEXT and isinstance(value, memoryview):
                    found[name_of(attribute)] = bytes(value)
    return found


def _reads(graph: Value) -> Iterator[str]:
    for number, value in fields(graph):
        if number == NODE and isinstance(value, memoryview):
            node = read_node(0, value)
            yield from node.inputs
            yield from node.inside
        elif number == GRAPH_OUTPUT and isinstance(value, memoryview):
            yield name_of(value)
