"""Pixels are moved as the bytes they are: a rewrite of self-contained models for ONNX Runtime on CPUs.

TensorRT takes uint8 only in a Cast, so that is the first node of a graph that takes raw images, and what
picks rows and columns after it moves four times the bytes. Where the engine picks among uint8 too, the Cast
goes behind that: 2 % of a self-contained YOLO11n, more where memory is slow. Same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from deploykit_runtimes.onnx.edit import (
    GRAPH_OUTPUT,
    NODE,
    VALUE_INFO,
    Node,
    edit_graph,
    name_of,
    read_node,
)
from deploykit_runtimes.onnx.protobuf import pieces

__all__ = ["cast_late"]

_MOVES = ("Gather", "Reshape", "Slice", "Transpose")
"""Operators that move what they read first, whatever its type, and take nothing else from the pixels."""


def cast_late(model: bytes, images: str) -> bytes | None:
    """Cast ``images`` after the nodes that move them, if no other node reads them.

    Args:
        model: An ONNX file.
        images: The name of its uint8 input.

    Returns:
        None: there are no such nodes, or it is not a file of the form that ``deploykit export`` writes.
    """
    return edit_graph(model, partial(_rewritten, images=images))


def _rewritten(graph: memoryview, images: str) -> bytes | None:
    parts: list[bytes | memoryview] = []
    readers: dict[str, list[Node]] = {}
    infos: dict[str, int] = {}
    for number, value, piece in pieces(graph):
        if isinstance(value, memoryview):
            if number == NODE:
                node = read_node(len(parts), value)
                for name in (*node.inputs, *node.inside):
                    readers.setdefault(name, []).append(node)
            elif number == GRAPH_OUTPUT:
                name = name_of(value)
                readers.setdefault(name, []).append(Node(len(parts), value, "", [name], [], []))
            elif number == VALUE_INFO:
                infos[name_of(value)] = len(parts)
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
    for name in (before, *(move.outputs[0] for move in moves[:-1])):
        if name in infos:
            parts[infos[name]] = b""  # it tells the type that was
    return b"".join(parts)


def _moves(readers: Mapping[str, list[Node]], cast: Node) -> list[Node]:
    """The nodes after the Cast, one after another, that move what it gives and nobody else reads."""
    moves: list[Node] = []
    name = cast.outputs[0]
    while len(behind := readers.get(name, [])) == 1:
        (node,) = behind
        if node.operator not in _MOVES or node.inputs[0] != name or name in node.inputs[1:]:
            break
        moves.append(node)
        name = node.outputs[0]
    return moves
