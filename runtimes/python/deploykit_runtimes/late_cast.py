"""Pixels are moved as the bytes they are: a rewrite of self-contained models for ONNX Runtime on CPUs.

TensorRT takes uint8 only in a Cast, so that is the first node of a graph that takes raw images, and what
picks rows and columns after it moves four times the bytes. Where the engine picks among uint8 too, the Cast
goes behind that: 2 % of a self-contained YOLO11n, more where memory is slow. Same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from deploykit_runtimes.protobuf import Value, encode, fields, pieces, text

__all__ = ["cast_late"]

_GRAPH = 7  # of a model
_NODE, _GRAPH_OUTPUT, _VALUE_INFO = 1, 12, 13  # of a graph
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5  # of a node
_BODY = 6  # of an attribute
_NAME = 1  # of an output

_MOVES = ("Gather", "Reshape", "Slice", "Transpose")
"""Operators that move what they read first, whatever its type, and take nothing else from the pixels."""


def cast_late(model: bytes, images: str) -> bytes | None:
    """Cast ``images`` behind the nodes that move them and alone read them.

    Args:
        model: An ONNX file.
        images: The name of its uint8 input.

    Returns:
        None: there are no such nodes, or it is not a file of the form that ``deploykit export`` writes.
    """
    try:
        return _with_graph(memoryview(model), images)
    except (ValueError, IndexError):
        return None  # a damaged file is for the engine to refuse, in the same words as ever


class _Node(NamedTuple):
    """What of a node matters here.

    Attributes:
        place: Which field of the graph it is.
        encoded: The message.
        operator, inputs, outputs: Of the node.
        inside: What the bodies of a loop or a branch read.
    """

    place: int
    encoded: memoryview
    operator: str
    inputs: list[str]
    outputs: list[str]
    inside: list[str]

    def rewired(self, names: Mapping[str, str]) -> bytes:
        """The node with other names for what it reads and writes."""
        wires = [(_INPUT, name) for name in self.inputs] + [(_OUTPUT, name) for name in self.outputs]
        others = (piece for n, _, piece in pieces(self.encoded) if n not in (_INPUT, _OUTPUT))
        content = b"".join((*(encode(n, names.get(name, name)) for n, name in wires), *others))
        return encode(_NODE, content)


def _with_graph(model: memoryview, images: str) -> bytes | None:
    parts: list[bytes | memoryview] = []
    changed = False
    for number, value, piece in pieces(model):
        graph = _rewritten(value, images) if number == _GRAPH and isinstance(value, memoryview) else None
        changed |= graph is not None
        parts.append(piece if graph is None else encode(_GRAPH, graph))
    return b"".join(parts) if changed else None


def _rewritten(graph: memoryview, images: str) -> bytes | None:
    parts: list[bytes | memoryview] = []
    readers: dict[str, list[_Node]] = {}
    for number, value, piece in pieces(graph):
        if number == _VALUE_INFO:
            continue  # would tell the types that were
        if number == _NODE and isinstance(value, memoryview):
            node = _node(len(parts), value)
            for name in (*node.inputs, *node.inside):
                readers.setdefault(name, []).append(node)
        elif number == _GRAPH_OUTPUT and isinstance(value, memoryview):
            name = text(dict(fields(value)).get(_NAME, 0))
            readers.setdefault(name, []).append(_Node(len(parts), value, "", [name], [], []))
        parts.append(piece)
    cast = next((node for node in readers.get(images, []) if node.operator == "Cast"), None)
    moves = [] if cast is None else _moves(readers, cast)
    if cast is None or not moves:
        return None
    # Between the two, the name that the Cast wrote is of what it reads now.
    before, after = cast.outputs[0], moves[-1].outputs[0]
    parts[cast.place] = b""
    parts[moves[0].place] = moves[0].rewired({before: images, after: before})
    if len(moves) > 1:
        parts[moves[-1].place] = moves[-1].rewired({after: before})
    parts[moves[-1].place] = bytes(parts[moves[-1].place]) + cast.rewired({images: before, before: after})
    return b"".join(parts)


def _moves(readers: Mapping[str, list[_Node]], cast: _Node) -> list[_Node]:
    """The nodes behind the Cast, one after another, that move what it gives and nobody else reads."""
    moves: list[_Node] = []
    name = cast.outputs[0]
    while len(behind := readers.get(name, [])) == 1:
        (node,) = behind
        if node.operator not in _MOVES or node.inputs[0] != name or name in node.inputs[1:]:
            break
        moves.append(node)
        name = node.outputs[0]
    return moves


def _node(place: int, encoded: memoryview) -> _Node:
    node = _Node(place, encoded, "", [], [], [])
    operator = ""
    for number, value in fields(encoded):
        if number == _INPUT:
            node.inputs.append(text(value))
        elif number == _OUTPUT:
            node.outputs.append(text(value))
        elif number == _OPERATOR:
            operator = text(value)
        elif number == _ATTRIBUTE:
            for part, body in fields(value):
                if part == _BODY:
                    node.inside.extend(_reads(body))
    return node._replace(operator=operator)


def _reads(graph: Value) -> Iterator[str]:
    for number, value in fields(graph):
        if number == _NODE and isinstance(value, memoryview):
            node = _node(0, value)
            yield from node.inputs
            yield from node.inside
        elif number == _GRAPH_OUTPUT:
            yield text(dict(fields(value)).get(_NAME, 0))
