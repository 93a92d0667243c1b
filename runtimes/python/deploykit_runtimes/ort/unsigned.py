"""Signed activations become unsigned: a rewrite of INT8 files for ONNX Runtime on x86 processors.

TensorRT wants symmetric activations: int8 with zero point 0. x86 processors multiply unsigned by signed bytes
(vpmaddubsw, VNNI), so the signed products of ONNX Runtime take 1.2 to 2.4 times as long there. An int8 value
with zero point 0 is exactly the uint8 value 128 above it with zero point 128, at both ends of the range too:
a QuantizeLinear rounds the same quotient, a DequantizeLinear subtracts what was added. Weights stay signed.

Tensors between which int8 values only move (Reshape, Concat, MaxPool, ...) change together or not at all.
What another node reads, a body of a loop or a branch, or the caller, stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from deploykit_runtimes.onnx.edit import (
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    INITIALIZER,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OUTPUT,
    VALUE_INFO,
    Node,
    edit_graph,
    name_of,
    read_attributes,
    read_node,
)
from deploykit_runtimes.onnx.protobuf import encode, pieces
from deploykit_runtimes.onnx.stored import INT8, UINT8, Stored, encode_stored, read_stored
from deploykit_runtimes.ort.ranking import ADDED

__all__ = ["make_unsigned"]

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_MOVES = (
    *("DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice"),
    *("SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
"""Operators that give values of their first input: moved, repeated, or the largest of some."""
_SPREADS = ("Concat", "Split")
"""Operators that give such values in all of their outputs."""
_PAIRS = ("Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Where")
"""Operators whose quantised form takes inputs of one type: a constant there is no weight."""
_PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators whose first input is an activation, constant or not."""

_OUTPUT_TYPE, _BLOCKS = "output_dtype", "block_size"
_SHIFT = 0x80
_SHIFTED = bytes(value ^ _SHIFT for value in range(256))
"""The byte of q + 128 for the byte of a signed q."""


def make_unsigned(model: bytes) -> bytes | None:
    """Quantise activations to uint8 around 128 where the file says int8 around 0.

    Args:
        model: An ONNX file with QuantizeLinear and DequantizeLinear nodes, and no weights beside it.

    Returns:
        None: it has no such activations.
    """
    return edit_graph(model, _rewritten)


def _rewritten(graph: memoryview) -> bytes | None:
    read = _read(graph)
    if not any(_is(node, _QUANTIZE) for node in read.nodes):
        return None
    groups = _Groups()
    for name, tensor in read.stored.items():
        if tensor.dtype == INT8 and tensor.bytes():
            groups.add(name)
    for node in read.nodes:
        _follow(node, read, groups)
    for node in read.nodes:
        _spoil_other_uses(node, read, groups)
    for name in (*read.outputs, *read.inputs):
        groups.spoil(name)
    return _changed(read, _chosen(read, groups))


class _Graph(NamedTuple):
    """What of a graph the rewrite reads.

    Attributes:
        parts: Its fields, as they are in the file.
        nodes: In their order.
        stored: Its initializers by name.
        infos: Where the type of a tensor is told.
        inputs, outputs: Names.
        zeros: Of zero points that were looked at: the shape of those that are int8 0.
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


def _read(graph: memoryview) -> _Graph:
    read = _Graph([], [], {}, {}, set(), set(), {})
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


class _Groups:
    """Tensors of int8 values, in groups that change together."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._spoilt: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._above

    def __iter__(self) -> Iterator[str]:
        return iter(self._above)

    def add(self, name: str) -> None:
        self._above.setdefault(name, name)

    def spoil(self, name: str) -> None:
        """The group of a tensor stays as it is."""
        if name in self._above:
            self._spoilt.add(name)

    def join(self, names: list[str]) -> None:
        for name in names[1:]:
            self._above[self.of(name)] = self.of(names[0])

    def of(self, name: str) -> str:
        """The name by which the group of a tensor goes."""
        while (above := self._above[name]) != name:
            self._above[name] = self._above[above]
            name = above
        return name

    def unspoilt(self) -> set[str]:
        return {self.of(name) for name in self._above} - {self.of(name) for name in self._spoilt}


def _follow(node: Node, read: _Graph, groups: _Groups) -> None:
    """Add what a node gives, if that is int8 values."""
    if _is(node, _QUANTIZE):
        told = read_attributes(node)
        point = read.stored.get(node.inputs[2] if len(node.inputs) > 2 else "")
        if told.get(_OUTPUT_TYPE, 0) == INT8 or (point is not None and point.dtype == INT8):
            groups.add(node.outputs[0])
            if read.zero(node) is None or told.get(_BLOCKS, 0):
                groups.spoil(node.outputs[0])
        return
    given = [name for index, name in enumerate(node.inputs) if name and _moves(node, index)]
    if not any(name in groups for name in given):
        return
    for name in given:
        if name not in groups:
            groups.add(name)
            groups.spoil(name)  # nobody knows what made it
    taken = node.outputs if node.operator in _SPREADS else node.outputs[:1]
    for name in taken:
        groups.add(name)
    groups.join([*given, *taken])


def _is(node: Node, operator: str) -> bool:
    return node.operator == operator and not node.domain


def _moves(node: Node, index: int) -> bool:
    """Whether a node gives the values of an input as they are."""
    if node.domain:
        return False
    if node.operator == "Concat":
        return True
    if node.operator == "Where":
        return index > 0
    if node.operator == "Resize" and index == 0:
        told = read_attributes(node)
        nearest = told.get("mode", b"nearest") == b"nearest"
        return nearest and told.get("coordinate_transformation_mode") != b"tf_crop_and_resize"
    return index == 0 and (node.operator in _MOVES or node.operator == "Split")


def _spoil_other_uses(node: Node, read: _Graph, groups: _Groups) -> None:
    """What is read by anything but moves and a DequantizeLinear around 0 stays as it is."""
    for index, name in enumerate(node.inputs):
        if name not in groups or _moves(node, index):
            continue
        restores = index == 0 and _is(node, _DEQUANTIZE) and read.zero(node) is not None
        if not restores or read_attributes(node).get(_BLOCKS, 0):
            groups.spoil(name)
    for name in node.inside:
        groups.spoil(name)


def _chosen(read: _Graph, groups: _Groups) -> set[str]:
    """The tensors to change: what is quantised, and constants that only stand beside it."""
    readers: dict[str, list[bool]] = {}  # whether what reads a tensor takes it for an activation
    for node in read.nodes:
        for index, name in enumerate(node.inputs):
            beside = node.operator in _PAIRS or (node.operator in _PRODUCTS and index == 0)
            readers.setdefault(name, []).append(beside and not node.domain)
    made: set[str] = set()
    weights: set[str] = set()
    for node in read.nodes:
        if _is(node, _QUANTIZE) and node.outputs[0] in groups:
            made.add(groups.of(node.outputs[0]))
        elif _is(node, _DEQUANTIZE) and node.inputs[0] in groups:
            found = readers.get(node.outputs[0], [])
            if not found or not all(found):
                weights.add(groups.of(node.inputs[0]))
    wanted = {group for group in groups.unspoilt() if group in made or group not in weights}
    return {name for name in groups if groups.of(name) in wanted}


def _changed(read: _Graph, chosen: set[str]) -> bytes | None:
    zeros: dict[tuple[int, ...], bytes] = {}
    for node in read.nodes:
        quantises = _is(node, _QUANTIZE) and node.outputs[0] in chosen
        shape = None
        if quantises or (_is(node, _DEQUANTIZE) and node.inputs[0] in chosen):
            shape = read.zero(node)
        if shape is not None:
            name = f"{ADDED}unsigned/zero{'x'.join(map(str, shape))}"
            points = bytes([_SHIFT]) * math.prod(shape)
            zeros[shape] = encode(INITIALIZER, encode_stored(name, shape, UINT8, points))
            read.parts[node.place] = _around(node, name)
    if not zeros:
        return None
    for name in chosen:
        if name in read.infos:
            read.parts[read.infos[name]] = b""  # it tells the type that was
        if name in read.stored:
            tensor = read.stored[name]
            shifted = bytes(tensor.bytes()).translate(_SHIFTED)
            read.parts[tensor.place] = encode(INITIALIZER, encode_stored(name, tensor.shape, UINT8, shifted))
    return b"".join((*read.parts, *zeros.values()))


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
